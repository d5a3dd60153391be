"""Outages: a database that restarts, a disk that is full for a while. They are waited for, not died of."""

import errno
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mrisynth.errors import MrisynthError

Result = TypeVar("Result")

LASTS = 180.0
"""For how long an outage is waited for, in seconds: a minute of it, and what a database needs to come up again."""

SLOWEST = 2.0
"""The longest pause between two tries, in seconds."""

DISK = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EIO", "EROFS", "ESTALE", "ENXIO", "ENODEV")}
"""What the system says when a disk is full or gone."""

_CHUNK = 1 << 20


class StorageLostError(MrisynthError):
    """The study's database or the sweep's disk could not be used for longer than anybody waits."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How an outage is waited for.

    Attributes:
        seconds: for how long; 0: not at all.
        say: called with a sentence when the wait begins and when it ends well.
        interrupted: asked before every pause; once true, nobody waits any more.
        pause: called with the seconds to wait.
    """

    seconds: float = 0.0
    say: Callable[[str], None] = lambda _: None
    interrupted: Callable[[], bool] = lambda: False
    pause: Callable[[float], None] = time.sleep


AT_ONCE = Patience()
"""No outage is waited for."""


def is_disk_error(error: BaseException) -> bool:
    """Whether the system says that a disk is full or gone."""
    return isinstance(error, OSError) and error.errno in DISK


def is_outage(error: BaseException) -> bool:
    """Whether trying again may help: a disk that is full or gone, a database that cannot be reached or is locked."""
    if is_disk_error(error):
        return True
    from sqlalchemy import exc  # slow to import, and a worker has no database

    error = _cause(error)
    outages = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)
    return isinstance(error, outages) or (isinstance(error, exc.DBAPIError) and error.connection_invalidated)


def persist(attempt: Callable[[int], Result], *, where: str, patience: Patience) -> Result:
    """Call something until no outage keeps it from its end.

    Args:
        attempt: called with how often it was tried before.
        where: what is out of order, for the sentences.
        patience: for how long.

    Raises:
        StorageLostError: the outage lasted too long, or somebody asked for an end.
    """
    deadline, delay, tries = time.monotonic() + patience.seconds, 0.1, 0
    while True:
        try:
            result = attempt(tries)
        except Exception as error:
            if not is_outage(error):
                raise
            if patience.interrupted() or time.monotonic() >= deadline:
                raise StorageLostError(f"{where} cannot be used: {reason(error)}") from error
            if tries == 0:
                patience.say(f"{where} cannot be used ({reason(error)}); trying again for {patience.seconds:.0f} s")
            patience.pause(delay)
            delay, tries = min(2 * delay, SLOWEST), tries + 1
        else:
            if tries:
                patience.say(f"{where} can be used again")
            return result


def wait_for_room(folder: Path, *, size: int = 0, patience: Patience) -> None:
    """Wait until files can be written in a folder again.

    Args:
        folder: the folder.
        size: how much there is to write, in bytes; a MiB is tried in any case.
        patience: for how long.

    Raises:
        StorageLostError: they still cannot.
    """
    persist(lambda _: _probe(folder, max(size, _CHUNK)), where=f"the disk of {folder}", patience=patience)


def reason(error: BaseException) -> str:
    """The line of an error that says most."""
    cause = _cause(error)
    error = getattr(cause, "orig", None) or cause
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _cause(error: BaseException) -> BaseException:
    """What the database said, where Optuna says only that it said something."""
    from optuna.exceptions import StorageInternalError

    return error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error


def _probe(folder: Path, size: int) -> None:
    """Write `size` bytes into the folder, and take them away again."""
    with tempfile.TemporaryFile(prefix=".room-", dir=folder, buffering=0) as stream:
        block, left = bytes(_CHUNK), size
        while left > 0:
            left -= stream.write(block[: min(left, _CHUNK)])
        os.fsync(stream.fileno())
