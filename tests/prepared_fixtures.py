"""A prepared store made by hand, in the format that `mrisynth.data.store.prepared` reads."""

import json

import numpy as np

from mrisynth.data.store.arrays import write_arrays
from mrisynth.data.store.prepared import open_cohort

SPLITS = {"ant": "train", "bee": "train", "cat": "validation", "dog": "validation", "eel": "test"}


def make_volumes(name, shape):
    """Low, high and mask of a subject: noise in a box of tissue off the centre, a darker ground around it."""
    generator = np.random.default_rng(list(name.encode()))
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(length // 4, length) for length in shape)] = 1
    low = generator.uniform(0, 200, shape) + mask * generator.uniform(100, 600, shape)
    high = generator.uniform(0, 100, shape) + mask * (0.5 * low + 300)
    return low.astype(np.float32), high.astype(np.float32), mask


def make_store(store, splits=SPLITS, *, shape=(12, 20, 24), seed=0):
    """Write a store of one small subject for each name, and open it."""
    store.mkdir(parents=True, exist_ok=True)
    (store / "store.json").write_text('{"schema_version": 1}', encoding="utf-8")
    for name in splits:
        write_subject(store / "subjects" / f"key-of-{name}", *make_volumes(name, shape))
    subjects = [{"subject": name, "key": f"key-of-{name}", "split": split} for name, split in splits.items()]
    cohort = {"schema_version": 1, "data_key": "data", "seed": seed, "subjects": subjects, "test_reads": 0}
    (store / "cohort.json").write_text(json.dumps(cohort), encoding="utf-8")
    return open_cohort(store)


def write_subject(folder, low, high, mask):
    folder.mkdir(parents=True)
    write_arrays(folder / "volumes.arrow", {"low": low, "high": high, "mask": mask})
    scans = {"low": low.astype(np.float64), "high": high.astype(np.float64)}
    record = {
        "shape": low.shape,
        "spacing": [0.4, 0.2, 0.3],
        "volumes": {"bytes": (folder / "volumes.arrow").stat().st_size},
        "statistics": {
            scan: {"mean": array.mean(), "std": array.std(), "count": array.size} for scan, array in scans.items()
        },
        "histograms": {scan: np.histogram(array, 1000, (0, 1000))[0].tolist() for scan, array in scans.items()},
    }
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
