"""Successive halving within each family: a pure function of the rungs that trials have reached.

A rung is a fraction of a trial's own epochs, so that trials of different lengths meet on it. Nothing is kept here:
every decision comes from the values that the study holds, and so survives every restart.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Direction = Literal["maximize", "minimize"]
Place = tuple[int, str]
"""A rung, and the family that is compared there."""
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


def scored_epochs(rungs: Iterable[int]) -> tuple[int, ...]:
    """After which epochs a trial with rungs after some epochs is scored: there, and once before.

    A network's scores swing from epoch to epoch, often by more than networks differ; the better of two tells more.
    """
    return tuple(sorted({epoch - back for epoch in rungs for back in (0, 1) if epoch > back}))


def should_prune(
    others: Iterable[Standing], own: Standing, *, directions: Sequence[Direction], keep: float, quota: int = 0
) -> bool:
    """Whether a trial stops on its rung.

    It goes on if it is among the first `quota` of its family that reach the rung, or among the best `keep` of those
    that have reached it, itself counted, rounded down; equal ones go on together. One that stops may go on later
    (`Promotions`): while there are too few to compare, all do.

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
    return 0 not in leaders([own, *rivals], _share(len(rivals) + 1, keep), directions=directions)


@dataclass(slots=True)
class Promotions:
    """Finds the trials to go on with of those that stopped on their rung: by now they are among the best there.

    This and `should_prune` together are asynchronous successive halving (ASHA: Li et al., "A system for massively
    parallel hyperparameter tuning", MLSys 2020), within each family. It is asked again and again as trials come to the
    rungs, and looks only where something has changed.

    Attributes:
        directions: which values are better, for each objective.
        keep: the fraction that goes on, in (0, 1).
    """

    directions: Sequence[Direction]
    keep: float
    _nobody: dict[Place, tuple[int, int, int]] = field(default_factory=dict)

    def find(
        self, standings: Mapping[Place, Sequence[tuple[int, Standing]]], stopped: Mapping[int, int], *, least: int = 0
    ) -> int | None:
        """The trial to go on with: on the highest rung where there is one, the one that began first.

        Args:
            standings: (rung, family) -> the number of each trial that has reached the rung, and where it stands there.
            stopped: number -> the rung on which a trial stopped, of those that may go on.
            least: how many of each family go on from each rung, however few have reached it.
        """
        waiting: dict[Place, list[int]] = {}
        for place, members in standings.items():
            waiting[place] = [at for at, (number, _) in enumerate(members) if stopped.get(number) == place[0]]
        for place in sorted(standings, reverse=True):
            members, state = standings[place], (len(standings[place]), len(waiting[place]), least)
            if not waiting[place] or self._nobody.get(place) == state:
                continue
            count = max(_share(len(members), self.keep), least)
            best = leaders([standing for _, standing in members], count, directions=self.directions)
            if found := [members[at][0] for at in waiting[place] if at in best]:
                return min(found)
            self._nobody[place] = state
        return None


def _share(count: int, keep: float) -> int:
    """How many of so many go on."""
    return math.floor(count * keep + 1e-9)


def leaders(standings: Sequence[Standing], count: int, *, directions: Sequence[Direction]) -> set[int]:
    """Which of some standings have fewer than `count` others before them.

    With one objective, those with a better value are before one. With several, those on an earlier non-dominated front,
    and those on the same front with a larger crowding distance, as NSGA-II ranks them (Deb et al., IEEE Trans. Evol.
    Comput. 6(2), 2002): the ends of a front first, then where it is thinly populated. Which values are missing for some
    (a study that was begun when only the first objective was stored) count for nobody; what is no number is no leader.

    Args:
        standings: of one family, on one rung.
        count: so many lead, and those that equal the last of them.
        directions: which values are better, for each objective.

    Returns:
        Their places in `standings`.
    """
    if count < 1 or not standings:
        return set()
    known = min(len(standing.values) for standing in standings)
    if known == 1:
        return _leaders_of_one([standing.values[0] for standing in standings], count, directions[0])
    signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in directions[:known]])
    costs = np.array([standing.values[:known] for standing in standings]) * signs
    numbers = np.flatnonzero(~np.isnan(costs).any(axis=1))
    points, where, counts = np.unique(costs[numbers], axis=0, return_inverse=True, return_counts=True)
    before = _count_before(points, counts, count)
    return set(numbers[before[where.reshape(-1)] < count].tolist())


def _leaders_of_one(values: Sequence[float], count: int, direction: Direction) -> set[int]:
    """The same of one objective, as fast as it goes: a forecast asks ten thousand times."""
    sign = 1.0 if direction == "minimize" else -1.0
    costs = [sign * value for value in values]
    known = sorted(cost for cost in costs if not math.isnan(cost))
    last = known[min(count, len(known)) - 1] if known else -math.inf
    return {place for place, cost in enumerate(costs) if cost <= last}


def _count_before(points: Costs, counts: NDArray[np.int64], enough: int) -> NDArray[np.int64]:
    """How many stand before each point, no two of which are equal; `enough` for those with as many or more.

    Args:
        points: as rows; less is better.
        counts: how many trials have each.
        enough: from where on it does not matter.
    """
    before = np.full(len(points), enough)
    dominates, passed = _dominance(points), 0
    above = dominates.sum(axis=0)  # by how many of those that are left each point is dominated
    while passed < enough and (above == 0).any():
        front = np.flatnonzero(above == 0)
        distances = crowding_distances(points[front])
        before[front] = passed + (distances[:, None] < distances[None]) @ counts[front]
        passed += int(counts[front].sum())
        above -= dominates[front].sum(axis=0)
        above[front] = -1
    return before


def non_dominated(costs: Costs) -> NDArray[np.bool_]:
    """Which of some points no other one dominates, that is: as good in everything and better in something."""
    return np.asarray(~_dominance(costs).any(axis=0))


def _dominance(costs: Costs) -> NDArray[np.bool_]:
    """Whether each point (rows) dominates each other one (columns)."""
    as_good, better = (np.full((len(costs), len(costs)), start) for start in (True, False))
    for column in costs.T:  # ten times as fast as all at once
        as_good &= column[:, None] <= column[None]
        better |= column[:, None] < column[None]
    return np.asarray(as_good & better)


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
