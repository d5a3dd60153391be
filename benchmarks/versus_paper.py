"""Does the search beat the paper? Its published systems and a search, at equal epochs, on one phantom cohort.

One sweep: the paper's systems first, exactly as published but for epochs and patches, then the search of the space
`everything` with as many epochs and patches. Compared are the best published trial and the best found one, chosen by
their psnr on the validation subjects; there, and on test subjects that neither has seen, subject by subject.

    python benchmarks/versus_paper.py --out benchmarks/out/versus [--epochs 8] [--per-subject 40] [--trials 36]

The phantoms, the store and the sweep lie in that folder; called again, it goes on where it was. The two systems with a
perceptual loss need VGG16's weights and are left out.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from mrisynth.data.cohort import read_pairs
from mrisynth.data.jobs import Workers
from mrisynth.data.phantom.cohort import make_cohort
from mrisynth.data.preparation.cohort import PreparationConfig, prepare
from mrisynth.results.paired import TEST, compare
from mrisynth.shipped import search_spaces

SPLITS = ("train", "validation", "test")
METRICS = {"psnr": "maximize", "ssim": "maximize", "mae": "minimize"}


def make_store(out: Path, subjects: int, size: tuple[int, int, int]) -> Path:
    """Prepared phantoms, a third of them each for training, validation and test."""
    store = out / "store"
    if not (store / "cohort.json").exists():
        pairs = read_pairs(make_cohort(out / "scans", subjects=subjects, size=size, seed=5, jobs=2))
        splits = {pair.subject: SPLITS[place % len(SPLITS)] for place, pair in enumerate(pairs)}
        prepare(pairs, store, config=PreparationConfig(), splits=splits, seed=0, workers=Workers(2))
    return store


def write_space(out: Path, options: Any) -> Path:
    """The space `everything`, with the paper's systems to run before it."""
    spaces = search_spaces()
    published, space = (
        yaml.safe_load((spaces / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("published", "everything")
    )
    space["trials"] = {
        name: config for name, config in published["trials"].items() if "perceptual" not in config.get("losses", {})
    }
    space["published"] = list(space["trials"])
    space["budget"] = {"trials": len(space["published"]) + options.trials}
    space["resources"] = {"cpu": 1, "gpu": 0 if options.cpu else "auto"}
    path = out / "versus.yaml"
    path.write_text(yaml.safe_dump(space, sort_keys=False), encoding="utf-8")
    return path


def mrisynth(*words: Any) -> str:
    """What a command says on stdout; its messages go to ours."""
    command = [sys.executable, "-m", "mrisynth", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def scores(trial: Path, split: str) -> dict[str, dict[str, float]]:
    """Subject -> metric -> value of a trial under its own way of stitching."""
    answer = json.loads(mrisynth("evaluate", trial, "--split", split, "--json"))
    return next(row["subjects"] for row in answer["rows"] if row["name"] not in ("identity", "matched"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--per-subject", type=int, default=40, help="patches of a training subject")
    parser.add_argument("--trials", type=int, default=36, help="trials of the search, after the published ones")
    parser.add_argument("--subjects", type=int, default=18)
    parser.add_argument("--size", type=int, nargs=3, default=(80, 96, 40), help="of a phantom, in high-field voxels")
    parser.add_argument("--cpu", action="store_true", help="use no GPU")
    options: Any = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    store = make_store(options.out, options.subjects, tuple(options.size))
    words: list[Any] = [
        "sweep",
        write_space(options.out, options),
        "--data",
        store,
        "--results",
        options.out / "results",
    ]
    settings = (
        f"epochs={options.epochs}",
        f"patches.per_subject={options.per_subject}",
        f"forest.patches={options.per_subject}",
    )
    words += [word for setting in settings for word in ("--set", setting)]
    mrisynth(*words, "--name", "versus", "--or-resume")
    sweep = options.out / "results" / "versus"
    ranked = json.loads(mrisynth("top", sweep, "-k", 10_000, "--json"))["trials"]
    trials = [row for row in ranked if row["outcome"] == "completed"]
    published = next(row for row in trials if row["name"])
    found = next(row for row in trials if row["name"] is None)
    print(
        f"{len(trials)} completed; best published: {published['name']}; best found: trial {found['trial']}, "
        f"{found['config']['generator']}"
    )
    for split in SPLITS[1:]:
        tell(split, scores(sweep / str(published["trial"]), split), scores(sweep / str(found["trial"]), split))


def tell(split: str, published: dict[str, dict[str, float]], found: dict[str, dict[str, float]]) -> None:
    """The two beside each other on the subjects of a split."""
    print(f"\n{split}, n = {len(found)}\n\n| metric | published | found | gain | better on | p | verdict |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    pairs = []
    for metric, direction in METRICS.items():
        one, other = ({name: values[metric] for name, values in each.items()} for each in (published, found))
        pairs.append((metric, one, other, compare([other], one, direction=direction)[0]))
    for metric, one, other, paired in pairs:
        means = [sum(each.values()) / len(each) for each in (one, other)]
        wins = f"{paired.wins} of {len(paired.subjects)}"
        print(
            f"| {metric} | {means[0]:.4g} | {means[1]:.4g} | {paired.mean:+.3g} | {wins} | {paired.p:.3g} | "
            f"{paired.verdict} |"
        )
    print(f"\n{TEST}; found less published, subject by subject, psnr in dB:")
    print(
        ", ".join(
            f"{name} {value:+.2f}" for name, value in zip(pairs[0][3].subjects, pairs[0][3].differences, strict=True)
        )
    )


if __name__ == "__main__":
    main()
