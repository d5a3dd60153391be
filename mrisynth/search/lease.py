"""One driver holds a sweep: a lock that a dead driver loses, a sign of life, and how it is asked to stop.

On one host the kernel's lock decides. Where the folder is shared among hosts and locks do not reach, the signs of life
do: a driver that gave none for a minute has lost the sweep to whoever takes it. It may only have slept (SIGSTOP, a lid
that was closed); awake again it finds another token in `lease.json` and must not write any more.
"""

import contextlib
import os
import secrets
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from mrisynth.errors import HeldError, MrisynthError, NotFoundError
from mrisynth.files import read_json, write_json
from mrisynth.results.control import clear_stop, is_stop_requested
from mrisynth.results.store import STALE_AFTER, State, SweepDirectory, timestamp, write_heartbeat

HEARTBEAT_EVERY = 5.0
"""Seconds between two signs of life."""

SURE_FOR = 20.0
"""Seconds after a sign of life during which nobody can have taken the sweep; well under `STALE_AFTER`."""

SETTLES_IN = 2.0
"""Seconds after which two hosts that took a sweep in the same moment see whose lease stands."""


class LeaseLostError(MrisynthError):
    """Another driver has the sweep by now."""


def now() -> float:
    """Seconds that go on while the process, or the machine, sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(slots=True)
class Lease:
    """A sweep, held.

    Attributes:
        sweep: the sweep.
        state: what the sweep shall be said to be when the lease ends; at first, what it was before.
        signal: the signal that asked for an end, or None.
        lost: whether another driver has the sweep by now.
        ran_before: how long earlier drivers had the sweep, as their last signs of life say, in seconds.
        nodes: asked at every sign of life: node -> the trials that run there.
    """

    sweep: SweepDirectory
    state: State = "failed"
    signal: int | None = None
    lost: bool = False
    ran_before: float = 0.0
    nodes: Callable[[], dict[str, list[int]]] = dict
    _began: float = field(default_factory=now)
    _token: str = field(default_factory=lambda: secrets.token_hex(8))
    _sure_until: float = 0.0
    _asked: threading.Event = field(default_factory=threading.Event)

    def ran(self) -> float:
        """For how long drivers have had the sweep, this one included, in seconds."""
        return self.ran_before + now() - self._began

    def should_stop(self) -> bool:
        """Whether a signal or a request asked for an end, or the sweep is not ours any more."""
        return self._asked.is_set()

    def check(self) -> None:
        """See to it before every write that the sweep is still ours.

        Raises:
            LeaseLostError: it is not.
        """
        if not self.lost and now() > self._sure_until:
            self._look()
        if self.lost:
            raise LeaseLostError(
                f"another driver took {self.sweep.root} while this one gave no sign of life for over "
                f"{STALE_AFTER:.0f} s; this one has stopped writing, and nothing is lost: {_holder(self.sweep)}"
            )

    def beat(self) -> None:
        """Give a sign of life, and see whether somebody asked for an end."""
        began = now()
        self._look()
        if self.lost:
            return
        if is_stop_requested(self.sweep):
            self._asked.set()
        write_heartbeat(self.sweep, state="running", ran=self.ran(), nodes=self.nodes())
        self._sure_until = began + SURE_FOR

    def take(self) -> None:
        """Write down that the sweep is ours."""
        holder = {"token": self._token, "pid": os.getpid(), "host": socket.gethostname(), "time": timestamp()}
        write_json(self.sweep.lease, {"schema_version": 1, **holder})

    def end(self) -> None:
        """Give the last sign of life, which says how it ended.

        Raises:
            LeaseLostError: the sweep is another driver's by now.
        """
        self.check()
        write_heartbeat(self.sweep, state=self.state, ran=self.ran())

    def catch_signals(self) -> None:
        """Take SIGINT and SIGTERM; once more after `ray.init`, which takes SIGTERM for itself."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._on_signal)

    def _look(self) -> None:
        """See whose lease stands; one that is gone is nobody's."""
        with contextlib.suppress(NotFoundError):
            self.lost = read_json(self.sweep.lease)["token"] != self._token
        if self.lost:
            self._asked.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """The first signal asks for a clean end; the second one ends it at once."""
        if self.signal is not None:
            raise KeyboardInterrupt(number)
        self.signal = number
        self._asked.set()


@contextmanager
def hold(sweep: SweepDirectory, *, pause: Callable[[float], None] = time.sleep) -> Iterator[Lease]:
    """Hold a sweep for as long as the block lasts.

    Args:
        sweep: the sweep.
        pause: called with the seconds to wait, where it is taken from a driver on another host.

    Raises:
        HeldError: another driver holds it; the message says which, and how long ago it gave a sign of life.
    """
    lock = FileLock(sweep.root / "driver.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise _held(sweep) from None
    try:
        beat = _last_beat(sweep)
        lease = Lease(sweep, state=_state_before(beat), ran_before=beat.get("ran", 0.0) if beat else 0.0)
        _take(lease, pause)
        handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
        lease.catch_signals()
        try:
            with _beating(lease):
                yield lease
        except KeyboardInterrupt:
            lease.state = "stopped"
            raise
        finally:
            with contextlib.suppress(LeaseLostError):
                lease.end()
            _restore(handlers)
    finally:
        lock.release()


def wait_until_free(sweep: SweepDirectory, *, say: Callable[[str], None], pause: Callable[[float], None]) -> None:
    """Wait for the lease of a driver on another host that may have died a moment ago; a minute at most.

    Args:
        sweep: the sweep.
        say: called with one sentence before the first pause.
        pause: called with the seconds to wait.

    Raises:
        HeldError: it gives signs of life.
    """
    first = _last_beat(sweep)
    beat = first
    while first and beat and _is_elsewhere(beat) and beat["age"] < STALE_AFTER:
        if beat["time"] != first["time"]:
            raise _held(sweep)
        if beat is first:
            say(
                f"{sweep.root} was driven on {beat['host']} {beat['age']:.0f} s ago; waiting whether that driver "
                f"lives, for {STALE_AFTER - beat['age']:.0f} s at most"
            )
        pause(HEARTBEAT_EVERY)
        beat = _last_beat(sweep)


def _is_elsewhere(beat: dict[str, Any]) -> bool:
    """Whether a driver on another host gave this sign of life, and said that it goes on."""
    return bool(beat["state"] == "running" and beat["host"] != socket.gethostname())


def _take(lease: Lease, pause: Callable[[float], None]) -> None:
    """Take a sweep whose lock is ours, unless a driver on another host lives, whom locks may not reach."""
    beat = _last_beat(lease.sweep)
    elsewhere = beat is not None and _is_elsewhere(beat)
    if beat and elsewhere and beat["age"] < STALE_AFTER:
        raise _held(lease.sweep)
    lease.take()
    if elsewhere:
        pause(SETTLES_IN)
        lease.check()
    clear_stop(lease.sweep)


@contextmanager
def _beating(lease: Lease) -> Iterator[None]:
    """Give a sign of life now and every few seconds, from a thread, until the lease ends or is lost."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_EVERY) and not lease.lost:
            with contextlib.suppress(OSError):  # a full disk may be emptied again
                lease.beat()

    lease.beat()
    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _held(sweep: SweepDirectory) -> HeldError:
    beat = _last_beat(sweep)
    if beat is None:
        return HeldError(f"{sweep.root} is held by another process; one driver at a time")
    held = f"{sweep.root} is held by process {beat['pid']} on {beat['host']}, whose last sign of life is"
    return HeldError(
        f"{held} {beat['age']:.0f} s old; wait for it, or stop it: mrisynth stop {sweep.root}"
        + (f" (it gives none any more: is it suspended? kill -CONT {beat['pid']})" if beat["age"] > STALE_AFTER else "")
    )


def _state_before(beat: dict[str, Any] | None) -> State:
    """What a sweep is again if nothing is done with it; one whose driver was killed is stopped."""
    state: State = "failed" if beat is None else beat["state"]
    return "stopped" if state == "running" else state


def _holder(sweep: SweepDirectory) -> str:
    holder = read_json(sweep.lease)
    return f"process {holder['pid']} on {holder['host']} has it since {holder['time']}"


def _last_beat(sweep: SweepDirectory) -> dict[str, Any] | None:
    """The last sign of life with its `age` in seconds, by the clock of the file system: those of hosts differ."""
    try:
        beat: dict[str, Any] = read_json(sweep.heartbeat)
        with tempfile.NamedTemporaryFile(prefix=".now-", dir=sweep.root) as probe:
            age = os.fstat(probe.fileno()).st_mtime - sweep.heartbeat.stat().st_mtime
    except (NotFoundError, FileNotFoundError):
        return None
    return {**beat, "age": max(0.0, age)}


def _restore(handlers: list[tuple[signal.Signals, Any]]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers:
            signal.signal(number, handler)
