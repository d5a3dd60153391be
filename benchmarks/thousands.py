"""A sweep of 5,000 trials: what its index and its driver cost, and how long `status` and `top` take.

The trials are those of the shipped space `gan`, drawn at random, pruned on its rungs and conducted by the product's own
conductor; only their training is left out: up to 30 epochs of curves, eight scores of four subjects and the note of an
attempt are written as a trial writes them. Each line is a process of its own, or part of one; seconds are wall time
(and CPU time).

    python benchmarks/thousands.py [--trials 5000] [--folder FOLDER]       (ten minutes; FOLDER is kept, and used again)
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from mrisynth.files import write_json
from mrisynth.results.index import Indexer, write_index
from mrisynth.results.store import SweepDirectory, TrialDirectory, timestamp, write_heartbeat, write_yaml

EPOCHS, ROUNDS = 30, 5
SUBJECTS = ("rat-1", "rat-2", "rat-3", "rat-4")
LOSSES = ("adversarial", "l1", "l2", "gradient", "total", "discriminator")
METRICS = ("psnr", "psnr_whole", "ssim", "mse", "mae", "seam", "hallucination", "psnr_255")


def open_conductor(sweep: SweepDirectory, *, trials: int, sampler: str) -> Any:
    """What a driver works with, reconciled."""
    from mrisynth.search.conductor import Conductor
    from mrisynth.search.driver import plan_of
    from mrisynth.search.reconcile import reconcile
    from mrisynth.search.sampler import SeededSampler
    from mrisynth.search.space import load_space, with_overrides
    from mrisynth.search.study import open_study

    space = with_overrides(load_space("gan"), {"budget.trials": trials})
    study = open_study(sweep.journal, objectives=space.objectives, sampler=SeededSampler(sampler, 0))  # type: ignore[arg-type]
    conductor = Conductor(sweep, study, plan_of(space, sweep.root, seed=0))
    reconcile(conductor)
    return conductor


def make(folder: Path, trials: int) -> None:
    """Conduct that many trials; in memory, and moved to the disk when all is done."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as fast:
        sweep = SweepDirectory(Path(fast) / "sweep")
        asked = {"schema_version": 1, "name": "sweep", "objectives": {"psnr": "maximize"}, "budget": {"trials": trials}}
        write_yaml(sweep.sweep_yaml, asked)
        conductor = open_conductor(sweep, trials=trials, sampler="random")
        began, chance = time.perf_counter(), random.Random(0)
        for done in range(1, trials + 1):
            conduct(conductor.next_trial(), conductor.hear, chance)
            if done % 1000 == 0:
                pace = time.perf_counter() - began
                print(f"{done} trials made, {pace:.1f} ms each of the last thousand, in memory, by the random sampler")
                began = time.perf_counter()
        write_heartbeat(sweep, state="stopped")
        shutil.copytree(sweep.root, folder)


def conduct(assignment: Any, hear: Callable[..., bool], chance: random.Random) -> None:
    """One trial: what it leaves on disk, and what is heard of it."""
    directory = TrialDirectory(Path(assignment.directory))
    note = {"token": "a", "host": "node", "pid": 1, "started": timestamp(), "from_epoch": 0}
    write_json(directory.attempts / "a.json", note)
    quality, epochs = chance.gauss(25, 2), list[dict[str, Any]]()
    for epoch in (*assignment.rungs, EPOCHS):
        epochs += [record(each, chance) for each in range(len(epochs) + 1, epoch + 1)]
        epochs[-1]["scores"] = dict.fromkeys(METRICS, quality - 1 / epoch)
        directory.history.write_text("".join(f"{json.dumps(each)}\n" for each in epochs), encoding="utf-8")
        summarize(directory, epochs)
        if hear(assignment.number, epochs[-1]):
            return


def record(epoch: int, chance: random.Random) -> dict[str, Any]:
    losses = {name: chance.random() for name in LOSSES}
    constant = {"warnings": [], "exact": True, "seconds": 2.0, "pid": 1, "host": "node", "attempt": "a", "scores": None}
    parts = {"train": losses, "validation": {"l1": chance.random()}, "train_eval": {"l1": chance.random()}}
    return {"epoch": epoch, "epochs": EPOCHS, "final": epoch == EPOCHS, **parts, **constant}


def summarize(directory: TrialDirectory, epochs: list[dict[str, Any]]) -> None:
    values = epochs[-1]["scores"]
    summary = {"schema_version": 1, "final": epochs[-1]["final"], "epochs": len(epochs), "epochs_planned": EPOCHS}
    subjects = dict.fromkeys(SUBJECTS, values)
    sizes = {"generator_parameters": 10**5, "adversary_parameters": 10**4, "seconds": 2.0 * len(epochs)}
    write_json(directory.summary, {**summary, "values": values, "subjects": subjects, "family": "gan", **sizes})


def measure_first_index(sweep: SweepDirectory, trials: int) -> None:
    shutil.rmtree(sweep.index, ignore_errors=True)
    indexer = Indexer(sweep)
    index = timed("the first index: every folder read", indexer.build)
    timed("the index written", lambda: write_index(sweep, index))
    for number in range(5):
        sweep.trial(number).summary.touch()
    timed("another index, five trials changed", indexer.build)
    show("memory with it", f"{rss():.0f} MB")


def measure_next_index(sweep: SweepDirectory, trials: int) -> None:
    indexer = timed("a new driver: what stands taken over", lambda: Indexer(sweep))
    index = timed("its first index", indexer.build)
    show("rows", f"{index.trials.num_rows} trials, {index.history.num_rows} numbers of epochs")


def measure_driver(made: SweepDirectory, trials: int) -> None:
    import mrisynth.search.driver
    import mrisynth.search.searcher  # noqa: F401 - what a driver imports

    with tempfile.TemporaryDirectory(dir=made.root.parent) as folder:
        sweep, before = link(made, Path(folder)), rss()
        conductor = timed("study opened, reconciled", lambda: open_conductor(sweep, trials=trials + 100, sampler="tpe"))
        show("memory, with all imports; without the study", f"{rss():.0f} MB; {before:.0f} MB")
        watch, chance = SamplerWatch(conductor.study.sampler), random.Random(1)
        asks, samples, hears = list[float](), list[float](), list[float]()
        for _ in range(20):
            watch.seconds = 0.0
            assignment = clocked(conductor.next_trial, asks)
            samples.append(watch.seconds)
            conduct(assignment, lambda *heard: clocked(lambda: conductor.hear(*heard), hears), chance)  # type: ignore[arg-type,return-value]
    ours = statistics.median(ask - sample for ask, sample in zip(asks, samples, strict=True))
    show("the next trial: TPE; ours", f"{1000 * statistics.median(samples):.0f} ms; {1000 * ours:.0f} ms")
    show("an epoch heard, on a rung or the last", f"{1000 * statistics.median(hears):.0f} ms")


def link(made: SweepDirectory, folder: Path) -> SweepDirectory:
    """The same sweep, to which trials may be added: with a study of its own, and links to the trials."""
    sweep = SweepDirectory(folder)
    sweep.trials.mkdir()
    for directory in made.trial_directories():
        sweep.trial(directory.number).root.symlink_to(directory.root.resolve())
    shutil.copytree(made.study, sweep.study)
    return sweep


def measure_commands(sweep: SweepDirectory, trials: int) -> None:
    for command in (["--help"], ["status", str(sweep.root)], ["top", str(sweep.root)]):
        words, walls = [sys.executable, "-m", "mrisynth", *command], list[float]()
        before = os.times()
        for _ in range(ROUNDS):
            clocked(partial(subprocess.run, words, check=True, capture_output=True), walls)
        after = os.times()
        spent = after.children_user - before.children_user + after.children_system - before.children_system
        show(f"mrisynth {command[0]}, median of {ROUNDS}", f"{statistics.median(walls):.2f} s ({spent / ROUNDS:.2f})")


class SamplerWatch:
    """Adds up the time that a sampler takes."""

    def __init__(self, sampler: Any) -> None:
        self.seconds = 0.0
        for name in ("infer_relative_search_space", "sample_relative", "sample_independent"):
            setattr(sampler, name, partial(self._watch, getattr(sampler, name)))

    def _watch(self, method: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*arguments)
        finally:
            self.seconds += time.perf_counter() - began


def timed(what: str, call: Callable[[], Any]) -> Any:
    """Call it, and print how long it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = call()
    show(what, f"{time.perf_counter() - wall:.2f} s ({time.process_time() - cpu:.2f})")
    return answer


def clocked(call: Callable[[], Any], took: list[float]) -> Any:
    """Call it, and note how long it took."""
    began = time.perf_counter()
    answer = call()
    took.append(time.perf_counter() - began)
    return answer


def rss() -> float:
    """This process's memory, in MB."""
    return float(psutil.Process().memory_info().rss) / 1e6


def show(what: str, figure: str) -> None:
    print(f"{what:48} {figure}", flush=True)


MEASURES = {
    "first-index": measure_first_index,
    "next-index": measure_next_index,
    "commands": measure_commands,
    "driver": measure_driver,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--only", choices=MEASURES, help="one measure, in this process")
    arguments = parser.parse_args()
    folder = arguments.folder / f"sweep-{arguments.trials}"
    if not folder.exists():
        make(folder, arguments.trials)
    if arguments.only:
        MEASURES[arguments.only](SweepDirectory(folder), arguments.trials)
        return
    print(f"load average {os.getloadavg()[0]:.1f}")
    for name in MEASURES:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", name], check=True)


if __name__ == "__main__":
    main()
