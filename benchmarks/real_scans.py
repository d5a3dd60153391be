"""Real brain scans, from files to a leaderboard: degrade, check, prepare, sweep, through a user's own commands.

Three brains, three subjects, each a block from its middle:

- human-ch2better: one person's brain, T1, 0.5 mm (Debian package mricron-data)                 train
- macaque-inia19: the average of 100 macaques' brains, T1, 0.5 mm (Debian package mricron-data) train
- human-mni152: the average of 152 people's brains, T1, 1 mm (PyPI package nilearn)             validation

None of them is a 7T or 9.4T scan, and their low-field partners are made by `mrisynth data degrade`: what comes out
says that the way works on real anatomy and real intensities, not how well a model would do on a low-field scanner.

    apt-get install mricron-data && pip install -c constraints.txt nilearn
    python benchmarks/real_scans.py --out benchmarks/out/real
"""

import argparse
import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import SimpleITK as sitk

MRICRON = Path("/usr/share/mricron/templates")
BLOCK = (128, 144, 112)
SPACE = """\
description: Small networks for real scans on two cores
objectives: {psnr: maximize}
budget: {trials: 8}
pruner: {halving: {rungs: [0.34], keep: 0.5}}
fixed:
  epochs: 6
  patches: {size: 32, per_subject: 300}
  optimizer.batch_size: 16
  dcgan.depth: 4
  unet.levels: 4
  patchgan: {layers: 2, filters: 8}
search:
  generator: [dcgan, unet]
  dcgan.kernel_size: [3, 5]
  dcgan.width: {choice: [8, 16, 24]}
  unet.filters: {choice: [8, 16]}
  adversary: [none, patchgan]
  losses.l1: {float: [0.5, 2], log: true}
  losses.adversarial: {float: [0.003, 0.03], log: true}
  optimizer.generator_lr: {float: [1e-3, 1e-2], log: true}
"""


def find_scans() -> dict[str, tuple[Path, str]]:
    """Subject -> its file and its split."""
    nilearn = importlib.util.find_spec("nilearn")
    if nilearn is None or nilearn.origin is None:
        sys.exit("nilearn is not installed: pip install -c constraints.txt nilearn")
    mni = Path(nilearn.origin).parent / "datasets" / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    scans = {
        "human-ch2better": (MRICRON / "ch2better.nii.gz", "train"),
        "macaque-inia19": (MRICRON / "inia19-t1-brain.nii.gz", "train"),
        "human-mni152": (mni, "validation"),
    }
    for path, _ in scans.values():
        if not path.is_file():
            sys.exit(f"{path} is missing: apt-get install mricron-data, pip install -c constraints.txt nilearn")
    return scans


def cut_block(path: Path, out: Path) -> None:
    """Write the block of the scan's middle, at most BLOCK voxels, even on every axis."""
    scan = sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkFloat32)
    size = [min(block, length) // 2 * 2 for block, length in zip(BLOCK, scan.GetSize(), strict=True)]
    start = [(length - kept) // 2 for length, kept in zip(scan.GetSize(), size, strict=True)]
    sitk.WriteImage(sitk.RegionOfInterest(scan, size, start), str(out))


def name_splits(pairs: Path, splits: dict[str, str]) -> None:
    """Add the column `split`."""
    with pairs.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with pairs.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["subject", "low", "high", "split"])
        writer.writeheader()
        writer.writerows({**row, "split": splits[row["subject"]]} for row in rows)


def mrisynth(*arguments: object) -> None:
    print("$ mrisynth", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "mrisynth", *map(str, arguments)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/real"))
    out = parser.parse_args().out
    scans = find_scans()
    blocks = out / "scans"
    blocks.mkdir(parents=True, exist_ok=True)
    for subject, (path, _) in scans.items():
        cut_block(path, blocks / f"{subject}.nii.gz")
    mrisynth("data", "degrade", *(blocks / f"{subject}.nii.gz" for subject in scans), out / "pairs")
    pairs = out / "pairs" / "pairs.csv"
    name_splits(pairs, {subject: split for subject, (_, split) in scans.items()})
    space = out / "space.yaml"
    space.write_text(SPACE, encoding="utf-8")
    mrisynth("data", "check", pairs)
    mrisynth("data", "prepare", pairs, out / "store")
    mrisynth("data", "info", out / "store")
    mrisynth("data", "quality", out / "store")
    mrisynth("sweep", space, "--data", out / "store", "--results", out / "results", "--name", "real")
    mrisynth("top", out / "results" / "real")
    print(*sorted((out / "results" / "real" / "trials").glob("*/images/*.png")), sep="\n")


if __name__ == "__main__":
    main()
