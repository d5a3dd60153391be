"""A sweep run through in thought: trials of known cost, as many at a time as there is room for, pruned on their rungs.

Which trials are good is not known beforehand, so that is drawn; the rungs then decide as in the sweep itself. A sampler
that learns suggests more of what was good, which costs what that costs, and is stopped on fewer rungs.
"""

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrisynth.search.forecast.costs import RECORD_BYTES, Course
from mrisynth.search.pruning import Standing, rung_epochs, should_prune
from mrisynth.search.settings import Budget
from mrisynth.training.trial import CHECKPOINT_COST

_NOISE = 0.5
"""How much a trial's value on a rung deviates from its quality, in standard deviations of the quality."""

_GOOD = 0.1
"""The share of the trials so far that TPE takes for the good ones."""

_LIKENESS, _INHERITED = 0.9, 0.9
"""How many of the trials that it suggests are like one of them, and how much of their quality they then have."""

_COSTLY = 0.3
"""How much costly trials are the better ones: the correlation of quality with the logarithm of the cost in a family."""


@dataclass(frozen=True, slots=True)
class Rules:
    """By what a sweep goes.

    Attributes:
        budget: what ends it.
        slots: trials at a time.
        rungs, keep, quota: as in `Plan`.
        cores: CPU cores a trial, for the budget of core-hours.
        gpu: share of a GPU a trial.
        whole: the first so many trials are named ones, which no rung stops.
        unlearned: how many trials, one at least, are drawn before the sampler learns from them; None: it never does.
    """

    budget: Budget
    slots: int
    rungs: tuple[float, ...] = ()
    keep: float | None = None
    quota: int = 0
    cores: float = 1.0
    gpu: float = 0.0
    whole: int = 0
    unlearned: int | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One sweep in thought.

    Attributes:
        seconds: from its first trial's begin to its last one's end.
        worker_seconds: of all trials together.
        disk: what it leaves, in bytes.
        trials, pruned: how many it had, and how many of them a rung stopped.
    """

    seconds: float
    worker_seconds: float
    disk: float
    trials: int
    pruned: int


def simulate(courses: Sequence[Course], rules: Rules, generator: np.random.Generator) -> Run:
    """Run through a sweep whose trials are begun in the order of `courses`, until they or its budget are used up."""
    ids = itertools.count()
    # (when, tie, slot, trial, epoch that ends then; None where the slot is free)
    events: list[tuple[float, int, int, int, int | None]] = [(0.0, next(ids), s, -1, None) for s in range(rules.slots)]
    heapq.heapify(events)
    standings: list[Standing] = []
    courses, quality = list(courses), _draw_quality(courses, generator)
    begun = pruned = 0
    spent = disk = end = 0.0
    while events:
        now, _, slot, trial, epoch = heapq.heappop(events)
        if epoch is None:
            if begun >= len(courses) or _is_spent(rules, spent, now):
                continue
            trial, epoch, begun = begun, 0, begun + 1
            if rules.unlearned is not None and trial >= rules.unlearned and generator.random() < _LIKENESS:
                good = _one_of_the_good(quality[:trial], generator)
                courses[trial] = courses[good]
                quality[trial] = _INHERITED * quality[good] + math.sqrt(1 - _INHERITED**2) * quality[trial]
            now, spent, disk = now + courses[trial].begin, spent + courses[trial].begin, disk + courses[trial].disk
        else:
            end = max(end, now)
        course = courses[trial]
        rungs = rung_epochs(rules.rungs, course.epochs)
        over = epoch >= course.epochs or (epoch in rungs and _is_spent(rules, spent, now))
        if epoch in rungs and not over and rules.keep is not None:
            value = quality[trial] + _NOISE * generator.standard_normal()
            own = Standing(course.family, rungs[epoch], (value,))
            falls = should_prune(standings, own, directions=("maximize",), keep=rules.keep, quota=rules.quota)
            over = falls and trial >= rules.whole
            pruned += over
            standings.append(own)
        if over:
            heapq.heappush(events, (now, next(ids), slot, -1, None))
            continue
        then = min([each for each in rungs if each > epoch], default=course.epochs)
        trained = (then - epoch) * course.epoch
        # A checkpoint where it is scored, and others in between for a share of the time.
        took = trained + course.scored + min((then - epoch) * course.saved, course.saved + CHECKPOINT_COST * trained)
        spent, disk = spent + took, disk + (then - epoch) * 2 * RECORD_BYTES
        heapq.heappush(events, (now + took, next(ids), slot, trial, then))
    return Run(end, spent, disk, begun, pruned)


def _draw_quality(courses: Sequence[Course], generator: np.random.Generator) -> NDArray[np.float64]:
    """How good each trial is within its family, in standard deviations."""
    quality, costs = generator.standard_normal(len(courses)), np.array([math.log(each.epoch) for each in courses])
    for family in {each.family for each in courses}:
        members = np.array([each.family == family for each in courses])
        spread = float(np.std(costs[members]))
        if spread > 0:
            dear = (costs[members] - np.mean(costs[members])) / spread
            quality[members] = _COSTLY * dear + math.sqrt(1 - _COSTLY**2) * quality[members]
    return quality


def _one_of_the_good(quality: NDArray[np.float64], generator: np.random.Generator) -> int:
    """One of the best trials so far."""
    good = np.argsort(-quality)[: math.ceil(_GOOD * len(quality))]
    return int(generator.choice(good))


def _is_spent(rules: Rules, spent: float, now: float) -> bool:
    budget = rules.budget
    used = ((budget.hours, rules.cores * spent), (budget.gpu_hours, rules.gpu * spent), (budget.wall, now))
    return any(seconds >= 3600 * (limit or math.inf) for limit, seconds in used)
