"""A trial that trains nothing, and leaves on disk and yields what a real one would.

Its score follows from its configuration alone; it can be told to wait, to raise, to die, to reject itself. Workers
import this file, so it imports little.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mrisynth.files import read_json, write_bytes, write_json
from mrisynth.results.store import TrialDirectory


def score(config: dict[str, Any], epoch: int) -> float:
    """Best at x = 0.3, and better with every epoch."""
    return 30 - 20 * (config["x"] - 0.3) ** 2 - config.get("bend", 0) / 10 - 1 / epoch


def train_stub(
    config: dict[str, Any],
    *,
    store: Path,
    directory: Path,
    rungs: tuple[int, ...] = (),
    device: str = "cpu",
    attempt: str = "local",
    confirm: Callable[[], None] = lambda: None,
) -> Iterator[dict[str, Any]]:
    """Train nothing, and leave on disk and yield what a trial would."""
    trial, state = TrialDirectory(directory), {"epoch": 0}
    checkpoint = trial.checkpoint / "state.json"
    if checkpoint.is_file():
        state = read_json(checkpoint)
        lines = "".join(json.dumps(line) + "\n" for line in state["history"]).encode()
        whole = trial.history.is_file() and trial.history.read_bytes() == lines
        write_bytes(trial.history, lines)
        _summarize(trial, config, state["history"][-1])
        if state["history"][-1]["final"] or not whole:
            yield state["history"][-1]
    history = state.get("history", [])
    for epoch in range(state["epoch"] + 1, config["epochs"] + 1):
        _misbehave(config, epoch, trial)
        scored = epoch in rungs or epoch == config["epochs"]
        record = {
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
        history.append(record)
        confirm()
        write_json(checkpoint, {"epoch": epoch, "history": history})
        with trial.history.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        _summarize(trial, config, record)
        yield record


def _summarize(trial: TrialDirectory, config: dict[str, Any], record: dict[str, Any]) -> None:
    if record["scores"] is None:
        return
    summary = {"final": record["final"], "epochs": record["epoch"], "epochs_planned": config["epochs"]}
    parameters = {"generator_parameters": 10, "adversary_parameters": 0, "family": "cnn", "device": "cpu"}
    write_json(
        trial.summary,
        {"schema_version": 1, **summary, "values": record["scores"], "subjects": {}, "seconds": 1.0, **parameters},
    )


def _meet(count: int, trial: TrialDirectory) -> None:
    """Wait until so many trials have begun, however long a second worker takes to start."""
    (trial.root / "here").touch()
    deadline = time.monotonic() + 90
    while len(list(trial.root.parent.glob("*/here"))) < count:
        assert time.monotonic() < deadline, "no other trial began"
        time.sleep(0.05)


def _hog(megabytes: int) -> None:
    """Take that much memory, and wait to be killed for it."""
    taken = []
    for _ in range(megabytes):
        taken.append(bytearray(os.urandom(1024)) * 1024)
    time.sleep(60)


def _misbehave(config: dict[str, Any], epoch: int, trial: TrialDirectory) -> None:
    """Do what the configuration asks for in this epoch: meet others, wait, raise, die once, or reject itself."""
    if epoch == 1 and "meet" in config:
        _meet(config["meet"], trial)
    if "wait" in config:
        time.sleep(config["wait"])
    if epoch == config.get("raise_at"):
        raise OSError("the disk is gone")
    if epoch == config.get("die_at") and not (trial.root / "died").exists():
        (trial.root / "died").touch()
        os.kill(os.getpid(), 9)
    if epoch == config.get("hog_at"):
        _hog(config["megabytes"])
    if epoch == config.get("too_large_at") and not (config.get("once") and (trial.root / "too large").exists()):
        (trial.root / "too large").touch()
        raise MemoryError("cannot allocate 90 GB")
    if epoch == config.get("reject_at"):
        from mrisynth.training.diagnosis import TrialRejected

        raise TrialRejected("diverged", f"epoch {epoch}: the training loss 'l1' is nan")
