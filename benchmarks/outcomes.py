"""Do rejected trials teach? A space of which half diverges, searched with the outcome told in several ways.

    python benchmarks/outcomes.py [--seeds 15] [--trials 60]

x, y in [0, 1]; whatever has x > 0.5 diverges, and the best of what does not lies at its border. Each trial goes through
the study as in a sweep: without rungs; or on a rung, after which the worse half of the healthy ones is pruned, while
those that diverge pass it and diverge before the next. For each way of telling, over the seeds: the share of diverging
suggestions among trials 20 to 59 (chance: 50 %), and the best value that was found (at best 0). Medians, and the least
and the largest.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import optuna
from optuna.trial import TrialState

from mrisynth.search.outcome import Outcome
from mrisynth.search.pruning import Standing
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.study import open_study, record_rung, standings, take_trial, tell

FIRST = 20
OBJECTIVES = {1: {"psnr": "maximize"}, 2: {"psnr": "maximize", "ssim": "maximize"}}


def tell_as_we_do(study: optuna.Study, number: int) -> None:
    tell(study, number, Outcome("rejected", "a loss became NaN", "diverged"))


def tell_pruned(study: optuna.Study, number: int) -> None:
    study.tell(number, state=TrialState.PRUNED)


def tell_failed(study: optuna.Study, number: int) -> None:
    study.tell(number, state=TrialState.FAIL)


WAYS: dict[str, Callable[[optuna.Study, int], None]] = {
    "pruned and infeasible (ours)": tell_as_we_do,
    "pruned": tell_pruned,
    "failed": tell_failed,
}


def end(study: optuna.Study, number: int, values: dict[str, float], *, diverges: bool, way: str, rungs: bool) -> None:
    """End a trial, where there are rungs after it has reached the first."""
    if rungs:
        others = [standing.values[0] for standing in standings(study, 0, but=number)]
        pruned = not diverges and len(others) > 3 and values["psnr"] < statistics.median(others)
        record_rung(study, number, Standing("cnn", 0, (values["psnr"],)), epoch=1, pruned=pruned)
        if pruned:
            tell(study, number, Outcome("pruned", ""))
            return
        record_rung(study, number, Standing("cnn", 1, (values["psnr"],)), epoch=3, pruned=False)
    if diverges:
        WAYS[way](study, number)
    else:
        tell(study, number, Outcome("completed", "", values=values))


def search(
    folder: Path, way: str, *, seed: int, trials: int, objectives: dict[str, str], rungs: bool
) -> tuple[float, float]:
    """The share of diverging suggestions, and the best value of the first objective."""
    study = open_study(folder / "journal.log", objectives=objectives, sampler=SeededSampler("tpe", seed))  # type: ignore[arg-type]
    diverged = []
    for _ in range(trials):
        trial = take_trial(study, study.ask().number)
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        diverged.append(x > 0.5)
        values = {"psnr": -((x - 0.5) ** 2) - (y - 0.3) ** 2, "ssim": -((x - 0.4) ** 2) - (y - 0.6) ** 2}
        end(study, trial.number, values, diverges=diverged[-1], way=way, rungs=rungs)
    values = [stored.values[0] for stored in study.trials if stored.state == TrialState.COMPLETE]
    return statistics.mean(diverged[FIRST:]), max(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--trials", type=int, default=60)
    arguments = parser.parse_args()
    print(f"{'objectives':>10} {'rungs':>6}  {'told':30}{'diverging, %':>18}{'best value':>34}")
    for (count, objectives), rungs, way in product(OBJECTIVES.items(), (False, True), WAYS):
        found = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
                how = {"trials": arguments.trials, "objectives": objectives, "rungs": rungs}
                found.append(search(Path(folder), way, seed=seed, **how))
        shares, bests = zip(*found, strict=True)
        share = f"{100 * statistics.median(shares):.0f} ({100 * min(shares):.0f} to {100 * max(shares):.0f})"
        best = f"{statistics.median(bests):.5f} ({min(bests):.4f} to {max(bests):.4f})"
        print(f"{count:>10} {'yes' if rungs else 'no':>6}  {way:30}{share:>18}{best:>34}", flush=True)


if __name__ == "__main__":
    main()
