"""A driver is suspended (SIGSTOP) in the middle of its search, and woken when the sweep is another's."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lease_drill
import psutil
import pytest
from lease_drill import TRIALS
from optuna.trial import TrialState
from search_fixtures import epochs_trained, make_plan, make_sweep, outcomes

from mrisynth.errors import MrisynthError
from mrisynth.results.store import read_events, read_records
from mrisynth.search.drill.toy import begun_file
from mrisynth.search.lease import hold
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.study import open_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

HERE = Path(__file__).parent


@pytest.fixture
def suspended(tmp_path):
    """A sweep and a function that starts a driver on a host and suspends it in the middle."""
    sweep, drivers = make_sweep(tmp_path), []

    def start(host):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
        command = [sys.executable, str(HERE / "lease_drill.py"), str(sweep.root), host]
        driver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, encoding="utf-8")
        drivers.append(driver)
        # In the middle of an epoch: between asking whether it may write and writing it could not know better.
        wait_until(lambda: sum(len(read_records(begun_file(trial))) for trial in sweep.trial_directories()) >= 7)
        suspend(driver)
        while any(sweep.root.rglob(".*")):  # in the middle of replacing a file, its sign of life for one
            driver.send_signal(signal.SIGCONT)
            time.sleep(0.01)
            suspend(driver)
        return driver

    yield sweep, start
    for driver in drivers:
        driver.kill()
        driver.wait()


def suspend(driver):
    driver.send_signal(signal.SIGSTOP)
    while psutil.Process(driver.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.001)


def wait_until(done):
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wake(driver):
    driver.send_signal(signal.SIGCONT)
    printed, _ = driver.communicate(timeout=60)
    return printed.strip()


def assert_whole(sweep):
    """Exactly the trials of the budget, each trained, told and counted once, and none left running."""
    assert outcomes(sweep) == dict.fromkeys(range(TRIALS), "completed")
    assert epochs_trained(sweep) == {number: [1, 2, 3, 4] for number in range(TRIALS)}
    plan = make_plan(sweep.root.parent)
    study = open_study(sweep.journal, objectives=plan.objectives, sampler=SeededSampler("tpe", 1))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * TRIALS
    told = [event["number"] for event in read_events(sweep) if event["kind"] == "told"]
    assert sorted(told) == list(range(TRIALS))


def test_on_one_host_it_keeps_the_sweep_and_goes_on(suspended):
    sweep, start = suspended
    driver = start("here")
    with pytest.raises(MrisynthError, match=f"is held by process {driver.pid} on .*, whose last sign of life"):
        hold(sweep).__enter__()
    assert wake(driver) == "done"
    assert_whole(sweep)


def test_on_another_host_it_loses_the_sweep_and_writes_nothing_any_more(suspended, monkeypatch):
    sweep, start = suspended
    driver = start("first")
    lease_drill.move_to("second", monkeypatch.setattr)
    refused = []

    def take_over():
        try:
            return lease_drill.drive(sweep.root, monkeypatch.setattr).state == "done"
        except MrisynthError as error:
            refused.append(str(error))
            return False

    wait_until(take_over)
    assert f"is held by process {driver.pid} on first" in refused[0]
    assert_whole(sweep)
    left = {path: path.read_bytes() for path in sweep.root.rglob("*") if path.is_file()}
    printed = wake(driver)
    assert printed.startswith("LeaseLostError")
    assert f"process {os.getpid()} on second has it" in printed
    changed = {path for path in left if path.read_bytes() != left[path]}
    assert not changed, changed
    assert_whole(sweep)
