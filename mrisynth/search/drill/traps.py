"""Traps: moments at which a driver kills itself with SIGKILL, as precisely as no other process could.

A moment is "KIND:N" (right after the Nth event of that kind is on disk), "mid-epoch:N" (a while after the Nth epoch
event, when the next epoch is being trained), "half-index:N" (the Nth index has its tables but not its manifest), or
"never". It is counted from when the trap was set.
"""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mrisynth.files import write_bytes
from mrisynth.results import index, store
from mrisynth.results.store import SweepDirectory

NEVER = "never"

LATER = 0.1
"""Seconds from one epoch's record into the middle of the next epoch."""

_COUNTS = {"mid-epoch": "epoch", "half-index": "index-begin"}
"""Moments that are no events themselves, and the events that they are counted by."""


def trap_file(sweep: SweepDirectory) -> Path:
    """The file through which a trap is set for the driver of a sweep."""
    return sweep.root / "drill" / "trap"


def set_trap(sweep: SweepDirectory, moment: str) -> None:
    """Set a trap for the driver that runs, or for the next one."""
    write_bytes(trap_file(sweep), moment.encode())


def clear_trap(sweep: SweepDirectory) -> None:
    """Take a trap away."""
    trap_file(sweep).unlink(missing_ok=True)


def die(*_: object) -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Trap:
    """A trap within a driver.

    Attributes:
        kind: the moment's, without its number.
        left: how many events of the counted kind are still to come.
    """

    kind: str = NEVER
    left: int = 0

    @classmethod
    def parse(cls, moment: str) -> "Trap":
        """The trap for a moment."""
        kind, _, count = moment.partition(":")
        return cls(kind, int(count or 0))

    def hear(self, event: str) -> None:
        """An event is on disk."""
        if event != _COUNTS.get(self.kind, self.kind):
            return
        self.left -= 1
        if self.left == 0 and self.kind == "mid-epoch":
            threading.Timer(LATER, die).start()
        elif self.left == 0 and self.kind != "half-index":
            die()

    def hear_manifest(self) -> None:
        """The manifest of an index is about to be written; its tables are."""
        if self.kind == "half-index" and self.left <= 0:
            die()


@dataclass
class SetTrap:
    """The trap that stands in the trap file of a sweep, whenever it was set."""

    path: Path
    _trap: Trap = field(default_factory=Trap)
    _stamp: int = 0

    def look(self) -> Trap:
        """The trap as it is now; one that was set anew counts from now on."""
        try:
            stamp = self.path.stat().st_mtime_ns
            if stamp != self._stamp:
                self._stamp, self._trap = stamp, Trap.parse(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._trap = Trap()
        return self._trap


def arm(look: Callable[[], Trap]) -> None:
    """Let this process walk into a trap, before anything else has imported what this changes.

    Args:
        look: the trap as it is now; called whenever something happens.
    """
    indexing: Any = index
    append_event, write_json = store.append_event, indexing.write_json

    def append_and_look(sweep: SweepDirectory, kind: str, **fields: Any) -> None:
        append_event(sweep, kind, **fields)
        look().hear(kind)

    def look_and_write(path: Path, value: Any) -> None:
        look().hear_manifest()
        write_json(path, value)

    store.append_event, indexing.write_json = append_and_look, look_and_write
