"""How far a sweep is: what it has spent, how fast it goes, how long it will go on, what runs.

Everything follows from the index and the driver's sign of life, whoever asks.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

import pyarrow as pa

from mrisynth.results.index import Index
from mrisynth.results.records import read_mapping
from mrisynth.results.store import SweepDirectory

COUNTED = ("completed", "pruned", "continued", "rejected")
"""What counts in a budget of trials."""

OVERTIME = 0.1
"""How much longer running trials may take once a budget of time is spent, as in `search.account`."""

_COLUMNS = (
    "trial",
    "outcome",
    "reason",
    "retry_of",
    "generator",
    "adversary",
    "epochs",
    "epochs_planned",
    "seconds",
    "gpu",
)
_WIDTH = 1.2816  # standard deviations that hold 80 % of a normal distribution

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Remaining:
    """How long a sweep will go on.

    Attributes:
        seconds: as is to be expected.
        low, high: 8 times in 10 it should take something in between.
        by: the limit that will end it: "trials", "hours", "gpu_hours" or "wall".
    """

    seconds: float
    low: float
    high: float
    by: str


def progress(sweep: SweepDirectory, index: Index) -> dict[str, Any]:
    """What `status` says of a sweep's progress.

    Returns:
        {"ran": seconds that drivers had it, "rate": trials an hour or None, "budget": limit to {"spent", "limit"},
        "remaining": as `Remaining` or None where that is unknown, "running": [{"trial", "model", "epoch", "epochs"}]}.
    """
    names = [name for name in _COLUMNS if name in index.trials.column_names]
    rows: list[Row] = index.trials.select(names).to_pylist()
    ran = float(read_mapping(sweep.heartbeat).get("ran") or 0.0)
    budget = spending(index, rows, ran)
    counted = sum(_counts(row) and row["retry_of"] is None for row in rows)
    late = _began_late(sweep, index)
    training = max(ran - late if late < ran / 2 else ran, 1e-9)  # more than half was not all of it run, but lay still
    rungs, keep = index.halving
    left = remaining(rows, budget, ran=ran, training=training, rungs=rungs, keep=keep)
    return {
        "ran": ran,
        "rate": 3600 * counted / training if counted and ran else None,
        "budget": budget,
        "remaining": asdict(left) if ran and left else None,
        "running": [_running(row) for row in rows if row["outcome"] == "running"],
    }


def spending(index: Index, rows: Iterable[Row], ran: float) -> dict[str, dict[str, float | None]]:
    """Each limit of a budget with what is spent of it: trials, core-hours, GPU-hours, hours of wall time."""
    rows, limits = list(rows), index.manifest["budget"]
    spent = {
        "trials": sum(_counts(row) and row["retry_of"] is None for row in rows),
        "hours": index.cores * sum(row["seconds"] or 0.0 for row in rows) / 3600,
        "gpu_hours": sum((row.get("gpu") or 0.0) * (row["seconds"] or 0.0) for row in rows) / 3600,
        "wall": ran / 3600,
    }
    planned = {"trials": index.manifest.get("planned")}
    return {name: {"spent": used, "limit": limits.get(name) or planned.get(name)} for name, used in spent.items()}


def remaining(
    rows: Iterable[Row],
    budget: Mapping[str, Mapping[str, float | None]],
    *,
    ran: float,
    training: float,
    rungs: Sequence[float] = (),
    keep: float = 1.0,
) -> Remaining | None:
    """How long a sweep will go on until the first of its limits is reached.

    Args:
        rows: its trials.
        budget: as `spending` gives it.
        ran: for how long drivers had it, in seconds.
        training: the same without the time before its first trial began.
        rungs: fractions of a trial's epochs, from each of which the best go on.
        keep: the share that does.

    Returns:
        None where there is no limit, or nothing yet to judge by.
    """
    expected = partial(_expected, rungs=rungs, keep=keep) if rungs else None
    found = [_until_trials(list(rows), budget["trials"]["limit"], training, expected)]
    for name in ("hours", "gpu_hours", "wall"):
        spent, limit = budget[name]["spent"] or 0.0, budget[name]["limit"]
        if limit is not None and spent > 0:
            seconds = max(0.0, limit / spent - 1) * (ran if name == "wall" else training)
            found.append(Remaining(seconds, seconds, seconds + OVERTIME * (ran + seconds), name))
    known = [each for each in found if each is not None]
    return min(known, key=lambda each: each.seconds, default=None)


def _counts(row: Row) -> bool:
    """Whether a trial counts in the budget of trials; an infeasible one costs no worker, and counts for nothing."""
    return row["outcome"] in COUNTED and row["reason"] != "infeasible"


def _until_trials(
    rows: list[Row], limit: float | None, training: float, expected: Callable[[Row], float] | None
) -> Remaining | None:
    """Until as many trials have ended as may: by what those cost that did, and how many run at a time.

    Of those that rungs stopped some will go on later, so that the first trials seem cheaper than they are in the end:
    the earlier it is, the more they are taken to cost what is expected of trials of their pace.
    """
    ended = _costs(rows)
    running = [row for row in rows if row["outcome"] == "running"]
    begun = [_whole(row) for row in running if row["epochs"] and row["seconds"]]
    known = ended or begun
    if limit is None or not known:
        return None
    mean, deviation = fmean(known), pstdev(known) if len(known) > 1 else known[0] / 2
    own = [row for row in rows if row["retry_of"] is None]
    waiting = max(0, round(limit) - sum(_counts(row) or row["outcome"] == "running" for row in own))
    paces = [expected(row) for row in own if _epoch(row)] if expected else []
    whole = mean + waiting / limit * max(0.0, fmean(paces) - mean) if paces else mean
    left = [max(whole - (row["seconds"] or 0.0), _epoch(row)) for row in running]
    # How many seconds trials are trained in a second: as many trials as run at a time, less what is spent beside.
    pace = max(sum(row["seconds"] or 0.0 for row in rows) / training, 1e-9)
    slots = max(1, len(running))
    tail = whole * (slots - 1) / (2 * slots) if waiting else 0.0
    behind = len(ended) * (whole - mean)
    seconds = max((waiting * whole + behind + sum(left)) / pace + tail, *left, 0.0)
    spread = _WIDTH * deviation * math.sqrt(waiting + len(left) + waiting**2 / len(known)) / pace
    return Remaining(seconds, max(0.0, seconds - spread), seconds + spread, "trials")


def _costs(rows: list[Row]) -> list[float]:
    """What each trial that has ended took, with those that went on with it, in seconds."""
    first: dict[int, int] = {}
    costs: dict[int, float] = {}
    for row in sorted(rows, key=lambda row: int(row["trial"])):
        number: int = row["trial"]
        begun = first[number] = first.get(row["retry_of"], number)
        if row["outcome"] in COUNTED and row["seconds"]:
            costs[begun] = costs.get(begun, 0.0) + row["seconds"]
    return list(costs.values())


def _whole(row: Row) -> float:
    """What a running trial will have cost if it goes on to its end."""
    return float(row["seconds"] / row["epochs"] * (row["epochs_planned"] or row["epochs"]))


def _expected(row: Row, *, rungs: Sequence[float], keep: float) -> float:
    """What a trial of such a pace costs if it comes as far as trials do on average."""
    epochs = row["epochs_planned"] or row["epochs"]
    ends = [*(min(epochs, max(1, math.ceil(rung * epochs - 1e-9))) for rung in rungs), epochs]
    stages = [end - begin for begin, end in pairwise([0, *ends])]
    return float(_epoch(row) * sum(keep**place * stage for place, stage in enumerate(stages)))


def _epoch(row: Row) -> float:
    """What an epoch of a trial costs; 0 before its first one."""
    return float(row["seconds"] / row["epochs"]) if row["epochs"] and row["seconds"] else 0.0


def _running(row: Row) -> dict[str, Any]:
    adversary = row["adversary"] or "none"
    model = (row["generator"] or "?") + ("" if adversary == "none" else f" + {adversary}")
    return {"trial": row["trial"], "model": model, "epoch": row["epochs"] or 0, "epochs": row["epochs_planned"]}


def _began_late(sweep: SweepDirectory, index: Index) -> float:
    """How long after the sweep was made its first trial began, in seconds."""
    # As numbers: for moments Arrow would import pandas, which takes as long as all of `status`.
    moments = index.trials["started"].cast(pa.int64()).to_pylist()
    started = [moment / 1000 for moment in moments if moment is not None]
    try:
        created = datetime.fromisoformat(read_mapping(sweep.lineage)["created"])
    except (KeyError, ValueError, TypeError):
        return 0.0
    return max(0.0, min(started) - created.timestamp()) if started else 0.0
