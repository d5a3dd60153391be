"""Finish what an interrupted driver began, before anything new begins.

The order in which a trial ends is: the worker writes `summary.json`, the driver writes `outcome.json`, tells the study,
then writes the index. Wherever it broke off, it goes on from there; nothing is lost, and nothing is done twice.
"""

import os
import socket
import time
from collections.abc import Callable
from datetime import datetime

import psutil
from optuna.trial import TrialState

from mrisynth.errors import MrisynthError, NotFoundError
from mrisynth.files import read_json
from mrisynth.results.store import SweepDirectory, TrialDirectory, append_event, read_records
from mrisynth.search.conductor import Conductor
from mrisynth.search.outcome import completed, read_outcome

ORPHANS_LIVE = 60.0
"""How long the workers of a dead driver are waited for, in seconds; Ray ends them within 5."""


def reconcile(conductor: Conductor) -> list[int]:
    """Bring study and run directories to agree, and queue the trials that go on.

    Returns:
        The numbers of the trials that go on from their checkpoints.
    """
    study, sweep = conductor.study, conductor.sweep
    running = [trial.number for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]
    begun = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING}
    wait_for_orphans(sweep, running)
    for directory in sweep.trial_directories():
        if directory.number not in begun:
            _set_aside(sweep, directory)
    going_on = [number for number in running if not _settle(conductor, number) and conductor.adopt(number)]
    stopped = conductor.stop_trials()
    going_on = [number for number in going_on if number not in stopped]
    append_event(sweep, "reconciled", running=running, continued=going_on)
    return going_on


def wait_for_orphans(sweep: SweepDirectory, numbers: list[int], *, pause: Callable[[float], None] = time.sleep) -> None:
    """Wait until no worker of a dead driver on this host still trains one of these trials.

    Args:
        sweep: the sweep.
        numbers: the trials.
        pause: called with the seconds to wait before looking again.

    Raises:
        MrisynthError: one is still there after a minute.
    """
    deadline = time.monotonic() + ORPHANS_LIVE
    while orphans := [(number, pid) for number in numbers for pid in _workers(sweep.trial(number))]:
        if time.monotonic() > deadline:
            number, pid = orphans[0]
            raise MrisynthError(
                f"process {pid} of an earlier run still trains trial {number} of {sweep.root}; end it, then resume"
            )
        pause(0.2)


def _workers(directory: TrialDirectory) -> list[int]:
    """The live processes of this host that once took the trial up."""
    attempts = [read_json(path) for path in sorted(directory.attempts.glob("[!.]*.json"))]
    return [
        attempt["pid"]
        for attempt in attempts
        if attempt["host"] == socket.gethostname() and attempt["pid"] != os.getpid() and _lives(attempt)
    ]


def _lives(attempt: dict[str, str | int]) -> bool:
    """Whether the attempt's process is there, and is not another one that got its number later."""
    try:
        process = psutil.Process(int(attempt["pid"]))
        began = process.create_time()
        return began <= datetime.fromisoformat(str(attempt["started"])).timestamp() + 1 and (
            process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False


def _settle(conductor: Conductor, number: int) -> bool:
    """Tell the study of a running trial that had ended before its driver did; whether it had."""
    directory = conductor.sweep.trial(number)
    outcome = read_outcome(directory)
    if outcome is None:
        values = _final_values(directory)
        if values is None:
            return False
        outcome = completed(values, conductor.plan.objectives, conductor.plan.bounds)
        conductor.conclude(number, outcome)
    origin = read_json(directory.origin) if directory.origin.is_file() else {}
    begun = origin.get("from_epoch", 0)
    records = (record for record in read_records(directory.history) if record["epoch"] > begun)
    seconds = {record["epoch"]: float(record["seconds"]) for record in records}
    conductor.settle(number, outcome, seconds=sum(seconds.values()), share=origin.get("gpu", 0.0))
    return True


def _final_values(directory: TrialDirectory) -> dict[str, float] | None:
    """The scores of a trial that trained to its end; None if it did not."""
    try:
        summary = read_json(directory.summary)
    except NotFoundError:
        return None
    values: dict[str, float] | None = summary["values"] if summary["final"] else None
    return values


def _set_aside(sweep: SweepDirectory, directory: TrialDirectory) -> None:
    """Move away the folder of a trial that the study does not know, lest a new trial of its number continues it."""
    aside = sweep.root / "orphans" / f"{directory.number}-{time.time_ns()}"
    aside.parent.mkdir(exist_ok=True)
    directory.root.rename(aside)
    append_event(sweep, "set-aside", number=directory.number, folder=aside.name)
