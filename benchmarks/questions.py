"""The questions that the paper left open, answered on phantoms: every space `question-*`, three seeds an arm.

Makes a phantom cohort, prepares it, sweeps the spaces one after the other through a user's own commands, and prints a
table for each: an arm's mean over its seeds, and their standard deviation. What is there already is not done again.

Beside the metrics stand `seam_background`, the `seam` of the generated image alone outside the tissue, where the truth
is flat, because there the paper saw its stitching edges; and `step_background`, by how much more neighbours across a
line differ there than others do, in thousandths of full scale: a ratio falls too where an image is restless everywhere.

    python benchmarks/questions.py --out benchmarks/out/questions          (half an hour on two idle cores)
"""

import argparse
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mrisynth.data.stitching import plan_stitch
from mrisynth.results.index import open_index
from mrisynth.results.leaderboard import top
from mrisynth.results.store import SweepDirectory, TrialDirectory, open_sweep, read_shown, read_slices, read_yaml
from mrisynth.search.space import list_spaces
from mrisynth.training.config import TrialConfig
from mrisynth.training.metrics import Images, Mask, Scored, seam

SHOWN = ("psnr", "ssim", "seam", "seam_background", "step_background", "hallucination", "background")
MRISYNTH = [sys.executable, "-m", "mrisynth"]


def run(*arguments: object) -> None:
    """One of the product's own commands."""
    subprocess.run([*MRISYNTH, *map(str, arguments)], check=True)


def make_store(out: Path) -> Path:
    """Ten phantoms, seven of them for training and two for validation; prepared as scans of a lab would be."""
    if not (out / "scans" / "pairs.csv").exists():
        run("data", "phantom", out / "scans", "--subjects", 10, "--size", "80x112x96", "--seed", 1)
    run("data", "prepare", out / "scans" / "pairs.csv", out / "store")
    return out / "store"


def background_seams(sweep: SweepDirectory, trial: TrialDirectory) -> dict[str, float]:
    """Seams of the generated image outside the tissue, the means over the validation subjects."""
    config = TrialConfig.parse(read_yaml(trial.config))
    ratios, steps = [], []
    for directory in sorted(sweep.slices.iterdir()):
        shown = read_shown(directory)
        generated = read_slices(trial.images, shown.subject)
        plan = plan_stitch(*generated.shape[1:], size=config.patches.size, **config.stitching.model_dump())
        rows, columns = plan.seams
        ratios.append(seam(Scored(generated, np.zeros_like(generated), ~shown.mask, rows, columns)))
        steps.append(fmean(step(generated, ~shown.mask, lines, axis) for axis, lines in ((1, rows), (2, columns))))
    return {"seam_background": fmean(ratios), "step_background": 1000 * fmean(steps)}


def step(images: Images, mask: Mask, lines: tuple[int, ...], axis: int) -> float:
    """Mean difference of neighbours across the lines, less that of all others."""
    images, mask = np.moveaxis(images, axis, 0), np.moveaxis(mask, axis, 0)
    differences, both = np.abs(np.diff(images, axis=0)), mask[1:] & mask[:-1]
    at_line = np.isin(np.arange(1, len(images)), lines)
    across, elsewhere = (float(differences[here][both[here]].mean()) for here in (at_line, ~at_line))
    return across - elsewhere


def arms(sweep: SweepDirectory) -> dict[str, list[dict[str, float]]]:
    """The scores of each arm's completed trials; `unet-adversary-s0` is the first seed of the arm `unet-adversary`."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for row in sorted(top(open_index(sweep)), key=lambda row: row["trial"]):
        if row["outcome"] != "completed":
            print(f"{sweep.name}: trial {row['name']} ended as {row['outcome']} and is left out", file=sys.stderr)
            continue
        extra = background_seams(sweep, sweep.trial(row["trial"]))
        found[row["name"].rpartition("-s")[0]].append({**row["values"], **extra})
    return found


def show(sweep: SweepDirectory, description: str) -> None:
    """The table of one question."""
    index = open_index(sweep)
    subjects = len(list(sweep.slices.iterdir()))
    table = Table(title=f"{sweep.name}: {description} (mean ± deviation over seeds, {subjects} subjects)")
    for column in ("arm", "seeds", *SHOWN):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for arm, scores in arms(sweep).items():
        table.add_row(arm, str(len(scores)), *(spread([score[name] for score in scores]) for name in SHOWN))
    for name, baseline in index.manifest["baselines"].items():
        table.add_row(
            name, "", *(f"{baseline['values'][shown]:.3f}" if shown in baseline["values"] else "-" for shown in SHOWN)
        )
    seconds = [value or 0.0 for value in index.trials["seconds"].to_pylist()]
    Console(width=160).print(table)
    print(f"{len(seconds)} trials, {sum(seconds) / 60:.0f} minutes of workers in all, {fmean(seconds):.0f} s each\n")


def spread(values: list[float]) -> str:
    """Mean and standard deviation of the seeds."""
    deviation = stdev(values) if len(values) > 1 else float("nan")
    return f"{fmean(values):.3f} ±{deviation:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], help="passed on to every sweep, e.g. epochs=2")
    options: Any = parser.parse_args()
    questions = {name: text for name, text in list_spaces().items() if name.startswith("question-")}
    store = make_store(options.out)
    for name, description in questions.items():
        if not (options.out / "results" / name).exists():
            settings = [part for setting in options.set for part in ("--set", setting)]
            run("sweep", name, "--data", store, "--results", options.out / "results", "--name", name, *settings)
        show(open_sweep(options.out / "results" / name), description)


if __name__ == "__main__":
    main()
