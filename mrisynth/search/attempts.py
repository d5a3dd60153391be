"""Attempts: who may write into a trial's folder, who did, and why an attempt failed.

The driver names the one valid attempt in the trial's `fence`; a worker that finds another name there has been replaced
and must not write any more. What a worker notes of itself stands in `attempts/<token>.json`.
"""

import os
import secrets
import socket
import time
from dataclasses import dataclass
from typing import Literal

from mrisynth import __version__
from mrisynth.files import read_json, write_bytes, write_json
from mrisynth.results.store import TrialDirectory, timestamp
from mrisynth.search.storage.outage import is_disk_error

FENCE = "fence"
"""The file in a trial's folder that names the one attempt that may write there."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed.

    Attributes:
        reason: what failed; of "out of memory" the trial is to blame in the end, of the others it is not.
        message: one sentence.
        everywhere: whether it would happen to any trial on that node, one after the other: the sweep must not go on.
        excused: whether another trial is to blame, and ends by it sooner or later: it uses up none of the retries.
    """

    reason: Literal["worker", "node", "storage", "out of memory"] = "worker"
    message: str = "its worker died"
    everywhere: bool = False
    excused: bool = False


VISIBLE_WITHIN = 5.0
"""How long a file of another host's may take to be seen on a network file system, in seconds."""


class FencedError(RuntimeError):
    """A worker that was taken for dead found that another one has its trial."""


class UnfitNodeError(RuntimeError):
    """No trial can run on this node: it may have joined the cluster after the others were looked at."""


def refuse_unfit_node(directory: TrialDirectory, version: str) -> None:
    """See to it, before a worker touches a trial, that this node is one that can run trials.

    Raises:
        UnfitNodeError: it has another version of us, or does not see the trial's folder.
    """
    node = socket.gethostname()
    if version != __version__:
        raise UnfitNodeError(
            f"node {node} has mrisynth {__version__}, and the driver {version}; install the same version on every node"
        )
    deadline = time.monotonic() + VISIBLE_WITHIN
    while not (directory.root / FENCE).is_file():
        if time.monotonic() > deadline:
            raise UnfitNodeError(
                f"node {node} does not see {directory.root}; the results folder must be a shared one that every node "
                "has at the same path"
            )
        time.sleep(0.1)


def new_attempt(directory: TrialDirectory) -> str:
    """Name a new valid attempt; whoever holds the token before it must not write any more."""
    token = secrets.token_hex(8)
    write_bytes(directory.root / FENCE, token.encode())
    return token


def valid_attempt(directory: TrialDirectory) -> str:
    """The token of the one attempt that may write."""
    return (directory.root / FENCE).read_text(encoding="utf-8")


def check_attempt(directory: TrialDirectory, token: str) -> None:
    """Stop whoever would write into a trial that the driver has given to another worker.

    Raises:
        FencedError: it has.
    """
    if valid_attempt(directory) != token:
        raise FencedError(f"{directory.root} belongs to another attempt by now")


def write_attempt(directory: TrialDirectory, token: str, *, from_epoch: int, address: str | None = None) -> None:
    """Note that this process takes up a trial, after `from_epoch` epochs, on the node with that address."""
    write_json(
        directory.attempts / f"{token}.json",
        {
            "token": token,
            "host": socket.gethostname(),
            "address": address,
            "pid": os.getpid(),
            "started": timestamp(),
            "from_epoch": from_epoch,
        },
    )


def note_error(directory: TrialDirectory, token: str, error: Exception) -> None:
    """Add to the note of an attempt why it failed."""
    path = directory.attempts / f"{token}.json"
    if path.is_file():
        failure = describe_error(error)
        write_json(path, {**read_json(path), "error": failure.message, "reason": failure.reason})


def describe_error(error: BaseException) -> Failure:
    """What a worker raised, as a failure: of the storage where a disk is full or gone, else of the worker."""
    if isinstance(error, UnfitNodeError):
        return Failure("node", str(error), everywhere=True)
    return Failure("storage" if is_disk_error(error) else "worker", f"{type(error).__name__}: {error}")


def noted_failure(directory: TrialDirectory) -> Failure | None:
    """Why the valid attempt failed, as its worker noted it; a worker that is killed notes nothing."""
    note = directory.attempts / f"{valid_attempt(directory)}.json"
    stored = read_json(note) if note.is_file() else {}
    return Failure(stored.get("reason", "worker"), str(stored["error"])) if "error" in stored else None
