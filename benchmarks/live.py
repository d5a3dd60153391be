"""A live comparison: minutes of random search without pruning beside as many of ours, on real trials.

Both search the space `everything` over the same prepared cohort, from the same seeds, by the command that people use,
with the same number of trials at a time; one after the other, or so many at a time as `--jobs` says where there are
cores for it. Told is the best psnr of a completed trial over the time since the first trial was suggested.

    python benchmarks/live.py --store STORE --out benchmarks/out/live [--minutes 6] [--seeds 3] [--jobs 1]

makes live.json there, the table that it prints, and live.png.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from mrisynth.results.store import SweepDirectory, read_events
from mrisynth.search.outcome import read_outcome

SMALL = (
    "epochs=20",
    "patches.per_subject=60",
    "patches.size=32",
    "resources.gpu=0",
    "search.fcn.width={int: [4, 24], log: true}",
    "search.dcsrn.units={int: [1, 3]}",
    "search.dcsrn.growth={int: [4, 16], log: true}",
    "search.dcgan.depth={int: [3, 5]}",
    "search.dcgan.width={int: [4, 16], log: true}",
    "search.unet.levels=[3, 4]",
    "search.unet.filters={int: [4, 12], log: true}",
)
"""What makes a trial short enough for minutes, small networks above all; the same for both."""
ARMS = {"random": ("sampler=random", "pruner=none"), "ours": ()}
FIRST = 30.0
"""Seconds after which the best so far is first compared."""


def search(arm: str, seed: int, options: Any) -> list[tuple[float, float]]:
    """Run one sweep; its steps (seconds since the first suggestion, best psnr so far)."""
    sweep = SweepDirectory(options.out / f"{arm}-{seed}")
    if not sweep.root.exists():
        words = ["sweep", "everything", "--data", options.store, "--results", options.out, "--name", sweep.name]
        words += ["--seed", seed, "--max-concurrent", options.concurrent, "--max-wall", options.minutes / 60]
        words += [word for value in (*SMALL, *ARMS[arm]) for word in ("--set", value)]
        command = [sys.executable, "-m", "mrisynth", *map(str, words), "--max-trials", "100000"]
        with (options.out / f"{sweep.name}.txt").open("w", encoding="utf-8") as log:
            subprocess.run(command, stdout=log, stderr=log, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return best_so_far(sweep)


def best_so_far(sweep: SweepDirectory) -> list[tuple[float, float]]:
    """The completed trials that were better than all before, as (seconds since the first suggestion, psnr)."""
    events = read_events(sweep)
    began = min(datetime.fromisoformat(event["time"]) for event in events if event["kind"] == "suggested")
    steps: list[tuple[float, float]] = []
    for event in events:
        if event["kind"] != "told" or event["outcome"] != "completed":
            continue
        outcome = read_outcome(sweep.trial(event["number"]))
        assert outcome is not None
        seconds = (datetime.fromisoformat(event["time"]) - began).total_seconds()
        if not steps or outcome.values["psnr"] > steps[-1][1]:
            steps.append((seconds, outcome.values["psnr"]))
    return steps


def counted(sweep: SweepDirectory) -> dict[str, int]:
    """How many trials ended in each way."""
    kinds = [event["outcome"] for event in read_events(sweep) if event["kind"] == "told"]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def best_at(steps: list[tuple[float, float]], seconds: float) -> float | None:
    """The best that was known by then."""
    known = [value for time, value in steps if time <= seconds]
    return known[-1] if known else None


def show(runs: dict[str, list[list[tuple[float, float]]]], limit: float) -> None:
    """The best of each seed at a few moments, and how soon ours had the best that random search ever found."""
    moments = [limit * part for part in (0.125, 0.25, 0.5, 0.75, 1.0) if limit * part >= FIRST] or [limit]
    print("| best psnr after | random (each seed; median) | ours (each seed; median) |\n| --- | --- | --- |")
    for seconds in moments:
        cells = []
        for arm in ARMS:
            found = [best_at(steps, seconds) for steps in runs[arm]]
            numbers = [value for value in found if value is not None]
            each = ", ".join("-" if value is None else f"{value:.2f}" for value in found)
            cells.append(f"{each}; **{statistics.median(numbers):.2f}**" if numbers else each)
        print(f"| {seconds:.0f} s | {cells[0]} | {cells[1]} |")
    for seed, (random, ours) in enumerate(zip(runs["random"], runs["ours"], strict=True)):
        soon = next((time for time, value in ours if random and value >= random[-1][1]), None)
        late = random[-1][0] if random else limit
        what = "never" if soon is None else f"after {soon:.0f} s, {late / max(soon, 1e-9):.1f} times sooner"
        print(f"seed {seed}: ours had random's best, which that found after {late:.0f} s, {what}")


def draw(runs: dict[str, list[list[tuple[float, float]]]], limit: float, path: Path) -> None:
    """Best so far over time: the seeds as thin stairs, and the range that they span."""
    try:
        import matplotlib
    except ImportError:
        print("without matplotlib there is no picture")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    times = np.linspace(FIRST / 3, limit, 400)
    figure, axes = plt.subplots(figsize=(7, 4), constrained_layout=True)
    for (arm, found), colour in zip(runs.items(), ("#999999", "#0072b2"), strict=True):
        table = np.array([[best_at(steps, time) or np.nan for time in times] for steps in found])
        known = ~np.isnan(table).all(axis=0)
        axes.fill_between(
            times[known], np.nanmin(table[:, known], 0), np.nanmax(table[:, known], 0), color=colour, alpha=0.2
        )
        axes.plot(times[known], np.nanmedian(table[:, known], 0), color=colour, label=f"{arm}, median of {len(found)}")
    early = [value for found in runs.values() for steps in found if (value := best_at(steps, limit / 8)) is not None]
    last = [steps[-1][1] for steps in (*runs["random"], *runs["ours"]) if steps]
    low, high = min(early, default=0.0), max(last, default=1.0)
    axes.set(xlabel="seconds since the first suggestion", ylabel="best psnr so far, dB")
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="sweeps at a time")
    parser.add_argument("--concurrent", type=int, default=2, help="trials at a time, in each sweep")
    options: Any = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    todo = [(arm, seed) for seed in range(options.seeds) for arm in ARMS]
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(lambda each: search(*each, options), todo))
    runs = {arm: [steps for (other, _), steps in zip(todo, found, strict=True) if other == arm] for arm in ARMS}
    (options.out / "live.json").write_text(json.dumps(runs), encoding="utf-8")
    for arm, seed in todo:
        print(f"{arm}-{seed}: {counted(SweepDirectory(options.out / f'{arm}-{seed}'))}")
    show(runs, 60 * options.minutes)
    draw(runs, 60 * options.minutes, options.out / "live.png")


if __name__ == "__main__":
    main()
