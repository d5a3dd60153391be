"""How the families fared: how many trials of each reached which rung, and how the scores of the completed ones lie."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrisynth.results.index import Index
from mrisynth.results.insight.judged import judge
from mrisynth.results.tables import VALUE

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung of one family.

    Args:
        family: "forest", "cnn" or "gan".
        fraction: the rung, as a share of a trial's own epochs; 0 for those that began, 1 for the end.
        reached: how many trials got so far.
        pruned: how many of them were stopped there.
    """

    family: str
    fraction: float
    reached: int
    pruned: int


@dataclass(frozen=True, slots=True)
class Spread:
    """How the scores of a family's completed trials lie, in the metric's unit.

    Args:
        family: its name.
        trials: how many completed with a score.
        least, lower, median, upper, most: the quartiles and the ends.
        best: the trial with the best score.
    """

    family: str
    trials: int
    least: float
    lower: float
    median: float
    upper: float
    most: float
    best: int


def rung_survival(index: Index) -> list[Rung]:
    """How many trials of each family reached each rung, by family and rung.

    The rungs are those at which trials of the family were pruned; trials that had no rung (named ones run whole) and
    those that were rejected or lost on the way count where they came by.
    """
    trials = index.trials.select(["family", "outcome", "epochs", "epochs_planned", "rung"]).to_pylist()
    trials = [row for row in trials if row["outcome"] != "continued"]  # the trial that goes on with it counts
    begun = [row for row in trials if row["family"] and row["epochs_planned"] and row["epochs"]]
    pruned = [row for row in begun if row["outcome"] == "pruned" and row["rung"]]
    found = []
    for family in sorted({row["family"] for row in begun}):
        done = np.array([row["epochs"] / row["epochs_planned"] for row in begun if row["family"] == family])
        stopped = [_fraction(row["rung"], row["epochs_planned"]) for row in pruned if row["family"] == family]
        found.append(Rung(family, 0.0, len(done), 0))
        for fraction in (*sorted(set(stopped)), 1.0):
            found.append(Rung(family, fraction, int((done >= fraction - 1e-3).sum()), stopped.count(fraction)))
    return found


def family_spreads(index: Index, metric: str) -> list[Spread]:
    """How the scores of each family's completed trials lie; the best median first."""
    if VALUE + metric not in index.trials.column_names:
        return []
    judged = judge(index, metric)
    rows, values = judged.rows[judged.completed], judged.values[judged.completed]
    quality, names = judged.quality[judged.completed], np.array(index.trials["family"].to_pylist(), object)[rows]
    numbers = index.trials["trial"].to_numpy()[rows]
    spreads = []
    for family in sorted({name for name in names if name}):
        own = names == family
        least, lower, median, upper, most = np.quantile(values[own], [0, 0.25, 0.5, 0.75, 1]).tolist()
        best = int(numbers[own][np.argmax(quality[own])])
        spreads.append(Spread(family, int(own.sum()), least, lower, median, upper, most, best))
    sign = -1 if index.direction(metric) == "maximize" else 1
    return sorted(spreads, key=lambda each: sign * each.median)


def _fraction(rung: int, planned: int) -> float:
    return round(rung / planned, 3)
