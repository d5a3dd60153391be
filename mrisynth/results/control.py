"""Requests to a sweep's driver: files in `control/`, so that whoever sees the folder can ask, without Ray.

The command line and the dashboard write them, the driver looks for them every few seconds and takes them away.
"""

import re

from mrisynth.files import write_bytes
from mrisynth.results.store import SweepDirectory

STOP = "stop"
"""The file that asks the driver to stop; with "-<number>" behind it, to stop one trial."""


def request_stop(sweep: SweepDirectory, trial: int | None = None) -> None:
    """Ask the driver of a sweep, wherever it runs, to stop cleanly, or to end one trial."""
    write_bytes(sweep.control / (STOP if trial is None else f"{STOP}-{trial}"), b"")


def is_stop_requested(sweep: SweepDirectory) -> bool:
    """Whether somebody asked for an end of the whole sweep."""
    return (sweep.control / STOP).exists()


def stop_requests(sweep: SweepDirectory) -> list[int]:
    """The trials of which somebody asked for an end, by number."""
    if not sweep.control.is_dir():
        return []
    found = (re.fullmatch(rf"{STOP}-([0-9]+)", path.name) for path in sweep.control.iterdir())
    return sorted(int(match[1]) for match in found if match)


def clear_stop(sweep: SweepDirectory, trial: int | None = None) -> None:
    """Take a request away: it was carried out, or came too late."""
    (sweep.control / (STOP if trial is None else f"{STOP}-{trial}")).unlink(missing_ok=True)
