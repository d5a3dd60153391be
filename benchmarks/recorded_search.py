"""A search over recorded learning curves, without training anything: what `replay.py` compares."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from heapq import heappop, heappush
from typing import Any

import optuna
import pyarrow.parquet as pq
from learning_curves import Recording

from mrisynth.search.domains import Domain, Range, encode
from mrisynth.search.grid import grid_points
from mrisynth.search.outcome import Outcome
from mrisynth.search.pruning import Direction, Promotions, Standing, rung_epochs, scored_epochs, should_prune
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.settings import SamplerName
from mrisynth.search.space import load_space
from mrisynth.search.study import promote, record_rung, tell

EPOCHS = 27


@dataclass(frozen=True, slots=True)
class Curve:
    """One recorded trial: the scores after each epoch, and the CPU seconds of training it and of scoring it."""

    point: int
    family: str
    scores: list[dict[str, float]]
    seconds: list[float]
    scoring: list[float]

    @property
    def completed(self) -> bool:
        """Whether it came to its end and was not rejected on the way."""
        return len(self.scores) == EPOCHS

    def values(self, epoch: int, objectives: dict[str, Direction]) -> tuple[float, ...]:
        return tuple(self.scores[epoch - 1][name] for name in objectives)

    def best(self, epochs: Sequence[int], objectives: dict[str, Direction]) -> tuple[float, ...]:
        """The best of each objective after any of some epochs."""
        best = {"maximize": max, "minimize": min}
        return tuple(
            best[direction](self.scores[epoch - 1][name] for epoch in epochs) for name, direction in objectives.items()
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """How trials are stopped; `pooled` compares all families with one another."""

    name: str
    rungs: tuple[float, ...] = ()
    keep: float = 1 / 3
    quota: int = 0
    pooled: bool = False


@dataclass(slots=True)
class Search:
    """What happened in one replayed search: points by trial, those past the first rung, and those completed."""

    order: list[int] = field(default_factory=list)
    passed: set[int] = field(default_factory=set)
    completed: list[int] = field(default_factory=list)
    seconds: float = 0.0
    arrived: bool = False


class InOrder:
    """Hands the points out in one order."""

    def __init__(self, order: Sequence[int]) -> None:
        self._left = iter(order)

    def ask(self) -> int | None:
        return next(self._left, None)

    def stand(self, trial: int, standing: Standing, *, epoch: int, pruned: bool) -> None:
        """It does not learn."""

    def end(self, trial: int, outcome: Outcome) -> None:
        """It does not learn."""

    def go_on(self, trial: int) -> None:
        """It does not learn."""


class Suggested:
    """Points that a sampler suggests, told what became of them as the product tells it.

    Where only points drawn from the space are recorded, the one nearest to what was suggested is tried in its place,
    of those not yet tried, and the study is told of that one.
    """

    def __init__(self, recording: Recording, name: SamplerName, seed: int, objectives: dict[str, Direction]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = load_space(recording.space)
        self._points = recorded_points(recording)
        self._exact = {frozenset(point.items()): at for at, point in enumerate(self._points)}
        self._whole = recording.draws is None
        directions = list(objectives.values())
        self.study = optuna.create_study(sampler=SeededSampler(name, seed), directions=directions)
        self.study.set_user_attr("objectives", dict(objectives))
        self._numbers: list[int] = []
        self._tried: set[int] = set()

    def ask(self) -> int | None:
        if len(self._numbers) == len(self._points):
            return None
        trial = self.study.ask()
        self._space.parameters.suggest(trial)
        if self._whole:
            point = self._exact[frozenset(trial.params.items())]
        else:
            left = [at for at in range(len(self._points)) if at not in self._tried]
            point = min(left, key=lambda at: self._distance(trial.params, self._points[at]))
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            # Three numbers a point: two would give every point to the same of the sampler's two turns.
            self.study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
            self.study.enqueue_trial(self._points[point])
            trial = self.study.ask()
            self._space.parameters.suggest(trial)
        self._numbers.append(trial.number)
        self._tried.add(point)
        return point

    def _distance(self, one: dict[str, Any], other: dict[str, Any]) -> float:
        """How many parameters differ: a choice wholly, a number by its share of the range."""
        return sum(_apart(dimension.domain, one, other, dimension.path) for dimension in self._space.search.values())

    def stand(self, trial: int, standing: Standing, *, epoch: int, pruned: bool) -> None:
        record_rung(self.study, self._numbers[trial], standing, epoch=epoch, pruned=pruned)

    def end(self, trial: int, outcome: Outcome) -> None:
        tell(self.study, self._numbers[trial], outcome)

    def go_on(self, trial: int) -> None:
        self._numbers[trial] = promote(self.study, self._numbers[trial])
        self._space.parameters.suggest(self.study.ask())


@cache
def recorded_points(recording: Recording) -> list[dict[str, Any]]:
    """What each recorded trial was suggested by, as a study takes it."""
    space = load_space(recording.space)
    if recording.draws is None:
        return [{path: encode(value) for path, value in point.items()} for point in grid_points(space.parameters)]
    return [dict(space.encode(config).params or {}) for config in recording.configs()]


def _apart(domain: Domain, one: dict[str, Any], other: dict[str, Any], path: str) -> float:
    if path not in one or path not in other:
        return float((path in one) != (path in other))
    if not isinstance(domain, Range):
        return float(one[path] != other[path])
    scale = math.log if domain.log else float
    return abs(scale(one[path]) - scale(other[path])) / (scale(domain.high) - scale(domain.low))


@dataclass(slots=True)
class Replay:
    """One search, until the source has nothing left or `done`.

    Trials end in the order in which they would with so many workers, each of which takes the next one when it is free:
    one that a rung stopped and that is among the best there by now, or else a new one.
    """

    curves: Sequence[Curve]
    source: InOrder | Suggested
    rule: Rule
    objectives: dict[str, Direction]
    workers: int = 1
    done: Callable[[Search], bool] = lambda _: False
    search: Search = field(default_factory=Search)
    standings: dict[tuple[int, str], list[tuple[int, Standing]]] = field(default_factory=dict)
    stopped: dict[int, int] = field(default_factory=dict)
    promotions: Promotions = field(init=False)

    def __post_init__(self) -> None:
        self.promotions = Promotions(tuple(self.objectives.values()), self.rule.keep)

    def run(self) -> Search:
        events, free, now = list[tuple[float, int, int]](), self.workers, 0.0
        while True:
            while free and (turn := self._next()) is not None:
                heappush(events, self._until(now, *turn))
                free -= 1
            if not events:
                return self.search
            now, trial, epoch = heappop(events)
            self.search.seconds = now
            outcome = self._judge(trial, epoch)
            if outcome is None:
                heappush(events, self._until(now, trial, epoch))
                continue
            free += 1
            self.source.end(trial, outcome)
            if outcome.kind == "completed":
                self.search.completed.append(self.search.order[trial])
                if self.done(self.search):
                    self.search.arrived = True
                    return self.search

    def _next(self) -> tuple[int, int] | None:
        """The trial that begins or goes on, and after which epoch."""
        trial = self.promotions.find(self.standings, self.stopped)
        if trial is None and (point := self.source.ask()) is not None:
            self.search.order.append(point)
            return len(self.search.order) - 1, 0
        trial = self.promotions.find(self.standings, self.stopped, least=1) if trial is None else trial
        if trial is None:
            return None
        epochs = {rung: epoch for epoch, rung in self._rungs.items()}
        rung = self.stopped.pop(trial)
        if rung == 0:
            self.search.passed.add(self.search.order[trial])
        self.source.go_on(trial)
        return trial, epochs[rung]

    @property
    def _rungs(self) -> dict[int, int]:
        return rung_epochs(self.rule.rungs, EPOCHS)

    def _until(self, now: float, trial: int, epoch: int) -> tuple[float, int, int]:
        """When a trial will have come from one epoch to its next rung or its end, itself, and that epoch."""
        curve = self.curves[self.search.order[trial]]
        last = len(curve.scores)  # a rejected trial ends after its last epoch
        then = min([each for each in self._rungs if epoch < each < last], default=last)
        scored = [each for each in {*scored_epochs(self._rungs), last} if epoch < each <= then]
        seconds = sum(curve.seconds[epoch:then]) + sum(curve.scoring[each - 1] for each in scored)
        return now + seconds, trial, then

    def _judge(self, trial: int, epoch: int) -> Outcome | None:
        """What follows from a stage; None: the trial goes on."""
        curve = self.curves[self.search.order[trial]]
        if epoch == len(curve.scores):
            named = dict(zip(self.objectives, curve.values(epoch, self.objectives), strict=True))
            return Outcome("completed", "", values=named) if curve.completed else Outcome("rejected", "", "diverged")
        rung = self._rungs[epoch]
        seen = [each for each in scored_epochs(self._rungs) if each <= epoch]
        own = Standing("all" if self.rule.pooled else curve.family, rung, curve.best(seen, self.objectives))
        here = self.standings.setdefault((rung, own.family), [])
        pruned = should_prune(
            [standing for _, standing in here],
            own,
            directions=tuple(self.objectives.values()),
            keep=self.rule.keep,
            quota=self.rule.quota,
        )
        here.append((trial, own))
        self.source.stand(trial, own, epoch=epoch, pruned=pruned)
        if pruned:
            self.stopped[trial] = rung
        elif rung == 0:
            self.search.passed.add(curve.point)
        return Outcome("pruned", "") if pruned else None


def load_curves(recording: Recording) -> list[Curve]:
    """The recorded trials, by point."""
    table = pq.read_table(recording.curves)
    curves: dict[int, Curve] = {}
    for row in table.to_pylist():
        curve = curves.setdefault(row["point"], Curve(row["point"], row["family"], [], [], []))
        curve.scores.append({name: row[name] for name in ("psnr", "ssim", "seam")})
        curve.seconds.append(row["seconds"])
        curve.scoring.append(row["scoring"])
    return [curves[point] for point in sorted(curves)]


def orders(curves: Sequence[Curve], count: int) -> Iterator[list[int]]:
    """Orders of all points."""
    for seed in range(count):
        order = list(range(len(curves)))
        random.Random(seed).shuffle(order)
        yield order
