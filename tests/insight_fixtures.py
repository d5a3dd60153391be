"""Indexes of searches whose answer is known, made without a folder for each trial."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from results_fixtures import METRICS

from mrisynth import __version__
from mrisynth.results.index import Index, write_index
from mrisynth.results.records import TrialRecord, flatten
from mrisynth.results.store import SweepDirectory, timestamp, write_heartbeat, write_yaml
from mrisynth.results.tables import join, rows_of

SUBJECTS = ("rat-1", "rat-2", "rat-3", "rat-4")
BEGAN = datetime(2026, 11, 22, 12, tzinfo=UTC)
DOMAINS = {
    "generator": {"choice": ["dcgan", "unet"]},
    "unet.levels": {"int": [2, 5], "when": {"generator": "unet"}},
    "adversary": {"choice": ["none", "pooled"]},
    "losses.l1": {"float": [0.1, 100.0], "log": True},
    "optimizer.generator_lr": {"float": [1e-5, 1e-2], "log": True},
    "optimizer.batch_size": {"int": [8, 64]},
    "patches.size": {"choice": [32, 64]},
}
PLANNED = 30


def trial(number: int, config: Mapping[str, Any], values: Mapping[str, float], **fields: Any) -> TrialRecord:
    """A completed trial of 30 epochs and one core-hour, unless `fields` say otherwise; subjects score as the mean."""
    subjects = fields.pop("subjects", dict.fromkeys(SUBJECTS, values))
    history = fields.pop("history", [])
    adversary = config.get("adversary", "none")
    fixed = {
        "trial": number,
        "outcome": "completed",
        "family": "cnn" if adversary == "none" else "gan",
        "generator": config.get("generator"),
        "adversary": adversary,
        "epochs": PLANNED,
        "epochs_planned": PLANNED,
        "seconds": 3600.0,
        "ended": BEGAN + timedelta(hours=number + 1),
        "config": json.dumps(config, sort_keys=True),
    }
    scored = [(subject, metric, value) for subject, own in subjects.items() for metric, value in own.items()]
    return TrialRecord(number, {**fixed, **fields}, dict(values), dict(flatten(config)), history, scored)


def index_of(
    trials: Sequence[TrialRecord],
    domains: Mapping[str, Any],
    *,
    objectives: Mapping[str, str] | None = None,
    **manifest: Any,
) -> Index:
    """The index of trials."""
    tables = join([rows_of(record, "stamp") for record in trials])
    described = {
        "schema_version": 1,
        "sweep": "known",
        "description": "a search whose answer is known",
        "data_key": "0123456789abcdef",
        "objectives": dict(objectives or {"psnr": "maximize"}),
        "baselines": {},
        "budget": {"trials": len(trials)},
        "metrics": METRICS,
        "config_schema": {},
        "searched": list(domains),
        "domains": dict(domains),
        "program": __version__,
        "written": timestamp(),
    }
    return Index({**described, **manifest}, tables.trials, tables.history, tables.subjects)


def known_trials(count: int, *, seed: int = 0, prune: bool = True) -> list[TrialRecord]:
    """Trials drawn at random over `DOMAINS`.

    The learning rate matters most (best at 1e-3), then the weight of l1 (the more the better, so that the best lies
    at the upper end of its range) and the generator; the batch size and the patch size do nothing. Three in four
    of the bad ones are pruned after 9 epochs, half of the middling ones after 18; one in twenty diverges.
    """
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        config = _draw(rng)
        psnr = _quality(config) + 0.2 * rng.standard_normal()
        ssim = float(np.clip(0.4 + 0.02 * psnr - (0.08 if config["generator"] == "unet" else 0.0), -1, 1))
        values = {"psnr": float(psnr), "ssim": ssim}
        offsets = np.linspace(-1, 1, len(SUBJECTS)) + 0.1 * rng.standard_normal(len(SUBJECTS))
        offsets -= offsets.mean()
        subjects = {name: {"psnr": psnr + off, "ssim": ssim} for name, off in zip(SUBJECTS, offsets, strict=True)}
        ending = _ending(rng, float(psnr)) if prune else {}
        diverged = ending.get("outcome") == "rejected"
        kept = {} if diverged else values
        trials.append(trial(number, config, kept, subjects={} if diverged else subjects, **ending))
    return trials


def write_known(results: Path, trials: Sequence[TrialRecord], name: str = "known", **manifest: Any) -> SweepDirectory:
    """A sweep that has ended, whose index alone is on disk."""
    sweep = SweepDirectory(results / name)
    asked = {"schema_version": 1, "name": name, "objectives": {"psnr": "maximize"}, "budget": {"trials": len(trials)}}
    write_yaml(sweep.sweep_yaml, asked)
    write_index(sweep, index_of(trials, DOMAINS, **{"sweep": name, **manifest}))
    write_heartbeat(sweep, state="done")
    return sweep


def _draw(rng: np.random.Generator) -> dict[str, Any]:
    generator = str(rng.choice(["dcgan", "unet"]))
    return {
        "generator": generator,
        **({"unet": {"levels": int(rng.integers(2, 6))}} if generator == "unet" else {}),
        "adversary": str(rng.choice(["none", "pooled"])),
        "losses": {"l1": float(10 ** rng.uniform(-1, 2))},
        "optimizer": {"generator_lr": float(10 ** rng.uniform(-5, -2)), "batch_size": int(rng.integers(8, 65))},
        "patches": {"size": int(rng.choice([32, 64]))},
        "seed": 0,
    }


def _quality(config: Mapping[str, Any]) -> float:
    rate, weight = np.log10(config["optimizer"]["generator_lr"]), np.log10(config["losses"]["l1"])
    levels = config.get("unet", {}).get("levels", 0)
    return float(24 - 1.5 * (rate + 3) ** 2 + 0.9 * weight + (1.0 + 0.3 * levels if levels else 0.0))


def _ending(rng: np.random.Generator, psnr: float) -> dict[str, Any]:
    if rng.random() < 0.05:
        message = "The loss became NaN in epoch 3."
        return {"outcome": "rejected", "reason": "diverged", "message": message, "epochs": 2, "seconds": 240.0}
    if psnr < 23.5 and rng.random() < 0.75:
        return {"outcome": "pruned", "rung": 9, "epochs": 9, "seconds": 1080.0}
    if psnr < 25 and rng.random() < 0.5:
        return {"outcome": "pruned", "rung": 18, "epochs": 18, "seconds": 2160.0}
    return {}
