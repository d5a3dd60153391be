"""A driver is killed at every awkward moment, each time with SIGKILL and over Ray, and resumed."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prepared_fixtures import make_store
from search_fixtures import Executor, epochs_trained, open_conductor, outcomes, suggestions

from mrisynth.files import read_json
from mrisynth.results.index import read_index
from mrisynth.results.leaderboard import top
from mrisynth.results.store import SweepDirectory, read_events, read_records, sweep_state
from mrisynth.search.drill.checks import find_damage
from mrisynth.search.drill.toy_sweep import ToySettings, make_toy_sweep, open_toy_study, toy_plan
from mrisynth.search.drill.traps import NEVER, set_trap

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]

HERE = Path(__file__).parent
SETTINGS = ToySettings(trials=13, concurrent=1, seed=1)


def launch(sweep: SweepDirectory) -> subprocess.Popen:
    command = [sys.executable, "-m", "mrisynth.search.drill.toy_driver", str(sweep.root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")


def drill(sweep: SweepDirectory, moment: str) -> list[str]:
    """Let a driver run until it dies at `moment`; the kinds of the events that it left."""
    before = len(read_events(sweep))
    set_trap(sweep, moment)
    driver = launch(sweep)
    driver.communicate(timeout=200)
    assert driver.returncode == (0 if moment == NEVER else -signal.SIGKILL)
    return [event["kind"] for event in read_events(sweep)[before:]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The same search in one go, without Ray."""
    tmp = tmp_path_factory.mktemp("undisturbed")
    settings = replace(SETTINGS, wait=0.0)
    sweep = make_toy_sweep(tmp, "sweep", settings)
    Executor(open_conductor(sweep, toy_plan(tmp, settings))).run()
    return sweep


def without_wait(sweep):
    return {number: {**config, "wait": 0.0} for number, config in suggestions(sweep).items()}


def test_killed_at_every_awkward_moment_it_ends_like_an_undisturbed_search(tmp_path, undisturbed):
    sweep = make_toy_sweep(tmp_path, "sweep", SETTINGS)

    events = drill(sweep, "reconciled:1")  # before the first ask
    assert events == ["driver-started", "reconciled"]

    events = drill(sweep, "ask:2")  # between ask and suggest
    assert events[-1] == "ask"
    assert "suggested" not in events[events.index("told") + 2 :]

    events = drill(sweep, "mid-epoch:2")
    assert [kind for kind in events if not kind.startswith("index")][-1] == "epoch"
    assert [event for event in read_events(sweep) if event["kind"] == "epoch"][-1]["epoch"] < 4
    trained = {number: len(epochs) for number, epochs in epochs_trained(sweep).items()}

    events = drill(sweep, "outcome:2")  # between outcome and tell
    assert events[-1] == "outcome"
    last = read_events(sweep)[-1]["number"]
    assert sweep.trial(last).outcome.is_file()

    events = drill(sweep, "half-index:2")
    assert events[-1] == "index-begin"
    assert "index-written" in events

    drill(sweep, NEVER)
    assert all(len(epochs_trained(sweep)[number]) >= count for number, count in trained.items())
    assert_equal_to(sweep, undisturbed)


def assert_equal_to(sweep, undisturbed):
    """Exactly the same trials, each trained once, with the same end."""
    assert without_wait(sweep) == suggestions(undisturbed)
    assert outcomes(sweep) == outcomes(undisturbed)
    assert epochs_trained(sweep) == epochs_trained(undisturbed)
    assert not find_damage(sweep)
    told = [event["number"] for event in read_events(sweep) if event["kind"] == "told"]
    assert sorted(told) == list(range(len(outcomes(undisturbed))))
    best = top(read_index(sweep), by="psnr", k=1)[0]["trial"]
    assert best == open_toy_study(sweep).best_trial.number
    values = {number: read_json(undisturbed.trial(number).outcome)["values"] for number in told}
    assert {number: read_json(sweep.trial(number).outcome)["values"] for number in told} == values


def test_stopped_by_sigterm_it_ends_cleanly_and_goes_on_later(tmp_path, undisturbed):
    sweep = make_toy_sweep(tmp_path, "sweep", SETTINGS)
    driver = launch(sweep)
    deadline = time.monotonic() + 120
    while not any(event["kind"] == "epoch" for event in read_events(sweep)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    driver.send_signal(signal.SIGTERM)
    printed, _ = driver.communicate(timeout=100)
    assert printed.split()[-2:] == ["stopped", str(int(signal.SIGTERM))]
    assert sweep_state(sweep) == "stopped"
    assert len(outcomes(sweep)) < 13
    drill(sweep, NEVER)
    assert sweep_state(sweep) == "done"
    assert_equal_to(sweep, undisturbed)


def test_real_training_killed_in_the_middle_ends_with_the_same_bits(tmp_path):
    sweeps = []
    for name, moments in (("whole", [NEVER]), ("cut", ["epoch:3", "outcome:2", NEVER])):
        make_store(tmp_path / name / "store")
        sweep = SweepDirectory(tmp_path / name / "results" / "mine")
        for moment in moments:
            command = [sys.executable, HERE / "drill.py", sweep.root, moment]
            ended = subprocess.run(list(map(str, command)), timeout=200, check=False)
            assert ended.returncode == (0 if moment == NEVER else -signal.SIGKILL)
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
