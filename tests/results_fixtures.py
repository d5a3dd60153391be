"""A small results folder with every outcome, whose numbers are worked out by hand."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from mrisynth.files import write_json
from mrisynth.results.index import Indexer, write_index
from mrisynth.results.pictures import write_pictures
from mrisynth.results.store import (
    ShownSlices,
    SweepDirectory,
    TrialDirectory,
    append_event,
    write_heartbeat,
    write_shown,
    write_slices,
    write_yaml,
)

SUBJECTS = ("rat-1", "rat-2")
INDICES = (10, 20, 30)
SHAPE = (3, 40, 48)
BEGAN = datetime(2026, 11, 22, 12, tzinfo=UTC)
METRICS = {
    "psnr": {"unit": "dB", "direction": "maximize", "range": [0, None], "description": "peak signal-to-noise ratio"},
    "ssim": {"unit": "", "direction": "maximize", "range": [-1, 1], "description": "structural similarity"},
    "mae": {"unit": "", "direction": "minimize", "range": [0, 1], "description": "mean absolute error"},
}
# psnr of the first and the second subject.
BASELINES = {"identity": (20.0, 22.0), "matched": (22.0, 23.0)}
COMPLETED = {0: (25.0, 24.0), 1: (26.0, 27.0)}
PRUNED = {2: (18.0, 19.0)}
OUTCOMES = {0: "completed", 1: "completed", 2: "pruned", 3: "rejected", 4: "lost", 5: "running", 6: "queued"}
HOSTILE = "<script>alert(1)</script> **bold** $x$ [link](http://example.org)"


def scores(psnr: float) -> dict[str, float]:
    return {"psnr": psnr, "ssim": psnr / 100, "mae": 1 / psnr}


def per_subject(psnr: tuple[float, float]) -> dict[str, dict[str, float]]:
    return {subject: scores(value) for subject, value in zip(SUBJECTS, psnr, strict=True)}


def mean_scores(psnr: tuple[float, float]) -> dict[str, float]:
    each = [scores(value) for value in psnr]
    return {metric: (each[0][metric] + each[1][metric]) / 2 for metric in METRICS}


def config(number: int) -> dict[str, Any]:
    """Even trials are CNNs with an fcn, odd ones GANs with a unet."""
    generator: dict[str, Any] = (
        {
            "generator": "unet",
            "unet": {"filters": 16, "levels": 4},
            "adversary": "pooled",
            "pooled": {"filters": [64, 64]},
        }
        if number % 2
        else {"generator": "fcn", "fcn": {"filters": [16, 8], "kernels": [9, 5]}, "adversary": "none"}
    )
    return {
        **generator,
        "losses": {"adversarial": 1.0, "l1": 2.0} if number % 2 else {"mse": 1.0},
        "optimizer": {"generator_lr": 10.0 ** -(2 + number), "batch_size": 32},
        "epochs": 4,
        "seed": number,
    }


def epoch_record(number: int, epoch: int) -> dict[str, Any]:
    losses = {"l1": 1 / epoch + number / 10, "total": 2 / epoch + number / 10}
    return {
        "epoch": epoch,
        "epochs": 4,
        "final": epoch == 4,
        "train": losses,
        "validation": {"l1": losses["l1"] + 0.1, "l2": losses["l1"] ** 2},
        "scores": None,
        "seconds": 1.5,
        "pid": 7,
        "host": "node-1",
        "attempt": "a",
    }


def shown_slices(subject: str) -> ShownSlices:
    rng = np.random.default_rng(SUBJECTS.index(subject))
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
    tissue = ((rows - 20) / 17) ** 2 + ((columns - 24) / 20) ** 2 < 1
    high = np.where(tissue, 0.5 + 0.3 * np.sin(columns / 4 + np.arange(3)[:, None, None]), 0.02).astype(np.float32)
    low = (0.7 * high + 0.05 * rng.standard_normal(SHAPE)).astype(np.float32)
    mask = np.broadcast_to(tissue, SHAPE)
    return ShownSlices(subject, low, high, np.clip(low * 1.3, 0, 1), mask, INDICES, 0, (0.1, 0.1))


def generated_slices(number: int, subject: str) -> np.ndarray:
    shown = shown_slices(subject)
    noise = np.random.default_rng(100 + number).standard_normal(SHAPE)
    return (0.9 * shown.high + 0.1 * shown.low + 0.02 * noise).astype(np.float32)


def make_trial(sweep: SweepDirectory, number: int, *, epochs: int) -> TrialDirectory:
    trial = sweep.trial(number)
    trial.attempts.mkdir(parents=True)
    write_yaml(trial.config, config(number))
    if epochs:
        started = (BEGAN + timedelta(minutes=10 * number)).isoformat()
        write_json(trial.attempts / "a.json", {"token": "a", "host": "node-1", "pid": 7, "started": started})
        lines = [json.dumps(epoch_record(number, epoch)) for epoch in range(1, epochs + 1)]
        trial.history.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return trial


def add_summary(trial: TrialDirectory, psnr: tuple[float, float], *, epochs: int) -> None:
    names = []
    for subject in SUBJECTS:
        generated = generated_slices(trial.number, subject)
        write_slices(trial.images, subject, generated)
        names += write_pictures(trial.images, generated, shown_slices(subject), title=f"trial {trial.number}")
    summary = {
        "schema_version": 1,
        "final": epochs == 4,
        "epochs": epochs,
        "epochs_planned": 4,
        "values": mean_scores(psnr),
        "subjects": per_subject(psnr),
        "generator_parameters": 1000 * (trial.number + 1),
        "adversary_parameters": 500 if trial.number % 2 else None,
        "seconds": 1.5 * epochs,
        "family": "gan" if trial.number % 2 else "cnn",
        "device": "cpu",
        "versions": {"mrisynth": "0"},
        "images": names,
    }
    write_json(trial.summary, summary)


def add_outcome(
    trial: TrialDirectory,
    *,
    message: str,
    reason: str | None = None,
    rung: int | None = None,
    outcome: str | None = None,
) -> None:
    ended = (BEGAN + timedelta(minutes=10 * trial.number + 5)).isoformat()
    how = {"outcome": outcome or OUTCOMES[trial.number], "reason": reason, "rung": rung, "message": message}
    write_json(trial.outcome, {"schema_version": 1, **how, "values": {}, "time": ended})


def make_sweep(results: Path, name: str = "first", *, trials: bool = True) -> SweepDirectory:
    """A sweep with seven trials, one of each outcome and two completed, and no index yet."""
    sweep = SweepDirectory(results / name)
    asked = {"schema_version": 1, "name": name, "description": HOSTILE, "data_key": "0123456789abcdef", "seed": 0}
    budget = {"trials": 10, "hours": 2.0}
    write_yaml(sweep.sweep_yaml, {**asked, "objectives": {"psnr": "maximize"}, "budget": budget})
    baselines = {key: {"values": mean_scores(psnr), "subjects": per_subject(psnr)} for key, psnr in BASELINES.items()}
    write_json(sweep.baselines, {"schema_version": 1, **baselines})
    for subject in SUBJECTS:
        write_shown(sweep.slices / subject, shown_slices(subject))
    append_event(sweep, "sweep started", trials=10)
    append_event(sweep, "index-written")
    if trials:
        _make_trials(sweep)
    return sweep


def copy_sweep(template: SweepDirectory, results: Path, name: str = "first") -> SweepDirectory:
    """A copy to change at will; much cheaper than making one."""
    return SweepDirectory(shutil.copytree(template.root, results / name))


def finish(sweep: SweepDirectory, state: Any = "running") -> SweepDirectory:
    """Write the index and a heartbeat, as the driver does."""
    write_index(sweep, Indexer(sweep, metrics=METRICS, searched=["generator", "optimizer.generator_lr"]).build())
    write_heartbeat(sweep, state=state)
    return sweep


def _make_trials(sweep: SweepDirectory) -> None:
    for number, psnr in COMPLETED.items():
        add_summary(trial := make_trial(sweep, number, epochs=4), psnr, epochs=4)
        add_outcome(trial, message=f"Completed after 4 epochs: psnr {sum(psnr) / 2}.")
    write_json(sweep.trial(1).origin, {"schema_version": 1, "name": "<b>unet-7</b> *star*", "retry_of": None})
    add_summary(trial := make_trial(sweep, 2, epochs=2), PRUNED[2], epochs=2)
    add_outcome(trial, message="Pruned at epoch 2: 2nd of 3.", rung=2)
    add_outcome(make_trial(sweep, 3, epochs=1), message="The loss became NaN in epoch 2.", reason="diverged")
    add_outcome(make_trial(sweep, 4, epochs=1), message="The worker died three times.", reason="worker")
    with make_trial(sweep, 5, epochs=2).history.open("a", encoding="utf-8") as stream:
        stream.write('{"epoch": 3, "tra')
    make_trial(sweep, 6, epochs=0)
    (sweep.trials / "notes of mine").mkdir()
    (sweep.trials / "07").mkdir()
    append_event(sweep, "rung", number=2, epoch=2, rung=0, value=18.5, pruned=True)
    append_event(sweep, "epoch", number=5, epoch=2)
    append_event(sweep, "outcome", number=3, outcome="rejected", reason="diverged")
    append_event(sweep, "outcome", number=1, outcome="completed", reason=None)
