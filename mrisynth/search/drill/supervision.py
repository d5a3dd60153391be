"""Drives of a toy sweep, one after the other, each in a process of its own that may be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mrisynth.errors import MrisynthError
from mrisynth.results.store import SweepDirectory, read_events
from mrisynth.search.drill.traps import clear_trap

Found = TypeVar("Found")

WAITS = 180.0
"""Seconds after which what was waited for will not come: Ray takes 60 to notice some deaths, orphans get 60 more."""

_LOOK_EVERY = 0.05


class SpentError(Exception):
    """The driver has ended because the budget is spent: there is nothing left to be interrupted."""


class FailedError(Exception):
    """A driver ended by itself, with an error, or nothing happened any more."""


@dataclass(slots=True)
class Drives:
    """The drives of one toy sweep.

    Attributes:
        sweep: the sweep.
        count: how many drives there were.
        process: the last one's process.
    """

    sweep: SweepDirectory
    count: int = 0
    process: subprocess.Popen[bytes] | None = None
    _heard: int = 0
    _began: float = field(default_factory=time.monotonic)

    @property
    def log(self) -> Path:
        """What the drivers said."""
        return self.sweep.root / "drill" / "driver.log"

    @property
    def seconds(self) -> float:
        """Seconds since the first one might have begun."""
        return time.monotonic() - self._began

    @property
    def driver(self) -> subprocess.Popen[bytes]:
        """The driver that was started last."""
        assert self.process is not None
        return self.process

    def is_driven(self) -> bool:
        """Whether a driver lives."""
        return self.process is not None and self.process.poll() is None

    def ensure(self, environment: Mapping[str, str] | None = None) -> None:
        """See to it that a driver lives; what is heard from now on is its."""
        self._heard = len(read_events(self.sweep))
        if self.is_driven():
            return
        self.count += 1
        self.log.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "mrisynth.search.drill.toy_driver", str(self.sweep.root)]
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is for us, who end it.
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **(environment or {})}, start_new_session=True
            )

    def events(self) -> list[dict[str, Any]]:
        """What the driver has noted since `ensure`."""
        return read_events(self.sweep)[self._heard :]

    def wait_for(self, look: Callable[[], Found | None]) -> Found:
        """Wait until `look` finds something.

        Raises:
            SpentError: the driver has done its work before.
            FailedError: the driver has ended otherwise, or it took too long.
        """
        deadline = time.monotonic() + WAITS
        while True:
            ended = not self.is_driven()
            if (found := look()) is not None:
                return found
            if ended:
                raise SpentError if self.driver.returncode == 0 else FailedError(self._explain())
            if time.monotonic() > deadline:
                self.kill()
                raise FailedError(f"nothing happened for {WAITS:.0f} s")
            time.sleep(_LOOK_EVERY)

    def pause(self, seconds: float) -> None:
        """Wait so many seconds with a driver that lives.

        Raises:
            SpentError: the driver has done its work before.
            FailedError: the driver has ended otherwise.
        """
        until = time.monotonic() + seconds
        self.wait_for(lambda: True if time.monotonic() >= until and self.is_driven() else None)

    def kill(self) -> int:
        """End the driver as `kill -9` does: its process id."""
        self.driver.kill()
        self.driver.wait()
        return self.driver.pid

    def stop(self) -> None:
        """End a driver that lives cleanly, or at once if it does not listen."""
        if self.is_driven():
            self.driver.send_signal(signal.SIGTERM)
            try:
                self.driver.wait(WAITS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise MrisynthError(f"the driver did not listen to SIGTERM for {WAITS:.0f} s") from None

    def abandon(self) -> None:
        """End whatever lives, whatever happened."""
        clear_trap(self.sweep)
        if self.is_driven():
            self.kill()

    def _explain(self) -> str:
        """Why the driver ended, as far as it said."""
        lines = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return f"the driver ended with code {self.driver.returncode}: {lines[-1] if lines else 'it said nothing'}"
