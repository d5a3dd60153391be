"""A sweep run through in thought: trials of known cost, as many at a time as there is room for, pruned on their rungs.

Which trials are good is not known beforehand, so that is drawn; the rungs then decide as in the sweep itself. A sampler
that learns suggests more of what was good, which costs what that costs, and is stopped on fewer rungs.
"""

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mrisynth.search.account import CLOSING
from mrisynth.search.forecast.costs import RECORD_BYTES, Course
from mrisynth.search.pruning import Promotions, Standing, rung_epochs, scored_epochs, should_prune
from mrisynth.search.settings import Budget
from mrisynth.training.trial import CHECKPOINT_COST

_NOISE = 0.5
"""How much a trial's value on a rung deviates from its quality, in standard deviations of the quality."""

_GOOD = 0.1
"""The share of the trials so far that TPE takes for the good ones."""

_LIKENESS, _INHERITED = 0.5, 0.9
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
        trials, pruned: how many it had, and how many of them a rung stopped for good.
    """

    seconds: float
    worker_seconds: float
    disk: float
    trials: int
    pruned: int


def simulate(courses: Sequence[Course], rules: Rules, generator: np.random.Generator) -> Run:
    """Run through a sweep whose trials are begun in the order of `courses`, until they or its budget are used up."""
    return _Sweep(list(courses), rules, generator).run()


@dataclass(slots=True)
class _Sweep:
    """A sweep on its way.

    Attributes:
        quality: how good each trial is within its family, in standard deviations.
        standings: (rung, family) -> who stood where.
        stopped: trial -> the rung that stopped it.
        begun, spent, disk: trials, seconds of workers, bytes so far.
    """

    courses: list[Course]
    rules: Rules
    generator: np.random.Generator
    quality: NDArray[np.float64] = field(init=False)
    standings: dict[tuple[int, str], list[tuple[int, Standing]]] = field(default_factory=dict)
    promotions: Promotions = field(init=False)
    stopped: dict[int, int] = field(default_factory=dict)
    begun: int = 0
    spent: float = 0.0
    disk: float = 0.0

    def __post_init__(self) -> None:
        self.quality = _draw_quality(self.courses, self.generator)
        self.promotions = Promotions(("maximize",), self.rules.keep or 0.0)

    def run(self) -> Run:
        """From its begin to its end."""
        # (when, tie, trial, the epoch that it has reached then)
        events: list[tuple[float, int, int, int]] = []
        ties, free, now = itertools.count(), self.rules.slots, 0.0
        while True:
            while free and not self._is_spent(now) and (turn := self._next(now)) is not None:
                trial, epoch = turn
                ends = now + self._pay(self.courses[trial].begin) + self._train(trial, epoch)
                heapq.heappush(events, (ends, next(ties), trial, self._stage(trial, epoch)))
                free -= 1
            if not events:
                return Run(now, self.spent, self.disk, self.begun, len(self.stopped))
            now, _, trial, epoch = heapq.heappop(events)
            if self._ends(trial, epoch, now):
                free += 1
            else:
                ends = now + self._train(trial, epoch)
                heapq.heappush(events, (ends, next(ties), trial, self._stage(trial, epoch)))

    def _next(self, now: float) -> tuple[int, int] | None:
        """The trial that begins or goes on, and after which epoch; None where none is left."""
        new = self.begun < len(self.courses)
        ends = not new or self._is_spent(now, part=CLOSING)
        promoted = self.promotions.find(self.standings, self.stopped, least=int(ends))
        if promoted is not None:
            rung = self.stopped.pop(promoted)
            self.disk += self.courses[promoted].disk  # it goes on in a folder of its own
            return promoted, next(epoch for epoch, place in self._rungs(promoted).items() if place == rung)
        if not new:
            return None
        self.begun += 1
        self._learn(self.begun - 1)
        self.disk += self.courses[self.begun - 1].disk
        return self.begun - 1, 0

    def _learn(self, trial: int) -> None:
        """Let a trial be like one of the good ones, where the sampler has learned of them."""
        unlearned = self.rules.unlearned
        if unlearned is not None and trial >= unlearned and self.generator.random() < _LIKENESS:
            good = _one_of_the_good(self.quality[:trial], self.generator)
            self.courses[trial] = self.courses[good]
            own = math.sqrt(1 - _INHERITED**2) * self.quality[trial]
            self.quality[trial] = _INHERITED * self.quality[good] + own

    def _rungs(self, trial: int) -> dict[int, int]:
        return rung_epochs(self.rules.rungs, self.courses[trial].epochs)

    def _stage(self, trial: int, epoch: int) -> int:
        """The next rung of a trial, or its end."""
        return min([each for each in self._rungs(trial) if each > epoch], default=self.courses[trial].epochs)

    def _train(self, trial: int, epoch: int) -> float:
        """How long a trial takes from an epoch to its next rung or its end, in seconds."""
        course, then = self.courses[trial], self._stage(trial, epoch)
        count, trained = then - epoch, (then - epoch) * course.epoch
        scored = sum(epoch < each <= then for each in {*scored_epochs(self._rungs(trial)), course.epochs})
        # A checkpoint where it is scored, and others in between for a share of the time.
        saved = min(count * course.saved, scored * course.saved + CHECKPOINT_COST * trained)
        self.disk += count * 2 * RECORD_BYTES
        return self._pay(trained + scored * course.scored + saved)

    def _pay(self, seconds: float) -> float:
        self.spent += seconds
        return seconds

    def _ends(self, trial: int, epoch: int, now: float) -> bool:
        """Whether a trial is at its end, or stops on its rung: there were better ones, or the budget is spent."""
        rungs = self._rungs(trial)
        if epoch not in rungs or self._is_spent(now):
            return True
        keep = self.rules.keep
        if keep is None:
            return False
        value = self.quality[trial] + _NOISE * self.generator.standard_normal()
        own = Standing(self.courses[trial].family, rungs[epoch], (value,))
        here = self.standings.setdefault((own.rung, own.family), [])
        others = [standing for _, standing in here]
        falls = should_prune(others, own, directions=("maximize",), keep=keep, quota=self.rules.quota)
        here.append((trial, own))
        if falls and trial >= self.rules.whole:
            self.stopped[trial] = rungs[epoch]
        return trial in self.stopped

    def _is_spent(self, now: float, *, part: float = 1.0) -> bool:
        """Whether a limit of time is reached, or so much of it."""
        budget, rules = self.rules.budget, self.rules
        used = (
            (budget.hours, rules.cores * self.spent),
            (budget.gpu_hours, rules.gpu * self.spent),
            (budget.wall, now),
        )
        return any(seconds >= part * 3600 * (limit or math.inf) for limit, seconds in used)


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
