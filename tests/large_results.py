"""A sweep of thousands of trials, written in seconds: the index as a driver leaves it, and pictures for every trial.

The trials' folders share the files of one trial by hard links; their scores and settings are drawn at random.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from results_fixtures import METRICS

from mrisynth.results.index import Index, write_index
from mrisynth.results.records import TrialRecord, flatten
from mrisynth.results.slices import ShownSlices, write_shown, write_slices
from mrisynth.results.store import SweepDirectory, timestamp, write_heartbeat, write_yaml
from mrisynth.results.tables import join, rows_of

BEGAN = datetime(2026, 11, 20, 8, tzinfo=UTC)
SLICES, SIDE = 12, 128
OUTCOMES, SHARES = ("completed", "pruned", "rejected", "lost"), (0.4, 0.45, 0.12, 0.03)
KEYS = ("train.l1", "train.total", "validation.l1", "scores.psnr")
DOMAINS = {
    "generator": {"choice": ["unet", "dcgan", "dcsrn"]},
    "adversary": {"choice": ["none", "pooled", "patchgan"]},
    "unet.filters": {"int": [8, 31]},
    "dcgan.depth": {"int": [5, 6]},
    "dcsrn.units": {"int": [1, 4]},
    "losses.l1": {"float": [0.1, 100], "log": True},
    "optimizer.generator_lr": {"float": [1e-5, 1e-2], "log": True},
    "patches.size": {"choice": [32, 64]},
}


def large_sweep(results: Path, *, trials: int = 5000, records: int = 30, subjects: int = 9) -> SweepDirectory:
    """A finished sweep named `large`."""
    sweep = SweepDirectory(results / "large")
    names = [f"rat-{number}" for number in range(1, subjects + 1)]
    asked = {"schema_version": 1, "name": "large", "description": "Drawn at random", "data_key": "feedc0de", "seed": 0}
    budget = {"trials": trials}
    write_yaml(sweep.sweep_yaml, {**asked, "objectives": {"psnr": "maximize"}, "budget": budget})
    chance = np.random.default_rng(0)
    for subject in names:
        write_shown(sweep.slices / subject, _shown(subject, chance))
    _folders(sweep, names, trials, chance)
    write_index(sweep, _index(names, trials, records, chance))
    write_heartbeat(sweep, state="done")
    return sweep


def _shown(subject: str, chance: np.random.Generator) -> ShownSlices:
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    tissue = rows**2 + columns**2 < 0.2
    high = np.where(tissue, 0.5 + 0.3 * np.sin(30 * columns + np.arange(SLICES)[:, None, None]), 0.02)
    high = high.astype(np.float32)
    low = (0.7 * high + 0.05 * chance.standard_normal(high.shape)).astype(np.float32)
    indices = tuple(range(20, 20 + 5 * SLICES, 5))
    return ShownSlices(subject, low, high, low, np.broadcast_to(tissue, high.shape), indices, 0, (0.1, 0.1))


def _folders(sweep: SweepDirectory, subjects: list[str], trials: int, chance: np.random.Generator) -> None:
    first = sweep.trial(0)
    for subject in subjects:
        write_slices(first.images, subject, _shown(subject, chance).high * 0.95)
    write_yaml(first.config, _config(0, chance))
    for number in range(1, trials):
        directory = sweep.trial(number)
        directory.images.mkdir(parents=True)
        os.link(first.config, directory.config)
        for subject in subjects:
            os.link(first.images / f"{subject}.npz", directory.images / f"{subject}.npz")


def _config(number: int, chance: np.random.Generator) -> dict[str, Any]:
    generator = ("unet", "dcgan", "dcsrn")[number % 3]
    blocks = {
        "unet": {"filters": 8 + number % 24},
        "dcgan": {"depth": 5 + number % 2},
        "dcsrn": {"units": 1 + number % 4},
    }
    adversary = ("none", "pooled", "patchgan")[number // 3 % 3]
    losses = {"l1": float(10 ** chance.uniform(-1, 2)), "adversarial": 1.0}
    rate = float(10 ** chance.uniform(-5, -2))
    return {
        "generator": generator,
        generator: blocks[generator],
        "adversary": adversary,
        "losses": losses,
        "optimizer": {"generator_lr": rate, "batch_size": 32},
        "patches": {"size": 32 * (1 + number % 2)},
        "epochs": 30,
        "seed": number,
    }


def _index(subjects: list[str], trials: int, records: int, chance: np.random.Generator) -> Index:
    outcomes = [str(each) for each in chance.choice(OUTCOMES, trials, p=SHARES)]
    quality = chance.normal(25, 2, (trials, len(subjects)))
    configs = [_config(number, chance) for number in range(trials)]
    rows = [_record(number, outcomes[number], quality[number], configs[number]) for number in range(trials)]
    tables = join([rows_of(row, "stamp") for row in rows])
    baselines = {
        name: {"values": _scores(value), "subjects": {subject: _scores(value) for subject in subjects}}
        for name, value in (("identity", 20.0), ("matched", 22.0))
    }
    manifest = {
        "schema_version": 1,
        "sweep": "large",
        "description": "Drawn at random",
        "data_key": "feedc0de",
        "objectives": {"psnr": "maximize"},
        "baselines": baselines,
        "budget": {"trials": trials},
        "metrics": METRICS,
        "config_schema": {},
        "searched": list(DOMAINS),
        "domains": DOMAINS,
        "program": "0",
        "written": timestamp(),
    }
    return Index(manifest, tables.trials, _history(trials, records, chance), _subjects(subjects, quality))


def _record(number: int, outcome: str, quality: np.ndarray, config: dict[str, Any]) -> TrialRecord:
    family = "cnn" if config["adversary"] == "none" else "gan"
    scored = outcome in ("completed", "pruned")
    fields = {
        "trial": number,
        "outcome": outcome,
        "reason": {"rejected": "diverged", "lost": "worker"}.get(outcome),
        "message": f"Trial {number} {outcome}.",
        "family": family,
        "generator": config["generator"],
        "adversary": config["adversary"],
        "epochs": 30 if outcome == "completed" else 9,
        "epochs_planned": 30,
        "seconds": 60.0 + number % 50,
        "generator_parameters": 10_000 + number,
        "started": BEGAN + timedelta(minutes=number),
        "ended": BEGAN + timedelta(minutes=number + 1),
        "rung": 9 if outcome == "pruned" else None,
        "config": json.dumps(config),
    }
    return TrialRecord(number, fields, _scores(float(quality.mean())) if scored else {}, dict(flatten(config)), [], [])


def _scores(psnr: float) -> dict[str, float]:
    return {"psnr": psnr, "ssim": psnr / 100, "mae": 1 / psnr}


def _history(trials: int, records: int, chance: np.random.Generator) -> pa.Table:
    count = trials * records * len(KEYS)
    keys = pa.DictionaryArray.from_arrays(np.tile(np.arange(len(KEYS), dtype=np.int32), trials * records), list(KEYS))
    return pa.table(
        {
            "trial": np.repeat(np.arange(trials), records * len(KEYS)),
            "epoch": np.tile(np.repeat(np.arange(1, records + 1), len(KEYS)), trials),
            "key": keys,
            "value": chance.random(count),
        }
    )


def _subjects(subjects: list[str], quality: np.ndarray) -> pa.Table:
    trials = len(quality)
    scores = np.stack([quality, quality / 100, 1 / quality], axis=-1)
    return pa.table(
        {
            "trial": np.repeat(np.arange(trials), len(subjects) * len(METRICS)),
            "subject": np.tile(np.repeat(subjects, len(METRICS)), trials),
            "metric": np.tile(list(METRICS), trials * len(subjects)),
            "value": scores.ravel(),
        }
    )
