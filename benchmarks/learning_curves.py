"""Record the learning curves of a whole grid: every point of `learning_curves.yaml`, scored after each of 27 epochs.

Trials are trained and scored by the product's own loop on a small phantom cohort, each in one thread, without Ray. What
`replay.py` replays are these curves. Seconds are CPU seconds, so that a busy machine does not matter; training and
scoring are told apart, because a search scores a trial at its rungs only.

    python benchmarks/learning_curves.py --out benchmarks/out/curves [--workers 2]      (a quarter of an hour of a core)

What is there already is not done again. The curves go to benchmarks/learning_curves.parquet, its lineage within it.
"""

import argparse
import json
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
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
from mrisynth.search.space import load_space
from mrisynth.search.stand_ins import GivenTrial
from mrisynth.training.config import TrialConfig
from mrisynth.training.diagnosis import TrialRejected, refuse_lost_cause, refuse_not_finite
from mrisynth.training.evaluation import evaluate
from mrisynth.training.loop import prepare_torch, start, to_device, train

HERE = Path(__file__).parent
SPACE = HERE / "learning_curves.yaml"
CURVES = HERE / "learning_curves.parquet"
SCORES = ("psnr", "ssim", "seam")
COHORT = {"subjects": 8, "size": (56, 72, 64), "seed": 3}
SLICES = 4
"""Validation slices of each subject that are scored after every epoch."""
CPU = torch.device("cpu")


def make_store(out: Path) -> Path:
    """Eight prepared phantoms; four of them train and four validate, so that scores are no matter of chance."""
    store = out / "store"
    if not (store / "cohort.json").exists():
        pairs = read_pairs(make_cohort(out / "scans", jobs=1, **COHORT))
        halves = ["train", "validation"]
        splits = {pair.subject: halves[place % 2] for place, pair in enumerate(pairs)}
        prepare(pairs, store, config=PreparationConfig(), splits=splits, seed=0, workers=Workers(1))
    cohort = open_cohort(store)
    slices_of.ensure(cohort, count=SLICES)
    shards.ensure(cohort, configs()[0].patches)
    return store


def configs() -> list[TrialConfig]:
    """The trial at each point of the grid."""
    space = load_space(SPACE)
    return [TrialConfig.parse(space.suggest(GivenTrial(point))) for point in grid_points(space.parameters)]


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


def record_at(point: int, out: Path) -> int:
    """Record one point of the grid into a file of its own."""
    write_json(out / "points" / f"{point}.json", record(configs()[point], out / "store"))
    return point


def gather(out: Path) -> None:
    """All curves in one file: a row for each epoch of each point."""
    rows = []
    for point in range(len(configs())):
        curve = read_json(out / "points" / f"{point}.json")
        common = {"point": point, "family": curve["family"], "rejected": curve["rejected"]}
        common["config"] = json.dumps(curve["config"])
        rows += [{**common, "epoch": number, **epoch} for number, epoch in enumerate(curve["epochs"], 1)]
    floats = [(name, pa.float32()) for name in (*SCORES, "seconds", "scoring")]
    named = [("point", pa.int16()), ("family", pa.string()), ("rejected", pa.string()), ("config", pa.string())]
    schema = pa.schema([*named, ("epoch", pa.int16()), *floats], metadata={"lineage": json.dumps(lineage(out))})
    pq.write_table(pa.Table.from_pylist(rows, schema), CURVES, compression="zstd")
    print(f"{len(rows)} epochs of {len(configs())} configurations, {CURVES.stat().st_size / 1000:.0f} kB in {CURVES}")


def lineage(out: Path) -> dict[str, Any]:
    """By which code, on which data."""
    return {
        "space": digest(SPACE.read_text(encoding="utf-8")),
        "cohort": {**COHORT, "slices": SLICES},
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
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    options: Any = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    make_store(options.out)
    (options.out / "points").mkdir(exist_ok=True)
    missing = [point for point in range(len(configs())) if not (options.out / "points" / f"{point}.json").exists()]
    # In a random order, so that what is there early shows how long the rest will take.
    np.random.default_rng(0).shuffle(missing)
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(record_at, point, options.out) for point in missing]
        for done, future in enumerate(as_completed(futures), 1):
            print(f"{done} of {len(missing)}: point {future.result()}", flush=True)
    gather(options.out)


if __name__ == "__main__":
    main()
