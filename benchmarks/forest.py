"""The paper's random forest against the fast one: training time, test error, prediction time and size on disk.

    python benchmarks/forest.py --rows 40000

Both learn from the same pixels of two phantoms (prepared as `mrisynth data prepare` does, registered affinely) and are
judged on the patches of a third. Times are wall and processor seconds; on a shared machine the latter are the ones to
compare. A forest on few rows is small, and so quick to predict with. So prediction is also timed with trees of the size
that the paper's 2,000 patches (9.25 million rows) give: grown on `--deep-rows` with the limit for splits lowered in
proportion, and repeated to 200 trees.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mrisynth.data import shards
from mrisynth.data.cohort import read_pairs
from mrisynth.data.jobs import Workers
from mrisynth.data.patches import PatchConfig
from mrisynth.data.phantom.cohort import make_cohort
from mrisynth.data.preparation.cohort import prepare
from mrisynth.data.preparation.config import PreparationConfig
from mrisynth.data.store.prepared import open_cohort
from mrisynth.models.forest import Forest, ForestConfig
from mrisynth.models.trees import Trees

Patches = tuple[NDArray[np.float32], NDArray[np.float32]]

VOXELS = (128, 160, 192)
PAPER_ROWS = 9_250_000
PREPARATION = {"bias": {"enabled": False}, "registration": {"method": "affine"}}


def main() -> None:
    parser = argparse.ArgumentParser(description="The paper's random forest against the fast one.")
    parser.add_argument("--rows", type=int, default=40_000, help="training pixels of the comparison")
    parser.add_argument(
        "--deep-rows", type=int, default=400_000, help="training pixels of the trees of full size; 0: none"
    )
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3, help="fits of the fast forest, of which the median counts")
    parser.add_argument("--slices", type=int, default=VOXELS[0], help="slices of 160 x 192 that are predicted")
    parser.add_argument("--size", type=int, nargs=3, default=(96, 112, 80), metavar=("DEPTH", "HEIGHT", "WIDTH"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for prediction; fits take 1")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    training, test = phantom_patches(arguments.size)
    rows = min(arguments.rows, training[0].size)
    load = os.getloadavg()[0]
    print(
        f"{processor()}, {os.cpu_count()} cores, load {load:.1f}; {rows} rows of 24 features, {arguments.trees} trees"
    )
    print(f"identity: test MSE {error(test[0], test[1]):.5f} over {test[0].size} pixels")
    images = test_images(test[0], arguments.slices)
    fitted, seconds, errors = {}, {}, {}
    for method, rounds in (("faithful", 1), ("fast", arguments.rounds)):
        config = ForestConfig(method=method, trees=arguments.trees, pixels=rows / training[0].size)
        fits = [fit(config, training) for _ in range(rounds)]
        fitted[method] = fits[0][0]
        wall, seconds[method] = (statistics.median(times) for times in zip(*(each[1] for each in fits), strict=True))
        errors[method] = error(generate(fitted[method], test[0]), test[1])
        print(
            f"{method}: training {wall:.1f} s wall, {seconds[method]:.1f} s CPU (median of {rounds}), "
            f"test MSE {errors[method]:.5f}, {fitted[method].nodes} nodes",
            flush=True,
        )
    print(
        f"fast trains {seconds['faithful'] / seconds['fast']:.0f} times as fast, its test MSE is "
        f"{100 * (errors['fast'] / errors['faithful'] - 1):+.2f} %"
    )
    for method, forest in fitted.items():
        time_prediction(method, forest, images)
    if arguments.deep_rows:
        deep = grow_full_size(training, rows=min(arguments.deep_rows, training[0].size), trees=arguments.trees)
        time_prediction("faithful, full size", deep, images)
        time_file(deep)


def processor() -> str:
    for line in (
        Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    ):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def phantom_patches(size: tuple[int, int, int]) -> tuple[Patches, Patches]:
    """Patches of two phantoms and of another one: low and high, standardised."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = read_pairs(make_cohort(Path(folder) / "scans", subjects=3, size=tuple(size), jobs=1))
        splits = dict(zip((pair.subject for pair in pairs), ("train", "train", "validation"), strict=True))
        store = Path(folder) / "store"
        config = PreparationConfig.model_validate(PREPARATION)
        prepare(pairs, store, config=config, splits=splits, seed=0, workers=Workers(1))
        cut = shards.ensure(open_cohort(store), PatchConfig(per_subject=300))
        train, test = ((np.array(part.low), np.array(part.high)) for part in (cut.train, cut.validation))
    return train, test


def test_images(low: NDArray[np.float32], slices: int) -> torch.Tensor:
    """Slices of the paper's order of size, (slices, 1, 160, 192), tiled from low-field patches."""
    tiles = np.resize(low[:, 0], (slices, 3, 3, *low.shape[2:])).transpose(0, 1, 3, 2, 4)
    height, width = 3 * low.shape[2], 3 * low.shape[3]
    tiled = tiles.reshape(slices, 1, height, width)[..., : VOXELS[1], : VOXELS[2]]
    return torch.from_numpy(np.ascontiguousarray(tiled))


def fit(config: ForestConfig, patches: Patches) -> tuple[Forest, tuple[float, float]]:
    forest = config.build()
    return forest, timed(lambda: forest.fit(*patches, seed=0, threads=1))


def grow_full_size(training: Patches, *, rows: int, trees: int) -> Forest:
    """One tree about as large as the paper's rows give, `trees` times over."""
    split = max(2, round(200 * rows / PAPER_ROWS))
    forest, (_, seconds) = fit(ForestConfig(trees=1, min_samples_split=split, pixels=rows / training[0].size), training)
    print(f"one tree on {rows} rows, splits from {split}: {forest.nodes} nodes, {seconds:.1f} s CPU", flush=True)
    one = forest._fitted()
    repeated = (np.tile(array, trees) for array in (one.feature, one.number, one.right))
    forest._trees = Trees(*repeated, np.arange(trees) * forest.nodes, one.features, one.base, 1 / trees)
    return forest


def time_prediction(name: str, forest: Forest, images: torch.Tensor) -> None:
    generate(forest, images[:1].numpy())  # the trees are made ready once
    wall, seconds = timed(lambda: forest(images))
    print(
        f"{name}: {images.numel() / 1e6:.2f} million voxels predicted in {wall:.1f} s wall, {seconds:.1f} s CPU "
        f"on {torch.get_num_threads()} threads",
        flush=True,
    )


def time_file(forest: Forest) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forest.safetensors"
        written, read = timed(lambda: forest.save(path)), timed(lambda: forest.load(path))
        print(
            f"{forest.nodes} nodes: {path.stat().st_size / 2**20:.0f} MiB, written in {written[0]:.2f} s wall, "
            f"read in {read[0]:.2f} s"
        )


def generate(forest: Forest, low: NDArray[np.float32]) -> NDArray[np.float32]:
    return forest(torch.from_numpy(low)).numpy()


def error(generated: NDArray[np.float32], high: NDArray[np.float32]) -> float:
    return float(np.mean((generated - high) ** 2, dtype=np.float64))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    main()
