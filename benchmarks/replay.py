"""Searches replayed on recorded learning curves: how soon, and how fairly, pruning and samplers find the best.

The curves are those of `learning_curves.py`: every point of a grid, or points drawn from a space of numbers
(`--curves random`), trained to their end. A replay hands them to workers in one order after the other, stops trials and
lets them go on by the product's own rule (`mrisynth.search.pruning`), and adds up the CPU seconds that training and
scoring took. TPE and NSGA-II suggest points through the product's sampler and study; of drawn points the nearest one
that is left is taken. No time passes but for the sampler's own, which is not counted.

    python benchmarks/replay.py speed          time to one of the best 5 % of the points, and of two objectives to 95 %
                                               of the hypervolume; what has been found at a few moments
    python benchmarks/replay.py found          the last of these alone
    python benchmarks/replay.py fairness       whether the family that would have won is lost at the first rung
    python benchmarks/replay.py rules          what other rungs, fractions and quotas would have done
    python benchmarks/replay.py samplers       TPE, NSGA-II and random search, with our pruning; points suggested twice
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow.parquet as pq
from learning_curves import RECORDINGS, Recording
from recorded_search import EPOCHS, Curve, InOrder, Replay, Rule, Search, Suggested, load_curves, orders

from mrisynth.search import sampler as samplers
from mrisynth.search.pruning import Direction, rung_epochs
from mrisynth.search.settings import SamplerName
from mrisynth.search.space import load_space

ONE: dict[str, Direction] = {"psnr": "maximize"}
TWO: dict[str, Direction] = {"psnr": "maximize", "ssim": "maximize"}
TOP, VOLUME = 0.05, 0.95
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Of the time that all points take: when it is looked at what a search has found."""

NONE = Rule("random, no pruning")
THIRDS = (1 / 27, 3 / 27, 9 / 27)
HALVING = Rule("halving, one pool, rungs at epochs 1, 3, 9", THIRDS, pooled=True)
EARLY = Rule("halving by family, the same rungs", THIRDS)
SHIPPED = load_space("everything").pruner
OURS = Rule("ours", SHIPPED.rungs, SHIPPED.keep, SHIPPED.quota)
"""As the spaces that come with the product have it."""


SEARCHES: tuple[tuple[str, SamplerName, Rule], ...] = (
    ("random suggestions, no pruning", "random", NONE),
    ("TPE, no pruning", "tpe", NONE),
    ("TPE and ours", "tpe", OURS),
    ("random suggestions and ours", "random", OURS),
)


def top_points(curves: Sequence[Curve]) -> set[int]:
    """The best 5 % of the points by their final psnr."""
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


def volume_found(curves: Sequence[Curve]) -> Callable[[Sequence[int]], float]:
    """The share that some points have of the hypervolume of all, beyond the medians of both objectives."""
    finals = {curve.point: curve.values(EPOCHS, TWO) for curve in curves if curve.completed}
    reference = tuple(statistics.median(values) for values in zip(*finals.values(), strict=True))
    whole = hypervolume(list(finals.values()), reference)  # type: ignore[arg-type]
    return lambda points: hypervolume([finals[point] for point in points], reference) / whole  # type: ignore[misc, arg-type]


def psnr_lacking(curves: Sequence[Curve]) -> Callable[[Sequence[int]], float]:
    """What the best of some points lacks of the best of all, in dB; without any it is the worst one that counts."""
    finals = {curve.point: curve.scores[-1]["psnr"] for curve in curves if curve.completed}
    best, worst = max(finals.values()), min(finals.values())
    return lambda points: best - max((finals[point] for point in points), default=worst)


def reached_volume(curves: Sequence[Curve]) -> Callable[[Search], bool]:
    """Whether a search has 95 % of the hypervolume of all points."""
    found = volume_found(curves)
    return lambda search: found(search.completed) >= VOLUME


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


def compare_speed(recording: Recording, curves: Sequence[Curve], orders_of_one: int, seeds_of_one: int) -> None:
    """Time to the goal: random, halving, ours; one objective and two, of fewer orders; one worker and eight."""
    best = f"one of the best {len(top_points(curves))} of {len(curves)}"
    volume = f"{VOLUME:.0%} of the hypervolume of psnr and ssim"
    for objectives, goal, what, count, few in (
        (ONE, reached_top(curves), best, orders_of_one, seeds_of_one),
        (TWO, reached_volume(curves), volume, max(1, orders_of_one // 5), seeds_of_one // 2),
    ):
        for workers in (1, 8):
            header(f"Time to {what}, {workers} worker{'s' * (workers > 1)}, {count} orders ({few} by samplers)")
            how = {"objectives": objectives, "workers": workers, "done": goal}
            baseline = times(curves, map(InOrder, orders(curves, count)), NONE, **how)
            show(NONE.name, baseline, baseline)
            for rule in (HALVING, EARLY, OURS):
                show(rule.name, times(curves, map(InOrder, orders(curves, count)), rule, **how), baseline)
            if workers == 1 and few:
                for name, sampler, rule in SEARCHES:
                    sources = _suggested(recording, sampler, objectives, few)
                    show(name, times(curves, sources, rule, **how), baseline)


def compare_found(recording: Recording, curves: Sequence[Curve], orders_of_one: int, seeds_of_one: int) -> None:
    """What has been found at a few moments, by one worker: of one objective and of two."""
    whole = sum(sum(curve.seconds) + curve.scoring[-1] for curve in curves)
    moments = [share * whole for share in SHARES]
    for objectives, value, what, count, few in (
        (ONE, psnr_lacking(curves), "What the best trial found lacks, psnr in dB", orders_of_one, seeds_of_one),
        (TWO, volume_found(curves), "Share of the hypervolume found", max(1, orders_of_one // 5), seeds_of_one // 2),
    ):
        print(f"\n{what}, one worker: mean of {count} orders ({few} by samplers)\n")
        print("| search | " + " | ".join(f"{moment:.0f} s" for moment in moments) + " |")
        print("| --- " * (len(moments) + 1) + "|")
        cases = [(rule.name, partial(_in_orders, curves, count), rule) for rule in (NONE, HALVING, EARLY, OURS)]
        if few:
            cases += [
                (name, partial(_suggested, recording, sampler, objectives, few), rule)
                for name, sampler, rule in SEARCHES
            ]
        for name, sources, rule in cases:
            found = [_found(Replay(curves, source, rule, objectives), value, moments) for source in sources()]
            means = (statistics.fmean(column) for column in zip(*found, strict=True))
            print(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |", flush=True)


def _found(replay: Replay, value: Callable[[Sequence[int]], float], moments: Sequence[float]) -> list[float]:
    """What the points that a search has completed until each moment are worth."""
    steps = [(0.0, value([]))]

    def note(search: Search) -> bool:
        steps.append((search.seconds, value(search.completed)))
        return search.seconds > moments[-1]

    replay.done = note
    replay.run()
    return [next(worth for seconds, worth in reversed(steps) if seconds <= moment) for moment in moments]


def _in_orders(curves: Sequence[Curve], count: int) -> Iterator[Any]:
    return map(InOrder, orders(curves, count))


def _suggested(
    recording: Recording, sampler: SamplerName, objectives: dict[str, Direction], count: int
) -> Iterator[Suggested]:
    return (Suggested(recording, sampler, seed, objectives) for seed in range(count))


def compare_rules(curves: Sequence[Curve], count: int, trials: int) -> None:
    """Other rungs, fractions kept and quotas, by one worker: what they lose, and what they cost."""
    rules = [
        Rule(f"keep {keep}, quota {quota}", tuple(rung / EPOCHS for rung in rungs), keep, quota)
        for rungs in ((1, 3, 9), (1, 3), (2, 5), (3, 9), (3,), (5,), (9,))
        for keep in (0.25, 0.4, 0.5)
        for quota in (0, 2)
    ]
    _show_losses(curves, rules, count, trials, 1)


def compare_fairness(curves: Sequence[Curve], count: int, trials: int) -> None:
    """Whether the trial that would have won, or its family, is lost at the first rung, and what keeping it costs."""
    rules = [
        NONE,
        *(
            Rule(f"{name}, keep {keep:.2g}, quota {quota}", rungs, keep, quota, pooled=name == "one pool")
            for rungs, keep in ((THIRDS, 1 / 3), (OURS.rungs, OURS.keep))
            for name, quota in (("one pool", 0), *(("by family", quota) for quota in (0, 2, 4)))
        ),
    ]
    for workers in (1, 8):
        _show_losses(curves, rules, count, trials, workers)


def _show_losses(curves: Sequence[Curve], rules: Sequence[Rule], count: int, trials: int, workers: int) -> None:
    print(f"\nThe first {trials} trials of {count} orders, {workers} worker{'s' * (workers > 1)}\n")
    print(
        "| rule | rungs at epoch | its family lost | the winner lost | at any rung | any family lost | regret, dB | s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for rule in rules:
        print(_losses(curves, rule, count, trials, workers), flush=True)


def _losses(curves: Sequence[Curve], rule: Rule, count: int, trials: int, workers: int) -> str:
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
    rungs = ", ".join(map(str, rung_epochs(rule.rungs, EPOCHS)))
    return f"| {rule.name} | {rungs} | {shares} | {statistics.fmean(regrets):.3f} | {statistics.fmean(seconds):.0f} |"


def compare_samplers(recording: Recording, curves: Sequence[Curve], count: int) -> None:
    """Samplers under our pruning, one worker; and how many of their first 60 points they had suggested before."""
    header(f"Samplers: time to the top {TOP:.0%}, one worker, {count} seeds")
    how = {"objectives": ONE, "workers": 1, "done": reached_top(curves)}
    baseline = times(curves, map(InOrder, orders(curves, 1000)), NONE, **how)
    show(NONE.name, baseline, baseline)
    show("random, once each", times(curves, map(InOrder, orders(curves, 1000)), OURS, **how), baseline)
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
            source = Suggested(recording, sampler, seed, ONE)
            search = Replay(curves, source, OURS, **how).run()
            repeated.append(1 - len(set(search.order[:60])) / len(search.order[:60]))
            found.append(search.seconds if search.arrived else math.inf)
        show(f"{name} ({statistics.fmean(repeated):.0%} repeated)", found, baseline)


def describe(recording: Recording, curves: Sequence[Curve]) -> None:
    """What was recorded."""
    lineage = json.loads(pq.read_schema(recording.curves).metadata[b"lineage"])
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
    parser.add_argument("what", choices=["speed", "found", "fairness", "rules", "samplers"])
    parser.add_argument("--curves", choices=list(RECORDINGS), default="grid")
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=100, help="searches by a sampler")
    parser.add_argument("--trials", type=int, default=40, help="of each search, for fairness")
    options: Any = parser.parse_args()
    recording = RECORDINGS[options.curves]
    curves = load_curves(recording)
    describe(recording, curves)
    if options.what == "speed":
        compare_speed(recording, curves, options.orders, options.seeds)
    if options.what in {"speed", "found"}:
        compare_found(recording, curves, options.orders, options.seeds)
    elif options.what == "fairness":
        compare_fairness(curves, options.orders, options.trials)
    elif options.what == "rules":
        compare_rules(curves, options.orders, options.trials)
    else:
        compare_samplers(recording, curves, options.seeds)


if __name__ == "__main__":
    main()
