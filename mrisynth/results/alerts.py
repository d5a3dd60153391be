"""What somebody should know of a sweep at once: what was found, why, and what to do about it.

The rules look at the index and at what `status` found out; they read nothing themselves.
"""

import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from mrisynth.results.index import Index
from mrisynth.results.insight.edges import edges
from mrisynth.results.store import State
from mrisynth.words import in_words, name_trials, size_in_words

MANY, MANY_SHARE = 3, 0.25
"""From how many rejected trials on, and from which share of those that ended, a sweep wastes its time."""

IN_A_ROW = 3
"""After so many lost trials in a row the fault is hardly theirs; after five a sweep fails."""

STUCK_TRIALS, STUCK_SHARE = 20, 1 / 3
"""A search is stuck if so many trials, and this share of what it cost, brought no better one."""

LOW_DISK = 2e9
"""Bytes below which a disk is nearly full: the checkpoints of a few trials."""

_COLUMNS = ("trial", "outcome", "reason", "message", "retry_of", "seconds", "ended")
_ENDED = ("completed", "pruned", "rejected", "lost")
_MEMORY = "out of memory"
_REMEDIES = {
    "diverged": "Begin another sweep whose ranges of learning rates and loss weights end lower.",
    "collapsed": "Begin another sweep whose adversary learns more slowly or weighs less against the other losses.",
    "infeasible": "They cost nothing; `mrisynth space show` says which part of the space is thrown away.",
}
_LOOK = "Look at the logs of the last ones."

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Alert:
    """One finding.

    Attributes:
        code: the rule that found it: "stale", "failed", "disk", "lost", "rejected", "memory", "stuck" or "edge".
        severity: "error" where the sweep does not go on or will not for long, "warning" where it wastes its time,
            "info" where it could be better.
        reason: what was found, one sentence.
        remedy: what to do, one sentence.
        command: a command line that does it; None where there is none.
    """

    code: str
    severity: Literal["error", "warning", "info"]
    reason: str
    remedy: str
    command: str | None = None


def alerts(
    index: Index,
    *,
    state: State,
    root: Path,
    leaders: Collection[int] = (),
    silent: float | None = None,
    free: float | None = None,
    to_come: float | None = None,
) -> list[Alert]:
    """What there is to be told of a sweep, the worst first.

    Args:
        index: the sweep's index.
        state: what it is doing.
        root: its folder, as commands should name it.
        leaders: its best trial, or with several objectives those of its Pareto front.
        silent: for how long its driver has given no sign of life, in seconds.
        free: free bytes on the disk of its folder; None where that is not known.
        to_come: bytes that it will still write, where a forecast says so.
    """
    rows = _in_order(index)
    found = [
        *_state(state, root, silent),
        *(_disk(free, to_come) if state != "done" else ()),
        *_lost(rows, root),
        *_memory(rows, root),
        *_rejected(rows),
        *(_stuck(rows, leaders, root, state) if state not in ("done", "failed") else ()),
        *_edges(index),
    ]
    order = ("error", "warning", "info")
    return sorted(found, key=lambda alert: order.index(alert.severity))


def _in_order(index: Index) -> list[Row]:
    """The trials in the order in which they ended, those that have not at the end."""
    names = [name for name in _COLUMNS if name in index.trials.column_names]
    table = index.trials.select(names)
    # As numbers: for moments Arrow would import pandas, which takes as long as all of `status`.
    rows = table.set_column(names.index("ended"), "ended", table["ended"].cast(pa.int64())).to_pylist()
    return sorted(rows, key=lambda row: (row["ended"] is None, row["ended"] or 0, row["trial"]))


def _state(state: State, root: Path, silent: float | None) -> Iterator[Alert]:
    command = _command("resume", root)
    if state == "stale":
        since = f" for {in_words(silent)}" if silent is not None else ""
        reason = f"The driver says that it runs, but has given no sign of life{since}: it was killed or cut off."
        yield Alert("stale", "error", reason, "Resume the sweep: what was trained is kept.", command)
    if state == "failed":
        remedy = "Its last events and what its driver printed say which: remove the cause, then resume the sweep."
        yield Alert("failed", "error", "The sweep was ended by an error.", remedy, command)


def _disk(free: float | None, to_come: float | None) -> Iterator[Alert]:
    if free is None:
        return
    if free < LOW_DISK:
        reason = f"The disk of the results is nearly full: {size_in_words(free)} are free."
        yield Alert("disk", "error", reason, "Make room: trials that cannot write wait some minutes, and are lost.")
    elif to_come is not None and free < to_come:
        reason = f"The sweep will write some {size_in_words(to_come)} more, and {size_in_words(free)} are free."
        yield Alert("disk", "warning", reason, "Make room before it is full.")


def _lost(rows: Sequence[Row], root: Path) -> Iterator[Alert]:
    ended = [row for row in rows if row["outcome"] in _ENDED]
    repeated = {row.get("retry_of") for row in rows}
    lost = [row for row in ended if row["outcome"] == "lost" and row["trial"] not in repeated]
    command = _command("retry", root)
    last = [row for row in ended[-IN_A_ROW:] if row["outcome"] == "lost"]
    if len(last) == IN_A_ROW:
        reason = f"The last {IN_A_ROW} trials to end were lost ({_most(last)[0]}); {_told(last)}"
        remedy = "Look after the machine, its disk or its network (`mrisynth doctor`); then try the lost trials again."
        yield Alert("lost", "error", reason, remedy, command)
    elif lost:
        reason = f"{_count(lost)} {_was(lost)} lost ({_most(lost)[0]}); {_told(lost)}"
        yield Alert("lost", "info", reason, "Try them again when the sweep does not run.", command)


def _memory(rows: Sequence[Row], root: Path) -> Iterator[Alert]:
    repeated = {row.get("retry_of") for row in rows}
    full = [row for row in rows if row["reason"] == _MEMORY and row["trial"] not in repeated]
    if full:
        reason = f"{_count(full)} ran out of memory: {name_trials([row['trial'] for row in full])}."
        remedy = (
            "Run fewer trials at a time (--max-concurrent) and try them again, or begin another sweep with smaller "
            "networks, patches or batches."
        )
        yield Alert("memory", "warning", reason, remedy, _command("retry", root, "--rejected"))


def _rejected(rows: Sequence[Row]) -> Iterator[Alert]:
    ended = [row for row in rows if row["outcome"] in _ENDED]
    rejected = [row for row in ended if row["outcome"] == "rejected" and row["reason"] != _MEMORY]
    if len(rejected) < MANY or len(rejected) < MANY_SHARE * len(ended):
        return
    why, count = _most(rejected)
    often = "all" if count == len(rejected) else f"most often ({count})"
    said = (
        f"{len(rejected)} of {len(ended)} trials that ended were rejected ({len(rejected) / len(ended):.0%}), {often}"
    )
    alike = [row for row in rejected if _why(row) == why]
    yield Alert("rejected", "warning", f"{said} because they {_did(why)}; {_told(alike)}", _REMEDIES.get(why, _LOOK))


def _stuck(rows: Sequence[Row], leaders: Collection[int], root: Path, state: State) -> Iterator[Alert]:
    """Whether the newest of the leading trials is old, in trials and in cost."""
    ended = [row for row in rows if row["ended"] is not None and row["outcome"] in _ENDED]
    newest = max((at for at, row in enumerate(ended) if row["trial"] in leaders), default=None)
    if newest is None:
        return
    since = ended[newest + 1 :]
    cost = sum(row["seconds"] or 0.0 for row in ended)
    share = sum(row["seconds"] or 0.0 for row in since) / cost if cost else 0.0
    if len(since) >= STUCK_TRIALS and share >= STUCK_SHARE:
        reason = (
            f"No better trial than {ended[newest]['trial']} has come in the last {len(since)} trials, which were "
            f"{share:.0%} of the cost."
        )
        remedy = "If it is good enough, stop and spend the rest on repeating it with other seeds; else widen the space."
        yield Alert("stuck", "info", reason, remedy, _command("stop", root) if state == "running" else None)


def _edges(index: Index) -> Iterator[Alert]:
    found = {(edge.path, edge.end): edge for metric in index.objectives for edge in edges(index, metric)}
    for edge in found.values():
        yield Alert("edge", "info", edge.finding, "Begin another sweep with a wider range; this one's space stays.")


def _command(name: str, root: Path, *options: str) -> str:
    return shlex.join(["mrisynth", name, str(root), *options])


def _most(rows: Sequence[Row]) -> tuple[str, int]:
    """The commonest reason, and how often it was given."""
    return Counter(map(_why, rows)).most_common(1)[0]


def _why(row: Row) -> str:
    return str(row["reason"] or "no reason kept")


def _told(rows: Sequence[Row]) -> str:
    """The last trial's own sentence."""
    message = str(rows[-1]["message"] or "no message was kept").rstrip(". ")
    return f"the last, trial {rows[-1]['trial']}: {message}."


def _did(reason: str) -> str:
    return {"infeasible": "were infeasible", "no reason kept": "failed"}.get(reason, reason)


def _count(rows: Sequence[Row]) -> str:
    return f"{len(rows)} trial{'s' * (len(rows) != 1)}"


def _was(rows: Sequence[Row]) -> str:
    return "was" if len(rows) == 1 else "were"
