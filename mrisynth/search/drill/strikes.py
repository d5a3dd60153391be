"""How each kind of kill is carried out. Only processes of the drill's own are killed, each by its id."""

import os
import signal
import socket
import time
from typing import Any

import psutil

from mrisynth.files import write_bytes
from mrisynth.search.drill.kills import Kill
from mrisynth.search.drill.supervision import Drives
from mrisynth.search.drill.toy import hog_file, taken_file
from mrisynth.search.drill.toy_sweep import read_toy_settings
from mrisynth.search.drill.traps import clear_trap, set_trap

ROOM, HOG = 2000, 3000
"""Megabytes that may still be taken when the monitor begins, and that the trial takes which it shall end.

Ray itself and two workers take one of the first.
"""

FULLEST = 0.95
"""The memory monitor is not tried on a machine that is fuller than this."""


class SkippedError(Exception):
    """A kill that cannot be tried here."""


def strike(drives: Drives, kill: Kill) -> str:
    """Carry out one kill.

    Returns:
        What was killed, beyond the kind of kill.

    Raises:
        SpentError: the search was over before.
        FailedError: something else happened.
        SkippedError: it cannot be tried here.
    """
    if kill.fresh:
        drives.stop()
    if kill.victim == "memory":
        return _exhaust_memory(drives)
    if kill.trap:
        return _spring_trap(drives, kill.trap)
    drives.ensure()
    epoch = drives.wait_for(lambda: _last_epoch(drives))
    delay = kill.delay * read_toy_settings(drives.sweep).wait
    drives.pause(delay)
    if kill.victim == "worker":
        return _kill_worker(drives)
    if kill.victim == "ray":
        return _kill_ray(drives, kill.process)
    pid = drives.kill()
    return f"process {pid}, {delay:.1f} s after an epoch of trial {epoch['number']}"


def _spring_trap(drives: Drives, moment: str) -> str:
    set_trap(drives.sweep, moment)
    try:
        drives.ensure()
        drives.wait_for(lambda: drives.driver.poll() == -signal.SIGKILL or None)
    finally:
        clear_trap(drives.sweep)
    return f"process {drives.driver.pid}"


def _last_epoch(drives: Drives) -> dict[str, Any] | None:
    """The last epoch that was heard of, of a trial that goes on in a live process of this host."""
    events = drives.events()
    ended = {event["number"] for event in events if event["kind"] == "outcome"}
    epochs = [event for event in events if event["kind"] == "epoch" and event["number"] not in ended]
    here = [event for event in epochs if event["host"] == socket.gethostname() and _is_worker(event["pid"])]
    return here[-1] if here else None


def _is_worker(pid: int) -> bool:
    """Whether that process is a worker of Ray's, and not another one that got its number later."""
    try:
        return "".join(psutil.Process(pid).cmdline()).startswith("ray::")
    except psutil.Error:
        return False


def _kill_worker(drives: Drives) -> str:
    epoch = drives.wait_for(lambda: _last_epoch(drives))
    number, pid = epoch["number"], epoch["pid"]
    failures = _failures(drives, number)
    os.kill(pid, signal.SIGKILL)
    # Its last record may have ended the trial; then nobody misses it.
    drives.wait_for(lambda: _failures(drives, number) > failures or _has_ended(drives, number) or None)
    return f"process {pid}, after epoch {epoch['epoch']} of trial {number}"


def _failures(drives: Drives, number: int) -> int:
    return sum(event["kind"] == "attempt-failed" and event["number"] == number for event in drives.events())


def _has_ended(drives: Drives, number: int) -> bool:
    return any(event["kind"] == "outcome" and event["number"] == number for event in drives.events())


def _kill_ray(drives: Drives, name: str) -> str:
    children = psutil.Process(drives.driver.pid).children()
    victim = next((child for child in children if child.name() == name), None)
    if victim is None:
        raise SkippedError(f"the driver has started no {name}")
    victim.kill()
    before, began = len(drives.events()), time.monotonic()

    def look() -> str | None:
        if not drives.is_driven():
            return f"its driver ended after {time.monotonic() - began:.0f} s, with code {drives.driver.returncode}"
        since = [event["kind"] for event in drives.events()[before:]]
        again = "engine-broke" in since and "epoch" in since[since.index("engine-broke") :]
        return f"its driver went on after {time.monotonic() - began:.0f} s" if again else None

    return f"process {victim.pid}; {drives.wait_for(look)}"


def _exhaust_memory(drives: Drives) -> str:
    """Let a trial take more memory than Ray's monitor allows, which is switched on for this drive alone."""
    threshold = _threshold()
    drives.ensure({"RAY_memory_monitor_refresh_ms": "100", "RAY_memory_usage_threshold": f"{threshold:.4f}"})
    write_bytes(hog_file(drives.sweep), str(HOG).encode())
    try:
        failure = drives.wait_for(lambda: _killed_for_memory(drives))
    finally:
        hog_file(drives.sweep).unlink(missing_ok=True)
    drives.stop()
    trial = drives.sweep.trial(failure["number"])
    taken = f"which had taken {HOG} MB" if taken_file(trial).is_file() else "for what others had taken"
    return f"that of trial {trial.number}, {taken}"


def _killed_for_memory(drives: Drives) -> dict[str, Any] | None:
    failures = [event for event in drives.events() if event["kind"] == "attempt-failed"]
    return next((event for event in failures if "memory monitor" in event["message"]), None)


def _threshold() -> float:
    """The share of memory at which the monitor shall act: what is taken now, and some room."""
    from ray._common.utils import get_system_memory
    from ray._private.utils import get_used_memory

    total, used = get_system_memory(), get_used_memory()
    threshold = (used + ROOM * 2**20) / total
    if threshold > FULLEST or total - used < (ROOM + HOG) * 2**20:
        needed, free = (ROOM + HOG) / 1000, (total - used) / 1e9
        raise SkippedError(f"it needs {needed:.0f} GB of free memory, of which {free:.1f} are there")
    return float(threshold)
