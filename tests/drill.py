"""A driver that kills itself at a given moment: python drill.py FOLDER MOMENT [WAIT]

FOLDER is the sweep; WAIT is what a trial of the stub waits in every epoch, in seconds. Without WAIT the trials are
real: the sweep is started, or resumed, on the store beside its results folder.

A moment is "KIND:N" (right after the Nth event of that kind of this process is on disk), "mid-epoch:N" (a while after
the Nth epoch event, when the next epoch is being trained), "half-index:N" (the Nth index has its tables but not its
manifest), or "never".
"""

import os
import signal
import sys
import threading
from pathlib import Path

from mrisynth.results import index, store

LATER = 0.2


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment):
    """Set the trap, before anything else has imported what it changes."""
    kind, _, count = moment.partition(":")
    left = {"epoch" if kind == "mid-epoch" else "index-begin" if kind == "half-index" else kind: int(count or 0)}
    append_event, write_json = store.append_event, index.write_json

    def append_and_die(sweep, event, **fields):
        append_event(sweep, event, **fields)
        left[event] = left.get(event, 0) - 1
        if left[event] == 0 and kind == "mid-epoch":
            threading.Timer(LATER, die).start()
        elif left[event] == 0 and kind == event:
            die()

    def write_or_die(path, value):
        if kind == "half-index" and left["index-begin"] <= 0:
            die()
        write_json(path, value)

    store.append_event, index.write_json = append_and_die, write_or_die


def drive_stub(folder, wait):
    from search_fixtures import StubConfig, make_plan, make_search, suggest_stub

    from mrisynth.search.driver import drive
    from mrisynth.search.lease import hold
    from mrisynth.search.settings import Budget

    def suggest(trial):
        return StubConfig({**suggest_stub(trial).values, "wait": float(wait)})

    sweep = store.SweepDirectory(Path(folder))
    plan = make_plan(sweep.root.parent, suggest=suggest, rungs=(0.25,), keep=0.5, budget=Budget(trials=13))
    search = make_search(sweep, plan)
    with hold(sweep) as lease:
        outcome = drive(search, lease)
        search.index.write()
    print(outcome.state, outcome.signal)


def drive_real(folder):
    from search_fixtures import SPACE

    from mrisynth.search.driver import resume_sweep, start_sweep
    from mrisynth.search.launch import Launch
    from mrisynth.search.space import parse_space

    sweep, launch = Path(folder), Launch(max_concurrent=1)
    if sweep.exists():
        outcome = resume_sweep(sweep, launch=launch)
    else:
        where = {"store": sweep.parent.parent / "store", "results": sweep.parent, "name": sweep.name}
        outcome = start_sweep(parse_space(SPACE, "small.yaml"), **where, seed=3, launch=launch)
    print(outcome.state, outcome.signal)


if __name__ == "__main__":
    arm(sys.argv[2])
    drive_stub(sys.argv[1], *sys.argv[3:]) if sys.argv[3:] else drive_real(sys.argv[1])
