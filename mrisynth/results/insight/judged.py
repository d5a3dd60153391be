"""Which trials can be compared, and in which order: what every statistic of a search begins with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrisynth.results.index import Index
from mrisynth.results.insight.domains import floats
from mrisynth.results.ranking import ranks
from mrisynth.results.tables import VALUE

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """Trials in the order of one metric.

    Args:
        metric: the metric.
        rows: their rows in the index's trials, (n,).
        values: their scores, (n,), in the metric's unit; a pruned trial's is that of its last rung.
        quality: their places from 0 (worst) to 1 (best), (n,); equal ones share theirs.
        completed: which of them completed, (n,).
    """

    metric: str
    rows: NDArray[np.int64]
    values: Floats
    quality: Floats
    completed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counted(self) -> str:
        """How many there are, in words: "120 completed and 64 pruned trials"."""
        done = int(self.completed.sum())
        pruned = len(self) - done
        noun = "trial" if len(self) == 1 else "trials"
        return f"{done} completed and {pruned} pruned {noun}" if pruned else f"{done} completed {noun}"


def judge(index: Index, metric: str, *, family: str | None = None) -> Judged:
    """The trials that a metric orders: completed ones, and below them those that were pruned by it.

    A pruned trial's score is that of its last rung and cannot be compared with a final one; its place can: it was
    stopped because others were better there, the earlier the worse, and among those of one rung its score decides. That
    holds only of the metric that prunes, which is the objective of a sweep that has one; by any other, and where
    there are several objectives, completed trials alone are ordered.

    Args:
        index: the sweep's index.
        metric: a metric; of one that no trial has, nothing is judged.
        family: only the trials of this family (default: all).
    """
    column = VALUE + metric
    if column not in index.trials.column_names:
        nothing = np.array([], np.float64)
        return Judged(metric, np.array([], np.int64), nothing, nothing, np.array([], np.bool_))
    values = floats(index.trials[column])
    outcome, names = _words(index, "outcome"), _words(index, "family")
    completed = outcome == "completed"
    # One that somebody stopped has a reason; its place says nothing.
    pruned = (outcome == "pruned") & (_words(index, "reason") == "") & (list(index.objectives) == [metric])
    kept = (completed | pruned) & np.isfinite(values) & ((names == family) if family is not None else True)
    rows = np.flatnonzero(kept)
    quality = _quality(index, values[rows], completed[rows], _stages(index)[rows], index.direction(metric))
    return Judged(metric, rows, values[rows], quality, completed[rows])


def families(index: Index) -> list[str]:
    """The families of the completed and pruned trials, by name."""
    ended = np.isin(_words(index, "outcome"), ("completed", "pruned"))
    return sorted({str(name) for name in _words(index, "family")[ended] if name})


def _quality(index: Index, values: Floats, completed: NDArray[np.bool_], stages: Floats, direction: str) -> Floats:
    if not len(values):
        return values
    stage = np.where(completed, 2.0, stages)
    by_value = len(values) - ranks(values.tolist(), direction=direction)  # 0 for the worst
    # Stages come first: no two places differ by more than n, and stages are multiples of it.
    order = np.unique(stage, return_inverse=True)[1] * (len(values) + 1.0) + by_value
    place = len(values) - ranks(order.tolist(), direction="maximize")
    quality: Floats = place / max(1, len(values) - 1)
    return quality


def _stages(index: Index) -> Floats:
    """The share of its epochs after which each trial ended, (n,)."""
    epochs, planned = (_numbers(index, name) for name in ("epochs", "epochs_planned"))
    return np.round(epochs / np.maximum(planned, 1.0), 3)


def _words(index: Index, name: str) -> NDArray[np.str_]:
    return np.array([value or "" for value in index.trials[name].to_pylist()], np.str_)


def _numbers(index: Index, name: str) -> Floats:
    return np.array([value or 0 for value in index.trials[name].to_pylist()], np.float64)
