"""Searches replayed on recorded learning curves: how soon, and how fairly, pruning and samplers find the best.

The curves are those of `learning_curves.py`: every point of a grid, trained to its end. A replay hands them to workers
in one order after the other, ends trials by the product's own rule (`mrisynth.search.pruning`), and adds up the CPU
seconds that training and scoring took. TPE and NSGA-II suggest points of the same grid through the product's sampler
and study. No time passes but for the sampler's own, which is not counted.

    python benchmarks/replay.py speed          time to the top 5 % of the grid; then, of two objectives, to 95 % of its
                                               hypervolume
    python benchmarks/replay.py fairness       whether the family that would have won is lost at the first rung
    python benchmarks/replay.py rules          what other rungs, fractions and quotas would have done
    python benchmarks/replay.py samplers       TPE, NSGA-II and random search, with our pruning; points suggested twice
"""

import argparse
import json
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq

from mrisynth.search import sampler as samplers
from mrisynth.search.domains import encode
from mrisynth.search.grid import grid_points
from mrisynth.search.outcome import Outcome
from mrisynth.search.pruning import Direction, Standing, rung_epochs, should_prune
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.settings import SamplerName
from mrisynth.search.space import load_space
from mrisynth.search.study import record_rung, tell

HERE = Path(__file__).parent
CURVES, SPACE = HERE / "learning_curves.parquet", HERE / "learning_curves.yaml"
ONE: dict[str, Direction] = {"psnr": "maximize"}
TWO: dict[str, Direction] = {"psnr": "maximize", "ssim": "maximize"}
TOP, VOLUME = 0.05, 0.95
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


@dataclass(frozen=True, slots=True)
class Rule:
    """How trials are stopped; `pooled` compares all families with one another."""

    name: str
    rungs: tuple[float, ...] = ()
    keep: float = 1 / 3
    quota: int = 0
    pooled: bool = False


NONE = Rule("random, no pruning")
HALVING = Rule("halving, one pool", (1 / 27, 3 / 27, 9 / 27), pooled=True)
OURS = Rule("ours", (1 / 27, 3 / 27, 9 / 27), quota=2)


@dataclass(slots=True)
class Search:
    """What happened in one replayed search: points by trial, those past the first rung, and those completed."""

    order: list[int] = field(default_factory=list)
    passed: set[int] = field(default_factory=set)
    completed: list[int] = field(default_factory=list)
    seconds: float = 0.0
    arrived: bool = False


class InOrder:
    """Hands the grid's points out in one order."""

    def __init__(self, order: Sequence[int]) -> None:
        self._left = iter(order)

    def ask(self) -> int | None:
        return next(self._left, None)

    def stand(self, trial: int, standing: Standing, *, epoch: int, pruned: bool) -> None:
        """It does not learn."""

    def end(self, trial: int, outcome: Outcome) -> None:
        """It does not learn."""


class Suggested:
    """Points that a sampler suggests, told what became of them as the product tells it."""

    def __init__(self, name: SamplerName, seed: int, objectives: dict[str, Direction], most: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = load_space(SPACE)
        points = grid_points(self._space.parameters)
        self._points = {frozenset((path, encode(v)) for path, v in p.items()): at for at, p in enumerate(points)}
        directions = list(objectives.values())
        self.study = optuna.create_study(sampler=SeededSampler(name, seed), directions=directions)
        self.study.set_user_attr("objectives", dict(objectives))
        self._left = most

    def ask(self) -> int | None:
        self._left -= 1
        if self._left < 0:
            return None
        trial = self.study.ask()
        self._space.parameters.suggest(trial)
        return self._points[frozenset(trial.params.items())]

    def stand(self, trial: int, standing: Standing, *, epoch: int, pruned: bool) -> None:
        record_rung(self.study, trial, standing, epoch=epoch, pruned=pruned)

    def end(self, trial: int, outcome: Outcome) -> None:
        tell(self.study, trial, outcome)


@dataclass(slots=True)
class Replay:
    """One search, until the source has nothing left or `done`.

    Trials end in the order in which they would with so many workers, each of which takes the next one when it is free.
    """

    curves: Sequence[Curve]
    source: InOrder | Suggested
    rule: Rule
    objectives: dict[str, Direction]
    workers: int = 1
    done: Callable[[Search], bool] = lambda _: False
    search: Search = field(default_factory=Search)
    standings: list[Standing] = field(default_factory=list)

    def run(self) -> Search:
        events, free, now = list[tuple[float, int, int]](), self.workers, 0.0
        while True:
            while free and (point := self.source.ask()) is not None:
                trial = len(self.search.order)
                self.search.order.append(point)
                heappush(events, (now + lasts(self.curves[point], 0, self._stages(point)[0]), trial, 0))
                free -= 1
            if not events:
                return self.search
            now, trial, stage = heappop(events)
            self.search.seconds = now
            point = self.search.order[trial]
            stages = self._stages(point)
            outcome = self._judge(trial, stages[stage])
            if outcome is None:
                after, until = stages[stage], stages[stage + 1]
                heappush(events, (now + lasts(self.curves[point], after, until), trial, stage + 1))
                continue
            free += 1
            self.source.end(trial, outcome)
            if outcome.kind == "completed":
                self.search.completed.append(point)
                if self.done(self.search):
                    self.search.arrived = True
                    return self.search

    def _stages(self, point: int) -> list[int]:
        """The epochs at which something is decided; a rejected trial ends after its last one."""
        last = len(self.curves[point].scores)
        return [*(epoch for epoch in rung_epochs(self.rule.rungs, EPOCHS) if epoch < last), last]

    def _judge(self, trial: int, epoch: int) -> Outcome | None:
        """What follows from a stage; None: the trial goes on."""
        curve = self.curves[self.search.order[trial]]
        values = curve.values(epoch, self.objectives)
        if epoch == len(curve.scores):
            named = dict(zip(self.objectives, values, strict=True))
            return Outcome("completed", "", values=named) if curve.completed else Outcome("rejected", "", "diverged")
        rung = rung_epochs(self.rule.rungs, EPOCHS)[epoch]
        own = Standing("all" if self.rule.pooled else curve.family, rung, values)
        pruned = should_prune(
            self.standings,
            own,
            directions=tuple(self.objectives.values()),
            keep=self.rule.keep,
            quota=self.rule.quota,
        )
        self.standings.append(own)
        self.source.stand(trial, own, epoch=epoch, pruned=pruned)
        if not pruned and rung == 0:
            self.search.passed.add(curve.point)
        return Outcome("pruned", "") if pruned else None


def lasts(curve: Curve, after: int, until: int) -> float:
    """From one stage to the next: training, and scoring at its end."""
    return sum(curve.seconds[after:until]) + curve.scoring[until - 1]


def load_curves() -> list[Curve]:
    """The recorded trials, by point."""
    table = pq.read_table(CURVES)
    curves: dict[int, Curve] = {}
    for row in table.to_pylist():
        curve = curves.setdefault(row["point"], Curve(row["point"], row["family"], [], [], []))
        curve.scores.append({name: row[name] for name in ("psnr", "ssim", "seam")})
        curve.seconds.append(row["seconds"])
        curve.scoring.append(row["scoring"])
    return [curves[point] for point in sorted(curves)]


def orders(curves: Sequence[Curve], count: int) -> Iterator[list[int]]:
    """Orders of the whole grid."""
    for seed in range(count):
        order = list(range(len(curves)))
        random.Random(seed).shuffle(order)
        yield order


def top_points(curves: Sequence[Curve]) -> set[int]:
    """The best 5 % of the grid by their final psnr."""
    finals = sorted((-curve.scores[-1]["psnr"], curve.point) for curve in curves if curve.completed)
    return {point for _, point in finals[: max(1, math.floor(TOP * len(curves)))]}


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """The area that points dominate of what lies beyond a reference; more is better in both objectives."""
    volume, reached = 0.0, reference[1]
    for one, other in sorted(points, reverse=True):
        if one > reference[0] and other > reached:
            volume += (one - reference[0]) * (other - reached)
            reached = other
    return volume


def reached_top(curves: Sequence[Curve]) -> Callable[[Search], bool]:
    """Whether a search has completed one of the top 5 %."""
    top = top_points(curves)
    return lambda search: search.completed[-1] in top


def reached_volume(curves: Sequence[Curve]) -> Callable[[Search], bool]:
    """Whether a search has 95 % of the grid's hypervolume beyond the medians of both objectives."""
    finals = {curve.point: curve.values(EPOCHS, TWO) for curve in curves if curve.completed}
    reference = tuple(statistics.median(values) for values in zip(*finals.values(), strict=True))
    whole = hypervolume(list(finals.values()), reference)  # type: ignore[arg-type]

    def reached(search: Search) -> bool:
        found = [finals[point] for point in search.completed]
        return hypervolume(found, reference) >= VOLUME * whole  # type: ignore[arg-type]

    return reached


def times(curves: Sequence[Curve], sources: Iterator[Any], rule: Rule, **how: Any) -> list[float]:
    """Seconds to the goal in each search; infinite where it was never reached."""
    searches = (Replay(curves, source, rule, **how).run() for source in sources)
    return [search.seconds if search.arrived else math.inf for search in searches]


def show(name: str, seconds: list[float], baseline: list[float]) -> None:
    """One row: quartiles, how often it never arrived, and how many times sooner than the baseline."""
    low, median, high = quartiles(seconds)
    missed = sum(map(math.isinf, seconds)) / len(seconds)
    ratio = quartiles(baseline)[1] / median
    print(f"| {name} | {low:.0f} | {median:.0f} | {high:.0f} | {missed:.1%} | x{ratio:.1f} |", flush=True)


def quartiles(seconds: list[float]) -> list[float]:
    """The values a quarter, half and three quarters of the way; some may be infinite, so that none is interpolated."""
    return [sorted(seconds)[len(seconds) * part // 4] for part in (1, 2, 3)]


def header(title: str) -> None:
    print(f"\n{title}\n\n| search | lower quartile, s | median | upper quartile | never | sooner |")
    print("| --- | --- | --- | --- | --- | --- |")


def compare_speed(curves: Sequence[Curve], count: int, few: int) -> None:
    """Time to the goal: random, halving, ours; one objective and two; one worker and eight."""
    for objectives, goal, what in (
        (ONE, reached_top(curves), f"one of the best {len(top_points(curves))} of {len(curves)}"),
        (TWO, reached_volume(curves), f"{VOLUME:.0%} of the hypervolume of psnr and ssim"),
    ):
        for workers in (1, 8):
            header(f"Time to {what}, {workers} worker{'s' * (workers > 1)}, {count} orders ({few} of TPE)")
            how = {"objectives": objectives, "workers": workers, "done": goal}
            baseline = times(curves, map(InOrder, orders(curves, count)), NONE, **how)
            show(NONE.name, baseline, baseline)
            for rule in (HALVING, OURS):
                show(rule.name, times(curves, map(InOrder, orders(curves, count)), rule, **how), baseline)
            suggested = (Suggested("tpe", seed, objectives, 2 * len(curves)) for seed in range(few))
            show("TPE and ours", times(curves, suggested, OURS, **how), baseline)


def compare_rules(curves: Sequence[Curve], count: int) -> None:
    """Other rungs, fractions kept and quotas, by one worker and eight."""
    for workers in (1, 8):
        header(f"Rules: time to the top {TOP:.0%}, {workers} worker{'s' * (workers > 1)}, {count} orders")
        how = {"objectives": ONE, "workers": workers, "done": reached_top(curves)}
        baseline = times(curves, map(InOrder, orders(curves, count)), NONE, **how)
        for rungs in ((1, 3, 9), (1, 9), (3, 9), (2, 6), (1,), (3,), (9,)):
            for keep in (0.2, 0.33, 0.5):
                for quota in (0, 2, 4):
                    name = f"epochs {rungs}, keep {keep}, quota {quota}"
                    rule = Rule(name, tuple(rung / EPOCHS for rung in rungs), keep, quota)
                    show(rule.name, times(curves, map(InOrder, orders(curves, count)), rule, **how), baseline)


def compare_fairness(curves: Sequence[Curve], count: int, trials: int) -> None:
    """Whether the trial that would have won, or its family, is lost at the first rung, and what keeping it costs."""
    rules = [
        Rule("halving, one pool", HALVING.rungs, HALVING.keep, 0, pooled=True),
        *(Rule(f"by family, quota {quota}", OURS.rungs, OURS.keep, quota) for quota in (0, 1, 2, 4, 6)),
    ]
    for workers in (1, 8):
        print(f"\nThe first {trials} trials of {count} orders, {workers} worker{'s' * (workers > 1)}\n")
        print("| rule | its family lost | the winner lost | at any rung | any family lost | regret, dB | s |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for rule in (NONE, *rules):
            print(_fairness(curves, rule, count, trials, workers), flush=True)


def _fairness(curves: Sequence[Curve], rule: Rule, count: int, trials: int, workers: int) -> str:
    family = winner = whole = some = 0
    regrets, seconds = [], []
    for order in orders(curves, count):
        drawn = order[:trials]
        best = max((p for p in drawn if curves[p].completed), key=lambda p: curves[p].scores[-1]["psnr"])
        search = Replay(curves, InOrder(drawn), rule, ONE, workers).run()
        passed = search.passed if rule.rungs else set(drawn)
        alive = {curves[point].family for point in passed}
        family += curves[best].family not in alive
        winner += best not in passed
        whole += best not in search.completed
        some += alive != {curves[point].family for point in drawn}
        found = max((curves[point].scores[-1]["psnr"] for point in search.completed), default=0.0)
        regrets.append(curves[best].scores[-1]["psnr"] - found)
        seconds.append(search.seconds)
    shares = " | ".join(f"{lost / count:.1%}" for lost in (family, winner, whole, some))
    return f"| {rule.name} | {shares} | {statistics.fmean(regrets):.3f} | {statistics.fmean(seconds):.0f} |"


def compare_samplers(curves: Sequence[Curve], count: int) -> None:
    """Samplers under our pruning, one worker; and how many of their first 60 points they had suggested before."""
    header(f"Samplers: time to the top {TOP:.0%}, one worker, {count} seeds")
    how = {"objectives": ONE, "workers": 1, "done": reached_top(curves)}
    baseline = times(curves, map(InOrder, orders(curves, 10 * count)), NONE, **how)
    show(NONE.name, baseline, baseline)
    redraws = samplers.REDRAWS, samplers.RANDOM_REDRAWS
    cases: list[tuple[str, SamplerName, tuple[int, int]]] = [
        ("TPE", "tpe", redraws),
        ("TPE as it is, repeating itself", "tpe", (0, 0)),
        ("NSGA-II", "nsga2", redraws),
        ("random, with replacement", "random", redraws),
    ]
    for name, sampler, (samplers.REDRAWS, samplers.RANDOM_REDRAWS) in cases:
        repeated, found = [], []
        for seed in range(count):
            source = Suggested(sampler, seed, ONE, 2 * len(curves))
            search = Replay(curves, source, OURS, **how).run()
            repeated.append(1 - len(set(search.order[:60])) / len(search.order[:60]))
            found.append(search.seconds if search.arrived else math.inf)
        show(f"{name} ({statistics.fmean(repeated):.0%} repeated)", found, baseline)


def describe(curves: Sequence[Curve]) -> None:
    """What the grid is."""
    lineage = json.loads(pq.read_schema(CURVES).metadata[b"lineage"])
    spent = sum(sum(curve.seconds) for curve in curves)
    print(f"{len(curves)} configurations, {spent:.0f} CPU-s of training, data {lineage['data_key']}")
    for family in ("forest", "cnn", "gan"):
        finals = sorted(c.scores[-1]["psnr"] for c in curves if c.family == family and c.completed)
        cost = statistics.fmean(sum(c.seconds) for c in curves if c.family == family)
        rejected = sum(c.family == family and not c.completed for c in curves)
        print(
            f"{family}: {len(finals)} completed, {rejected} rejected; psnr {finals[0]:.2f} to {finals[-1]:.2f}, median "
            f"{statistics.median(finals):.2f} dB; {cost:.1f} s each"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "fairness", "rules", "samplers"])
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=50, help="searches by a sampler")
    parser.add_argument("--trials", type=int, default=40, help="of each search, for fairness")
    options: Any = parser.parse_args()
    curves = load_curves()
    describe(curves)
    if options.what == "speed":
        compare_speed(curves, options.orders, options.seeds)
    elif options.what == "fairness":
        compare_fairness(curves, options.orders, options.trials)
    elif options.what == "rules":
        compare_rules(curves, options.orders)
    else:
        compare_samplers(curves, options.seeds)


if __name__ == "__main__":
    main()
