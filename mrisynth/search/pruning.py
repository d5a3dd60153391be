"""Successive halving within each family: a pure function of the rungs that trials have reached.

A rung is a fraction of a trial's own epochs, so that trials of different lengths meet on it. Nothing is kept here:
every decision comes from the values that the study holds, and so survives every restart.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Direction = Literal["maximize", "minimize"]
Costs = NDArray[np.float64]
"""Standings as rows, objectives as columns; less is better."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The values with which one trial stood on one rung.

    Attributes:
        family: "cnn", "gan" or "forest"; only trials of one family are compared.
        rung: the rung's place in the list of fractions, 0 for the first.
        values: the objectives there, in their order.
    """

    family: str
    rung: int
    values: tuple[float, ...]


def rung_epochs(fractions: Sequence[float], epochs: int) -> dict[int, int]:
    """After which epochs a trial stands on a rung.

    Args:
        fractions: the rungs, increasing, in (0, 1).
        epochs: how many epochs the trial has.

    Returns:
        Epoch -> rung. A rung is at least epoch 1 and before the last; of two on one epoch the later counts.
    """
    # A fraction such as 0.3 of 10 epochs is 3.0000000000000004 or so: it means epoch 3.
    places = ((max(1, math.ceil(fraction * epochs - 1e-9)), rung) for rung, fraction in enumerate(fractions))
    return {epoch: rung for epoch, rung in places if epoch < epochs}


def should_prune(
    others: Iterable[Standing], own: Standing, *, directions: Sequence[Direction], keep: float, quota: int = 0
) -> bool:
    """Whether a trial stops on its rung.

    It goes on if it is among the first `quota` of its family that reach the rung, or among the best `keep` of those
    that have reached it, itself counted, rounded down but at least one; equal ones go on together.

    Args:
        others: where all other trials stand, whatever became of them.
        own: where this one stands; a value that is not a number is never among the best.
        directions: which values are better, for each objective.
        keep: the fraction that goes on, in (0, 1).
        quota: how many of a family go on from the rung before any is stopped there.
    """
    if any(map(math.isnan, own.values)):
        return True
    rivals = [other for other in others if (other.family, other.rung) == (own.family, own.rung)]
    if len(rivals) < quota:
        return False
    return count_better(rivals, own, directions=directions) >= max(1, math.floor((len(rivals) + 1) * keep + 1e-9))


def count_better(rivals: Sequence[Standing], own: Standing, *, directions: Sequence[Direction]) -> int:
    """How many stand before a trial.

    With one objective, those with a better value. With several, those on an earlier non-dominated front, and those on
    the same front with a larger crowding distance, as NSGA-II ranks them (Deb et al., IEEE Trans. Evol. Comput. 6(2),
    2002): the ends of a front first, then where it is thinly populated. Which values are missing for some (a study
    that was begun when only the first objective was stored) count for nobody.

    Args:
        rivals: of its family, on its rung.
        own: the trial's standing, every value a number.
        directions: which values are better, for each objective.
    """
    known = min(len(standing.values) for standing in (own, *rivals))
    signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in directions[:known]])
    costs = np.array([standing.values[:known] for standing in (own, *rivals)]) * signs
    costs = costs[~np.isnan(costs).any(axis=1)]  # what is no number stands behind all others
    if known == 1:
        return int((costs[1:, 0] < costs[0, 0]).sum())
    points, where, counts = np.unique(costs, axis=0, return_inverse=True, return_counts=True)
    mine = int(where.reshape(-1)[0])
    better = 0
    left = np.arange(len(points))
    while True:
        front = left[non_dominated(points[left])]
        if mine in front:
            break
        better += int(counts[front].sum())
        left = np.setdiff1d(left, front)
    distances = crowding_distances(points[front])
    return better + int(counts[front][distances > distances[front == mine]].sum())


def non_dominated(costs: Costs) -> NDArray[np.bool_]:
    """Which of some points no other one dominates, that is: as good in everything and better in something."""
    as_good = (costs[:, None] <= costs[None]).all(axis=2)
    better = (costs[:, None] < costs[None]).any(axis=2)
    dominates = as_good & better
    return np.asarray(~dominates.any(axis=0))


def crowding_distances(costs: Costs) -> NDArray[np.float64]:
    """How far each point's neighbours on a front lie apart, as the sum over objectives of fractions of the range.

    Args:
        costs: points of one front, none twice; those at an end of it are infinitely far from others.
    """
    distances = np.zeros(len(costs))
    for column in costs.T:
        values = np.sort(column)
        span = values[-1] - values[0]
        first, last = np.searchsorted(values, column, "left"), np.searchsorted(values, column, "right")
        inside = (first > 0) & (last < len(values))
        distances[~inside] = np.inf
        gaps = values[last[inside]] - values[first[inside] - 1]
        distances[inside] += gaps / span
    return distances
