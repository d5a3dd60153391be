"""A driver is killed at every awkward moment, each time with SIGKILL and over Ray, and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState
from prepared_fixtures import make_store
from search_fixtures import (
    Executor,
    StubConfig,
    epochs_trained,
    make_plan,
    make_sweep,
    open_conductor,
    outcomes,
    suggest_stub,
    suggestions,
)

from mrisynth.files import read_json
from mrisynth.results.index import read_index
from mrisynth.results.leaderboard import top
from mrisynth.results.store import SweepDirectory, read_events, read_records, sweep_state
from mrisynth.search.settings import Budget

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]

HERE = Path(__file__).parent
WAIT = 0.25


def launch(sweep: SweepDirectory, moment: str, *wait: float) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    command = [sys.executable, str(HERE / "drill.py"), str(sweep.root), moment, *map(str, wait)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, encoding="utf-8")


def drill(sweep: SweepDirectory, moment: str, *wait: float) -> list[str]:
    """Let a driver run until it dies at `moment`; the kinds of the events that it left."""
    before = len(read_events(sweep))
    driver = launch(sweep, moment, *wait)
    driver.communicate(timeout=200)
    assert driver.returncode == (0 if moment == "never" else -signal.SIGKILL)
    return [event["kind"] for event in read_events(sweep)[before:]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The same search in one go, without Ray."""
    tmp = tmp_path_factory.mktemp("undisturbed")
    sweep = make_sweep(tmp)

    def suggest(trial):
        return StubConfig({**suggest_stub(trial).values, "wait": 0.0})

    plan = make_plan(tmp, suggest=suggest, rungs=(0.25,), keep=0.5, budget=Budget(trials=13))
    Executor(open_conductor(sweep, plan)).run()
    return sweep


def without_wait(sweep):
    return {number: {**config, "wait": 0.0} for number, config in suggestions(sweep).items()}


def test_killed_at_every_awkward_moment_it_ends_like_an_undisturbed_search(tmp_path, undisturbed):
    sweep = make_sweep(tmp_path)

    events = drill(sweep, "reconciled:1", WAIT)  # before the first ask
    assert events == ["driver-started", "reconciled"]

    events = drill(sweep, "ask:2", WAIT)  # between ask and suggest
    assert events[-1] == "ask"
    assert "suggested" not in events[events.index("told") + 2 :]

    events = drill(sweep, "mid-epoch:2", 4 * WAIT)
    assert [kind for kind in events if not kind.startswith("index")][-1] == "epoch"
    assert [event for event in read_events(sweep) if event["kind"] == "epoch"][-1]["epoch"] < 4
    trained = {number: len(epochs) for number, epochs in epochs_trained(sweep).items()}

    events = drill(sweep, "outcome:2", WAIT)  # between outcome and tell
    assert events[-1] == "outcome"
    last = read_events(sweep)[-1]["number"]
    assert sweep.trial(last).outcome.is_file()

    events = drill(sweep, "half-index:2", WAIT)
    assert events[-1] == "index-begin"
    assert "index-written" in events

    drill(sweep, "never", WAIT)
    assert all(len(epochs_trained(sweep)[number]) >= count for number, count in trained.items())
    assert_equal_to(sweep, undisturbed)


def assert_equal_to(sweep, undisturbed):
    """Exactly the same trials, each trained once, with the same end."""
    assert without_wait(sweep) == suggestions(undisturbed)
    assert outcomes(sweep) == outcomes(undisturbed)
    assert epochs_trained(sweep) == epochs_trained(undisturbed)
    study = open_conductor(sweep, make_plan(sweep.root.parent, budget=Budget(trials=13))).study
    assert len(study.trials) == 13
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    told = [event["number"] for event in read_events(sweep) if event["kind"] == "told"]
    assert sorted(told) == list(range(13))
    index = read_index(sweep)
    best = top(index, by="psnr", k=1)[0]["trial"]
    assert best == study.best_trial.number
    values = {number: read_json(undisturbed.trial(number).outcome)["values"] for number in range(13)}
    assert {number: read_json(sweep.trial(number).outcome)["values"] for number in range(13)} == values


def test_stopped_by_sigterm_it_ends_cleanly_and_goes_on_later(tmp_path, undisturbed):
    sweep = make_sweep(tmp_path)
    driver = launch(sweep, "never", WAIT)
    deadline = time.monotonic() + 120
    while not any(event["kind"] == "epoch" for event in read_events(sweep)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    driver.send_signal(signal.SIGTERM)
    printed, _ = driver.communicate(timeout=100)
    assert printed.split() == ["stopped", str(int(signal.SIGTERM))]
    assert sweep_state(sweep) == "stopped"
    assert len(outcomes(sweep)) < 13
    drill(sweep, "never", WAIT)
    assert sweep_state(sweep) == "done"
    assert_equal_to(sweep, undisturbed)


def test_real_training_killed_in_the_middle_ends_with_the_same_bits(tmp_path):
    sweeps = []
    for name, moments in (("whole", ["never"]), ("cut", ["epoch:3", "outcome:2", "never"])):
        make_store(tmp_path / name / "store")
        sweep = SweepDirectory(tmp_path / name / "results" / "mine")
        for moment in moments:
            drill(sweep, moment)
        sweeps.append(sweep)
    whole, cut = sweeps
    assert outcomes(cut) == outcomes(whole) == dict.fromkeys(range(3), "completed")
    assert suggestions(cut) == suggestions(whole)
    assert [learned(cut, number) for number in range(3)] == [learned(whole, number) for number in range(3)]
    assert read_index(cut).trials["value.psnr"] == read_index(whole).trials["value.psnr"]


def learned(sweep, number):
    """What is the same however often a trial was interrupted: its records, without who wrote them and how fast."""
    records = read_records(sweep.trial(number).history)
    return [{key: record[key] for key in ("epoch", "train", "validation", "scores", "exact")} for record in records]
