"""A driver without Ray, to be suspended and woken: python lease_drill.py FOLDER HOST

On HOST "here" it is an ordinary one. Any other name is a host that shares nothing but the folder: kernel locks do not
reach there, and signs of life are given and missed twenty times as fast.
"""

import socket
import sys
from contextlib import contextmanager
from pathlib import Path

from search_fixtures import Executor, StubConfig, make_plan, make_search, suggest_stub

from mrisynth.errors import MrisynthError
from mrisynth.results.store import SweepDirectory
from mrisynth.search import driver, lease
from mrisynth.search.settings import Budget

TRIALS = 6


class NoLock:
    """A lock that does not reach the other host."""

    def __init__(self, path):
        pass

    def acquire(self, blocking):
        pass

    def release(self):
        pass


def move_to(host, patch=setattr):
    """Be on another host."""
    patch(socket, "gethostname", lambda: host)
    patch(lease, "FileLock", NoLock)
    for name in ("HEARTBEAT_EVERY", "STALE_AFTER", "SURE_FOR", "SETTLES_IN"):
        patch(lease, name, getattr(lease, name) / 20)


@contextmanager
def no_session(address):
    yield


def run_slowly(conductor, index, *, capacity, should_stop, grace):
    Executor(conductor).run()


def suggest(trial):
    return StubConfig({**suggest_stub(trial).values, "wait": 0.2})


def drive(folder, patch=setattr):
    patch(driver, "ray_session", no_session)
    patch(driver, "run_trials", run_slowly)
    sweep = SweepDirectory(Path(folder))
    search = make_search(sweep, make_plan(sweep.root.parent, suggest=suggest, budget=Budget(trials=TRIALS)))
    with lease.hold(sweep) as held:
        return driver.drive(search, held)


if __name__ == "__main__":
    if sys.argv[2] != "here":
        move_to(sys.argv[2])
    try:
        print(drive(sys.argv[1]).state)
    except MrisynthError as error:
        print(type(error).__name__, error)
