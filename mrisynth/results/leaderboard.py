"""Which trial is best, by how much it beats doing nothing, and how far the sweep has come.

The command line and the dashboard show the same values because both take them from here.
"""

import json
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mrisynth.errors import NotFoundError
from mrisynth.results.index import Index, open_index
from mrisynth.results.records import OUTCOMES
from mrisynth.results.store import SweepDirectory, sweep_state

SCHEMA_VERSION = 1
BASELINES = ("identity", "matched")
_COUNTED = ("completed", "pruned", "rejected")
_PLAIN = ("trial", "name", "outcome", "reason", "message", "warning", "retry_of", "rung", "epochs")


def status(sweep: SweepDirectory, index: Index | None = None) -> dict[str, Any]:
    """How far a sweep has come: the shape of `mrisynth status --json`.

    Returns:
        Counts by outcome; budget as {"trials": {"spent", "limit"}, "hours": {"spent", "limit"}}, in worker hours, a
        limit None where there is none; reasons as [{"outcome", "reason", "count", "trial", "message"}], trial and
        message being the last one's; best as a row of `top`, or None while no trial has completed.
    """
    index = open_index(sweep) if index is None else index
    outcomes = index.trials["outcome"].to_pylist()
    best = [row for row in top(index, k=1) if row["outcome"] == "completed"]
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": sweep.name,
        "state": sweep_state(sweep),
        "trials": {outcome: outcomes.count(outcome) for outcome in OUTCOMES},
        "reasons": _reasons(index),
        "budget": _budget(index, outcomes),
        "best": best[0] if best else None,
    }


def leaderboard(index: Index, *, by: str | None = None, k: int | None = None, pareto: bool = False) -> dict[str, Any]:
    """The best trials beside the baselines: the shape of `mrisynth top --json`."""
    metric = by or first_objective(index)
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": index.manifest["sweep"],
        "by": metric,
        "direction": index.direction(metric),
        "trials": top(index, by=metric, k=k, pareto=pareto),
        "baselines": {name: dict(index.manifest["baselines"].get(name, {}).get("values", {})) for name in BASELINES},
    }


def top(index: Index, *, by: str | None = None, k: int | None = None, pareto: bool = False) -> list[dict[str, Any]]:
    """The trials, best first: completed ones by score, then pruned ones by their last rung's score, then the rest.

    Args:
        index: the sweep's index.
        by: the metric that decides (default: the first objective).
        k: how many (default: all).
        pareto: only the completed trials that no other beats in every objective.

    Returns:
        {"trial", "name", "outcome", "reason", "message", "warning", "retry_of", "rung", "epochs", "values", "gains",
        "config"}; gains as in `gains`.

    Raises:
        NotFoundError: no trial has that metric, and the sweep does not know it.
    """
    metric = by or first_objective(index)
    chosen = pareto_front(index) if pareto else None
    kept = [(place, trial) for place, trial in _ranking(index, metric) if chosen is None or trial in chosen][:k]
    gained = gains(index, metric, [trial for _, trial in kept])
    shown = _columns(
        index.trials.take(_numbers([place for place, _ in kept])), (*_PLAIN, *(f"value.{name}" for name in index.metrics), "config")
    )
    return [_row(row, index.metrics, gained.get(row["trial"], {})) for row in shown]


def ranking(index: Index, *, by: str | None = None) -> list[int]:
    """The numbers of all trials in the order of `top`, in much less time where there are thousands.

    Raises:
        NotFoundError: no trial has that metric, and the sweep does not know it.
    """
    return [trial for _, trial in _ranking(index, by or first_objective(index))]


def first_objective(index: Index) -> str:
    """The objective that ranks and prunes."""
    return next(iter(index.objectives), "psnr")


def gains(index: Index, metric: str, trials: Iterable[int]) -> dict[int, dict[str, dict[str, float]]]:
    """By how much each trial beats each baseline, subject by subject; positive is better whatever the direction.

    Returns:
        trial to baseline ("identity", "matched") to {"mean", "minimum"} over the subjects that both have.
    """
    sign = 1 if index.direction(metric) == "maximize" else -1
    scores: dict[int, dict[str, float]] = {}
    wanted = pc.and_(
        pc.is_in(index.subjects["metric"], value_set=_word(metric)),
        pc.is_in(index.subjects["trial"], value_set=_numbers(list(trials))),
    )
    for row in index.subjects.filter(wanted).to_pylist():
        scores.setdefault(row["trial"], {})[row["subject"]] = row["value"]
    baselines = {name: _baseline(index, name, metric) for name in BASELINES}
    return {trial: _gains(subjects, baselines, sign) for trial, subjects in scores.items()}


def pareto_front(index: Index) -> set[int]:
    """The completed trials that no other completed trial beats or equals in every objective and beats in one."""
    names = [f"value.{name}" for name in index.objectives]
    if not names or not set(names) <= set(index.trials.column_names):
        return set()
    rows = _columns(index.trials, ("trial", "outcome", *names))
    rows = [row for row in rows if row["outcome"] == "completed" and all(row[name] is not None for name in names)]
    signs = [1 if index.direction(name) == "maximize" else -1 for name in index.objectives]
    points = np.array([[row[name] for name in names] for row in rows]).reshape(-1, len(names)) * signs
    beaten = [bool(((points >= point).all(1) & (points > point).any(1)).any()) for point in points]
    return {row["trial"] for row, lost in zip(rows, beaten, strict=True) if not lost}


def _ranking(index: Index, metric: str) -> list[tuple[int, int]]:
    """Place in the table and number of all trials, best first."""
    known = {*index.metrics, *index.objectives, *index.manifest["metrics"]}
    if metric not in known:
        raise NotFoundError(f"unknown metric {metric!r}; there are: {', '.join(sorted(known)) or 'none yet'}")
    rows = _columns(index.trials, ("trial", "outcome", f"value.{metric}"))
    places = sorted(range(len(rows)), key=lambda place: _rank(rows[place], metric, index.direction(metric)))
    return [(place, rows[place]["trial"]) for place in places]


def _columns(table: pa.Table, names: Iterable[str]) -> list[dict[str, Any]]:
    """Rows of some columns alone, where there are such: thousands of whole rows take long."""
    rows: list[dict[str, Any]] = table.select([name for name in names if name in table.column_names]).to_pylist()
    return rows


def _numbers(values: list[int]) -> pa.Array:
    """Whole numbers for Arrow. Given Python's, it would import pandas first, which takes as long as all of `status`."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(array("q", values))])


def _word(value: str) -> pa.Array:
    """One word for Arrow, in the same way."""
    data = value.encode()
    return pa.StringArray.from_buffers(1, pa.py_buffer(array("i", [0, len(data)])), pa.py_buffer(data))


def _rank(row: Mapping[str, Any], metric: str, direction: str) -> tuple[int, float, int]:
    value = row.get(f"value.{metric}")
    if value is None:
        return 3, 0.0, row["trial"]
    group = {"completed": 0, "pruned": 1}.get(row["outcome"], 2)
    return group, -value if direction == "maximize" else value, row["trial"]


def _row(row: Mapping[str, Any], metrics: list[str], gained: dict[str, dict[str, float]]) -> dict[str, Any]:
    values = {name: row[f"value.{name}"] for name in metrics if row[f"value.{name}"] is not None}
    plain = {key: row.get(key) for key in _PLAIN}  # an index of an older version lacks some
    return {**plain, "values": values, "gains": gained, "config": json.loads(row["config"] or "{}")}


def _reasons(index: Index) -> list[dict[str, Any]]:
    """How often trials were rejected, lost or stopped for each reason, with the last one's sentence."""
    rows = _columns(index.trials, ("trial", "outcome", "reason", "message"))
    rows = [row for row in rows if row["reason"] is not None]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["outcome"], row["reason"]), []).append(row)
    return [
        {
            "outcome": outcome,
            "reason": reason,
            "count": len(alike),
            "trial": alike[-1]["trial"],
            "message": alike[-1]["message"],
        }
        for (outcome, reason), alike in found.items()
    ]


def _baseline(index: Index, name: str, metric: str) -> dict[str, float]:
    """Subject to score."""
    subjects = index.manifest["baselines"].get(name, {}).get("subjects", {})
    return {subject: scores[metric] for subject, scores in subjects.items() if scores.get(metric) is not None}


def _gains(
    scores: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]], sign: int
) -> dict[str, dict[str, float]]:
    found = {}
    for name, baseline in baselines.items():
        differences = [sign * (scores[subject] - baseline[subject]) for subject in scores if subject in baseline]
        if differences:
            found[name] = {"mean": sum(differences) / len(differences), "minimum": min(differences)}
    return found


def _budget(index: Index, outcomes: list[str]) -> dict[str, dict[str, float | None]]:
    limits = index.manifest["budget"]
    seconds = sum(value for value in index.trials["seconds"].to_pylist() if value is not None)
    return {
        "trials": {"spent": sum(map(outcomes.count, _COUNTED)), "limit": limits.get("trials")},
        "hours": {"spent": seconds / 3600, "limit": limits.get("hours")},
    }
