"""Which trial is best, by how much it beats doing nothing, and how far the sweep has come.

The command line and the dashboard show the same values because both take them from here.
"""

import json
from array import array
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mrisynth.errors import NotFoundError
from mrisynth.results.alerts import Alert, alerts
from mrisynth.results.constraints import broken
from mrisynth.results.forecast import read_forecast
from mrisynth.results.health import free_space, last_sign
from mrisynth.results.index import Index, open_index
from mrisynth.results.progress import progress
from mrisynth.results.records import OUTCOMES
from mrisynth.results.store import SweepDirectory, running_nodes, sweep_state

SCHEMA_VERSION = 1
BASELINES = ("identity", "matched")
_PLAIN = ("trial", "name", "outcome", "reason", "message", "warning", "retry_of", "rung", "epochs")


def status(sweep: SweepDirectory, index: Index | None = None) -> dict[str, Any]:
    """How far a sweep has come: the shape of `mrisynth status --json`.

    Returns:
        Counts by outcome; what `results.progress` says of budget, rate, remaining time and running trials; forecast as
        `results.forecast` reads it; reasons as [{"outcome", "reason", "count", "trial", "message"}], trial and message
        being the last one's; alerts as in `results.alerts`, the worst first; nodes as node -> the trials that run
        there; best as a row of `top`, or None while no trial has completed (one that breaks a constraint is the best
        only while none keeps to all); front as `front` gives it.
    """
    index = open_index(sweep) if index is None else index
    outcomes = index.trials["outcome"].to_pylist()
    best = [row for row in top(index, k=1) if row["outcome"] == "completed"]
    answer = {
        "schema_version": SCHEMA_VERSION,
        "sweep": sweep.name,
        "state": sweep_state(sweep),
        "trials": {outcome: outcomes.count(outcome) for outcome in OUTCOMES},
        "reasons": _reasons(index),
        **progress(sweep, index),
        "forecast": read_forecast(sweep),
        "nodes": running_nodes(sweep),
        "objectives": dict(index.objectives),
        "best": best[0] if best else None,
        "front": front(index),
    }
    return {**answer, "alerts": [asdict(alert) for alert in _alerts(sweep, index, answer)]}


def leaderboard(index: Index, *, by: str | None = None, k: int | None = None, pareto: bool = False) -> dict[str, Any]:
    """The best trials beside the baselines: the shape of `mrisynth top --json`."""
    metric = by or first_objective(index)
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": index.manifest["sweep"],
        "by": metric,
        "direction": index.direction(metric),
        "objectives": dict(index.objectives),
        "front": front(index),
        "trials": top(index, by=metric, k=k, pareto=pareto),
        "baselines": {name: dict(index.manifest["baselines"].get(name, {}).get("values", {})) for name in BASELINES},
    }


def top(index: Index, *, by: str | None = None, k: int | None = None, pareto: bool = False) -> list[dict[str, Any]]:
    """The trials, best first: completed ones by score, then pruned ones by their last rung's score, then the rest.

    Completed trials that break a constraint of the sweep come after those that keep to all.

    Args:
        index: the sweep's index.
        by: the metric that decides (default: the first objective).
        k: how many (default: all).
        pareto: only the completed trials that no other beats in every objective.

    Returns:
        {"trial", "name", "outcome", "reason", "message", "warning", "retry_of", "rung", "epochs", "values", "gains",
        "breaks", "config"}; gains as in `gains`, breaks as in `breaking`.

    Raises:
        NotFoundError: no trial has that metric, and the sweep does not know it.
    """
    metric, metrics, breaks = by or first_objective(index), index.metrics, breaking(index)
    trials = index.trials["trial"].to_pylist()
    chosen = pareto_front(index) if pareto else None
    kept = [place for place in _places(index, metric, breaks) if chosen is None or trials[place] in chosen][:k]
    gained = gains(index, metric, [trials[place] for place in kept])
    shown = _columns(index.trials.take(_numbers(kept)), (*_PLAIN, *(f"value.{name}" for name in metrics), "config"))
    return [
        {**_row(row, metrics, gained.get(row["trial"], {})), "breaks": breaks.get(row["trial"], [])} for row in shown
    ]


def ranking(index: Index, by: str | None = None) -> list[int]:
    """The trials' numbers in the order of `top`, without their rows, which take far longer to make; raises the same."""
    trials = index.trials["trial"].to_pylist()
    return [trials[place] for place in _places(index, by or first_objective(index), breaking(index))]


def breaking(index: Index) -> dict[int, list[str]]:
    """The completed trials that break a constraint of the sweep: trial -> what it breaks, like ["seam <= 1.5"]."""
    if not index.bounds:
        return {}
    names = {bound.name: f"value.{bound.name}" for bound in index.bounds}
    found: dict[int, list[str]] = {}
    for row in _columns(index.trials, ("trial", "outcome", *names, *names.values())):
        values = {name: row.get(name, row.get(column)) for name, column in names.items()}
        if row["outcome"] == "completed" and (breaks := broken(values, index.bounds)):
            found[row["trial"]] = breaks
    return found


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
    """The completed trials that no other completed trial beats or equals in every objective and beats in one.

    Those that break a constraint are left out, unless all do.
    """
    names = [f"value.{name}" for name in index.objectives]
    if not names or not set(names) <= set(index.trials.column_names):
        return set()
    rows = _columns(index.trials, ("trial", "outcome", *names))
    rows = [row for row in rows if row["outcome"] == "completed" and all(row[name] is not None for name in names)]
    breaks = breaking(index)
    rows = [row for row in rows if row["trial"] not in breaks] or rows
    signs = [1 if index.direction(name) == "maximize" else -1 for name in index.objectives]
    points = np.array([[row[name] for name in names] for row in rows]).reshape(-1, len(names)) * signs
    beaten = [bool(((points >= point).all(1) & (points > point).any(1)).any()) for point in points]
    return {row["trial"] for row, lost in zip(rows, beaten, strict=True) if not lost}


def front(index: Index) -> list[int]:
    """The Pareto front where there are several objectives, the best by the first of them first; else empty."""
    if len(index.objectives) < 2:
        return []
    on_front = pareto_front(index)
    return [trial for trial in ranking(index) if trial in on_front]


def _alerts(sweep: SweepDirectory, index: Index, answer: Mapping[str, Any]) -> list[Alert]:
    """What there is to be told, given the rest of what `status` says."""
    best, sign = answer["best"], last_sign(sweep)
    single = {best["trial"]} if best else set[int]()
    trials, disk = answer["budget"]["trials"], (answer["forecast"] or {}).get("disk") or {}
    left = max(0.0, 1 - trials["spent"] / trials["limit"]) if trials["limit"] else 1.0
    return alerts(
        index,
        state=answer["state"],
        root=sweep.root,
        leaders=set(answer["front"]) or single,
        silent=sign.age() if sign else None,
        free=free_space(sweep.root),
        to_come=left * disk["median"] if "median" in disk else None,
    )


def _places(index: Index, metric: str, breaks: Container[int]) -> list[int]:
    """The rows of the index's trials, best first."""
    known = {*index.metrics, *index.objectives, *index.manifest["metrics"]}
    if metric not in known:
        raise NotFoundError(f"unknown metric {metric!r}; there are: {', '.join(sorted(known)) or 'none yet'}")
    rows, direction = _columns(index.trials, ("trial", "outcome", f"value.{metric}")), index.direction(metric)
    return sorted(range(len(rows)), key=lambda place: _rank(rows[place], metric, direction, breaks))


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


def _rank(row: Mapping[str, Any], metric: str, direction: str, breaks: Container[int]) -> tuple[int, float, int]:
    value = row.get(f"value.{metric}")
    if value is None:
        return 4, 0.0, row["trial"]
    group = {"completed": 1 if row["trial"] in breaks else 0, "pruned": 2}.get(row["outcome"], 3)
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
