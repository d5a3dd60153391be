"""A toy search: a space of one number and one choice, and a trial that trains nothing.

A toy trial leaves on disk and yields what a real one does; its scores follow from its configuration alone. Ray's
workers import this file, so it imports little.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from mrisynth.files import read_json, write_bytes, write_json
from mrisynth.results.store import SweepDirectory, TrialDirectory, append_record

EPOCHS = 4
TRAIN = "mrisynth.search.drill.toy:train_toy"
SEARCHED = ("x", "kind", "bend")
"""The parameters of the toy space."""

HOG_WAITS = 20.0
"""Seconds that a trial with too much memory waits for its end; then it gives the memory back and goes on."""


@dataclass(frozen=True)
class ToyConfig:
    """What a `TrialConfig` looks like to the search."""

    values: dict[str, Any]

    @property
    def family(self) -> str:
        """Toys are of one family, unless they ask for another."""
        return "gan" if self.values.get("gan") else "cnn"

    @property
    def epochs(self) -> int:
        """How long it trains."""
        return int(self.values.get("epochs", EPOCHS))

    def dump(self) -> dict[str, Any]:
        """The whole configuration."""
        return {"epochs": EPOCHS, **self.values}


def suggest_toy(trial: optuna.Trial) -> ToyConfig:
    """One number, one choice, and a number that exists for one choice only."""
    x = trial.suggest_float("x", 0.0, 1.0)
    kind = trial.suggest_categorical("kind", ["plain", "bent"])
    bend = trial.suggest_int("bend", 1, 9) if kind == "bent" else 0
    return ToyConfig({"x": x, "kind": kind, "bend": bend})


def score(config: dict[str, Any], epoch: int) -> float:
    """The toy's psnr: best at x = 0.3, and better with every epoch."""
    return float(30 - 20 * (config["x"] - 0.3) ** 2 - config.get("bend", 0) / 10 - 1 / epoch)


def hog_file(sweep: SweepDirectory) -> Path:
    """A file with a number of megabytes; the next epoch of any trial takes them, and the file away."""
    return sweep.root / "drill" / "hog"


def taken_file(trial: TrialDirectory) -> Path:
    """What becomes of that file when this trial takes it."""
    return trial.root / "hog"


def begun_file(trial: TrialDirectory) -> Path:
    """One line for each epoch that was begun, with the attempt that began it; nothing of it is ever taken back."""
    return trial.root / "begun.jsonl"


def behave(config: dict[str, Any], epoch: int, trial: TrialDirectory) -> None:
    """Spend an epoch: wait as long as the configuration says, or take the memory that the drill asks for."""
    time.sleep(config.get("wait", 0.0))
    request = hog_file(SweepDirectory(trial.root.parent.parent))
    if epoch > 1 and request.is_file():
        taken = taken_file(trial)
        try:
            request.rename(taken)
        except FileNotFoundError:  # another trial was quicker
            return
        hog(int(taken.read_text(encoding="utf-8")))


def hog(megabytes: int, *, seconds: float = HOG_WAITS) -> None:
    """Take that much memory, and wait to be killed for it."""
    taken = [bytearray(os.urandom(1024)) * 1024 for _ in range(megabytes)]
    time.sleep(seconds)
    taken.clear()


def train_toy(
    config: dict[str, Any],
    *,
    store: Path,
    directory: Path,
    rungs: tuple[int, ...] = (),
    device: str = "cpu",
    attempt: str = "local",
    confirm: Callable[[], None] = lambda: None,
    spend: Callable[[dict[str, Any], int, TrialDirectory], None] = behave,
) -> Iterator[dict[str, Any]]:
    """Train nothing, and leave on disk and yield what a trial would.

    Args:
        config: the trial's flat configuration.
        store: not read.
        directory: the trial's folder.
        rungs: the epochs after which it is scored before its end.
        device: not used.
        attempt: the token of the attempt.
        confirm: called before anything is written; raises where the trial is another attempt's by now.
        spend: called with (config, epoch, trial) in every epoch.
    """
    trial = TrialDirectory(directory)
    state: dict[str, Any] = {"epoch": 0, "history": []}
    checkpoint = trial.checkpoint / "state.json"
    if checkpoint.is_file():
        state = read_json(checkpoint)
        lines = "".join(json.dumps(line) + "\n" for line in state["history"]).encode()
        whole = trial.history.is_file() and trial.history.read_bytes() == lines
        write_bytes(trial.history, lines)
        _summarize(trial, config, state["history"][-1])
        if state["history"][-1]["final"] or not whole:
            yield state["history"][-1]
    history = state["history"]
    for epoch in range(state["epoch"] + 1, config["epochs"] + 1):
        confirm()
        append_record(begun_file(trial), {"epoch": epoch, "attempt": attempt, "pid": os.getpid()})
        spend(config, epoch, trial)
        record = _record(config, epoch, scored=epoch in rungs or epoch == config["epochs"], attempt=attempt)
        history.append(record)
        confirm()
        write_json(checkpoint, {"epoch": epoch, "history": history})
        with trial.history.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        _summarize(trial, config, record)
        yield record


def _record(config: dict[str, Any], epoch: int, *, scored: bool, attempt: str) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "epochs": config["epochs"],
        "final": epoch == config["epochs"],
        "train": {"l1": 1 / epoch},
        "validation": {"l1": 2 / epoch},
        "scores": {"psnr": score(config, epoch), "ssim": score(config, epoch) / 40} if scored else None,
        "seconds": 1.0,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "attempt": attempt,
    }


def _summarize(trial: TrialDirectory, config: dict[str, Any], record: dict[str, Any]) -> None:
    if record["scores"] is None:
        return
    summary = {"final": record["final"], "epochs": record["epoch"], "epochs_planned": config["epochs"]}
    parameters = {"generator_parameters": 10, "adversary_parameters": 0, "family": "cnn", "device": "cpu"}
    write_json(
        trial.summary,
        {"schema_version": 1, **summary, "values": record["scores"], "subjects": {}, "seconds": 1.0, **parameters},
    )
