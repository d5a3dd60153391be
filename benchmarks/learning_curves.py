"""Record learning curves, each of 27 epochs: of a whole grid, `learning_curves.yaml`, or of points drawn from a space.

Trials are trained and scored by the product's own loop on a small phantom cohort, each in one thread, without Ray. What
`replay.py` replays are these curves. Seconds are CPU seconds, so that a busy machine does not matter; training and
scoring are told apart, because a search scores a trial at its rungs only.

    python benchmarks/learning_curves.py grid --out benchmarks/out/grid [--workers 2]   (a quarter of an hour of a core)
    python benchmarks/learning_curves.py random --out benchmarks/out/random     (of `learning_curves_random.yaml`, 200)

What is there already is not done again. The curves go to a Parquet file beside the space, its lineage within it.
"""

import argparse
import json
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mrisynth import __version__
from mrisynth.data import shards
from mrisynth.data import slices as slices_of
from mrisynth.data.cohort import read_pairs
from mrisynth.data.jobs import Workers
from mrisynth.data.phantom.cohort import make_cohort
from mrisynth.data.preparation.cohort import PreparationConfig, prepare
from mrisynth.data.store.prepared import open_cohort
from mrisynth.files import digest, read_json, write_json
from mrisynth.search.grid import grid_points
from mrisynth.search.space import load_space, sample_configs
from mrisynth.search.stand_ins import GivenTrial
from mrisynth.training.config import TrialConfig
from mrisynth.training.diagnosis import TrialRejected, refuse_lost_cause, refuse_not_finite
from mrisynth.training.evaluation import evaluate
from mrisynth.training.loop import prepare_torch, start, to_device, train

HERE = Path(__file__).parent
SCORES = ("psnr", "ssim", "seam")
COHORT = {"subjects": 8, "seed": 3}
SLICES = 4
"""Validation slices of each subject that are scored after every epoch."""
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Recording:
    """What is recorded: every point of a space, or so many drawn from it, on phantoms of a size."""

    name: str
    size: tuple[int, int, int]
    draws: int | None = None

    @property
    def space(self) -> Path:
        return HERE / f"{self.name}.yaml"

    @property
    def curves(self) -> Path:
        return HERE / f"{self.name}.parquet"

    def configs(self) -> list[TrialConfig]:
        """The trial at each point."""
        space = load_space(self.space)
        if self.draws:
            return sample_configs(space, self.draws, seed=COHORT["seed"])
        return [TrialConfig.parse(space.suggest(GivenTrial(point))) for point in grid_points(space.parameters)]


RECORDINGS = {
    "grid": Recording("learning_curves", (56, 72, 64)),
    "random": Recording("learning_curves_random", (96, 112, 96), draws=200),
}


def make_store(recording: Recording, out: Path) -> Path:
    """Eight prepared phantoms; four of them train and four validate, so that scores are no matter of chance."""
    store = out / "store"
    if not (store / "cohort.json").exists():
        pairs = read_pairs(make_cohort(out / "scans", jobs=1, size=recording.size, **COHORT))
        halves = ["train", "validation"]
        splits = {pair.subject: halves[place % 2] for place, pair in enumerate(pairs)}
        prepare(pairs, store, config=PreparationConfig(), splits=splits, seed=0, workers=Workers(1))
    cohort = open_cohort(store)
    slices_of.ensure(cohort, count=SLICES)
    shards.ensure(cohort, recording.configs()[0].patches)
    return store


def record(config: TrialConfig, store: Path) -> dict[str, Any]:
    """One trial from its first epoch to its last, or to the one after which it was rejected."""
    cohort = open_cohort(store)
    slices, patches = slices_of.ensure(cohort, count=SLICES), shards.ensure(cohort, config.patches)
    prepare_torch(config, CPU)
    state = start(config, CPU)
    training = to_device(patches.train.low, patches.train.high, CPU)
    validation = to_device(patches.validation.low, patches.validation.high, CPU)
    epochs: list[dict[str, float]] = []
    rejected = None
    began = time.process_time()
    try:
        for losses in train(state, config, training=training, validation=validation):
            seconds, began = time.process_time() - began, time.process_time()
            state.history.append({"epoch": state.epoch, **losses._asdict()})
            refuse_lost_cause(config.epochs, state.history)
            scored = evaluate(state.generator, slices, config=config, high_standard=patches.high, device=CPU)
            refuse_not_finite(state.epoch, "score", scored.values)
            scoring, began = time.process_time() - began, time.process_time()
            epochs.append({**{name: scored.values[name] for name in SCORES}, "seconds": seconds, "scoring": scoring})
    except TrialRejected as error:
        rejected = error.reason
    return {"config": config.dump(), "family": config.family, "epochs": epochs, "rejected": rejected}


def path_of(config: TrialConfig, out: Path) -> Path:
    """Where a trial's curve is kept, whatever its place among the others."""
    return out / "points" / f"{digest(config.dump())}.json"


def record_at(recording: Recording, point: int, out: Path) -> int:
    """Record one point into a file of its own, unless another process has."""
    config = recording.configs()[point]
    path = path_of(config, out)
    if not path.exists():
        write_json(path, record(config, out / "store"))
    return point


def gather(recording: Recording, out: Path) -> None:
    """All curves in one file: a row for each epoch of each point."""
    rows = []
    for point, config in enumerate(recording.configs()):
        curve = read_json(path_of(config, out))
        common = {"point": point, "family": curve["family"], "rejected": curve["rejected"]}
        common["config"] = json.dumps(curve["config"])
        rows += [{**common, "epoch": number, **epoch} for number, epoch in enumerate(curve["epochs"], 1)]
    floats = [(name, pa.float32()) for name in (*SCORES, "seconds", "scoring")]
    named = [("point", pa.int16()), ("family", pa.string()), ("rejected", pa.string()), ("config", pa.string())]
    origin = {"lineage": json.dumps(lineage(recording, out))}
    schema = pa.schema([*named, ("epoch", pa.int16()), *floats], metadata=origin)
    path = recording.curves
    pq.write_table(pa.Table.from_pylist(rows, schema), path, compression="zstd")
    print(f"{len(rows)} epochs of {point + 1} configurations, {path.stat().st_size / 1000:.0f} kB in {path}")


def lineage(recording: Recording, out: Path) -> dict[str, Any]:
    """By which code, on which data."""
    return {
        "space": digest(recording.space.read_text(encoding="utf-8")),
        "cohort": {**COHORT, "size": recording.size, "slices": SLICES},
        "data_key": open_cohort(out / "store").data_key,
        "versions": {
            "mrisynth": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(RECORDINGS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    options: Any = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    recording = RECORDINGS[options.what]
    make_store(recording, options.out)
    (options.out / "points").mkdir(exist_ok=True)
    missing = [point for point, config in enumerate(recording.configs()) if not path_of(config, options.out).exists()]
    # In a random order, so that what is there early shows how long the rest will take.
    np.random.default_rng(0).shuffle(missing)
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(record_at, recording, point, options.out) for point in missing]
        for done, future in enumerate(as_completed(futures), 1):
            print(f"{done} of {len(missing)}: point {future.result()}", flush=True)
    gather(recording, options.out)


if __name__ == "__main__":
    main()
