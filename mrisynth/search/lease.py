"""One driver holds a sweep: a lock that a dead driver loses, a sign of life, and how it is asked to stop."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from mrisynth.errors import MrisynthError, NotFoundError
from mrisynth.files import read_json, write_bytes
from mrisynth.results.store import STALE_AFTER, State, SweepDirectory, write_heartbeat

HEARTBEAT_EVERY = 5.0
"""Seconds between two signs of life."""

STOP = "stop"
"""The file in `control/` that asks the driver to stop."""


@dataclass(slots=True)
class Lease:
    """A sweep, held.

    Attributes:
        sweep: the sweep.
        state: what the sweep shall be said to be when the lease ends.
        signal: the signal that asked for an end, or None.
    """

    sweep: SweepDirectory
    state: State = "failed"
    signal: int | None = None
    _asked: threading.Event = field(default_factory=threading.Event)

    def should_stop(self) -> bool:
        """Whether a signal or a request asked for an end."""
        return self._asked.is_set()

    def catch_signals(self) -> None:
        """Take SIGINT and SIGTERM; once more after `ray.init`, which takes SIGTERM for itself."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._on_signal)

    def look_for_request(self) -> None:
        """See whether somebody asked for an end through the sweep's folder."""
        if (self.sweep.control / STOP).exists():
            self._asked.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """The first signal asks for a clean end; the second one ends it at once."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        self._asked.set()


@contextmanager
def hold(sweep: SweepDirectory) -> Iterator[Lease]:
    """Hold a sweep for as long as the block lasts.

    Raises:
        MrisynthError: another driver holds it; the message says which, and how long ago it gave a sign of life.
    """
    lock = FileLock(sweep.root / "driver.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise _held(sweep) from None
    try:
        _refuse_remote(sweep)
        (sweep.control / STOP).unlink(missing_ok=True)
        lease, handlers = (
            Lease(sweep),
            [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        )
        lease.catch_signals()
        try:
            with _beating(lease):
                yield lease
        finally:
            write_heartbeat(sweep, state=lease.state)
            _restore(handlers)
    finally:
        lock.release()


def request_stop(sweep: SweepDirectory) -> None:
    """Ask the driver of a sweep, wherever it runs, to stop cleanly."""
    write_bytes(sweep.control / STOP, b"")


@contextmanager
def _beating(lease: Lease) -> Iterator[None]:
    """Give a sign of life now and every few seconds, from a thread."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_EVERY):
            lease.look_for_request()
            with contextlib.suppress(OSError):  # a full disk may be emptied again
                write_heartbeat(lease.sweep, state="running")

    write_heartbeat(lease.sweep, state="running")
    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _refuse_remote(sweep: SweepDirectory) -> None:
    """Refuse what a lock on a shared file system may not: a driver on another host that gave a sign of life."""
    beat = _last_beat(sweep)
    if beat and beat["state"] == "running" and beat["host"] != socket.gethostname() and beat["age"] < STALE_AFTER:
        raise _held(sweep)


def _held(sweep: SweepDirectory) -> MrisynthError:
    beat = _last_beat(sweep)
    if beat is None:
        return MrisynthError(f"{sweep.root} is held by another process; one driver at a time")
    return MrisynthError(
        f"{sweep.root} is held by process {beat['pid']} on {beat['host']}, whose last sign of life is "
        f"{beat['age']:.0f} s old; wait for it, or stop it: mrisynth stop {sweep.root}"
    )


def _last_beat(sweep: SweepDirectory) -> dict[str, Any] | None:
    try:
        beat: dict[str, Any] = read_json(sweep.heartbeat)
    except NotFoundError:
        return None
    age = (datetime.now(UTC) - datetime.fromisoformat(beat["time"])).total_seconds()
    return {**beat, "age": age}


def _restore(handlers: list[tuple[signal.Signals, Any]]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers:
            signal.signal(number, handler)
