"""The toy trial of the resume drill, which can also be told to raise, to die, to reject itself.

Workers import this file, so it imports little.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

from mrisynth.results.store import TrialDirectory
from mrisynth.search.drill.toy import hog, train_toy


def _meet(count: int, trial: TrialDirectory) -> None:
    """Wait until so many trials have begun, however long a second worker takes to start."""
    (trial.root / "here").touch()
    deadline = time.monotonic() + 90
    while len(list(trial.root.parent.glob("*/here"))) < count:
        assert time.monotonic() < deadline, "no other trial began"
        time.sleep(0.05)


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
        hog(config["megabytes"])
    if epoch == config.get("too_large_at") and not (config.get("once") and (trial.root / "too large").exists()):
        (trial.root / "too large").touch()
        raise MemoryError("cannot allocate 90 GB")
    if epoch == config.get("reject_at"):
        from mrisynth.training.diagnosis import TrialRejected

        raise TrialRejected("diverged", f"epoch {epoch}: the training loss 'l1' is nan")


def train_stub(config: dict[str, Any], **where: Any) -> Iterator[dict[str, Any]]:
    """Train nothing, and do what the configuration asks for."""
    # Looked up in every epoch: tests replace it meanwhile.
    yield from train_toy(config, spend=lambda *epoch: _misbehave(*epoch), **where)  # noqa: PLW0108


def measure_stub() -> tuple[int, int]:
    """What a stub trial takes of a GPU that is not there, and what that has, in bytes."""
    return 20 * 10**9, 80 * 10**9


def train_on_node(config: dict[str, Any], **where: Any) -> Iterator[dict[str, Any]]:
    """Train nothing, and report Ray's name of the node as the host: nodes of a test may be of one machine."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    for record in train_stub(config, **where):
        yield {**record, "host": node}
