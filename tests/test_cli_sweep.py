"""The commands that drive a sweep and stop it, with trials that train nothing in this process."""

import json
import os
import signal
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
from prepared_fixtures import make_store
from search_fixtures import SPACE, Executor, make_plan, make_search, make_sweep, open_conductor, outcomes
from stub_trial import train_stub

from mrisynth.data.jobs import Ended
from mrisynth.files import read_json
from mrisynth.results.control import is_stop_requested, stop_requests
from mrisynth.results.store import SweepDirectory, read_yaml, write_heartbeat
from mrisynth.search import driver
from mrisynth.search.attempts import Failure
from mrisynth.search.forecast import forecast


@contextmanager
def no_session(address):
    yield


def train(config, **where):
    return train_stub({"epochs": 1, **config, "x": 0.1}, **where)


def run_stub(conductor, index, *, capacity, should_stop, grace):
    Executor(conductor, train=train).run()


def lose_first(conductor, index, *, capacity, should_stop, grace):
    first = conductor.next_trial().number
    conductor.fail_attempt(first, Failure("node", "the node on which it ran died, or was cut off"))
    conductor.lose(first)
    run_stub(conductor, index, capacity=capacity, should_stop=should_stop, grace=grace)


@pytest.fixture
def drive(monkeypatch):
    """Let drives run so."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(driver, "ray_session", no_session)
    return lambda run_trials: monkeypatch.setattr(driver, "run_trials", run_trials)


@pytest.fixture
def sweep(tmp_path, command, drive):
    """A sweep that has ended, with its first trial lost."""
    drive(lose_first)
    make_store(tmp_path / "store")
    (tmp_path / "small.yaml").write_text(SPACE.replace("trials: 3", "trials: 2"), encoding="utf-8")
    where = ["--data", tmp_path / "store", "--results", tmp_path / "results", "--name", "mine"]
    answer = command("sweep", tmp_path / "small.yaml", *where)
    assert answer.code == 0, answer.stderr
    assert f"retry {tmp_path / 'results' / 'mine'}" in answer.stderr
    drive(run_stub)
    return SweepDirectory(tmp_path / "results" / "mine")


def test_why_trials_ended_is_told_by_status_and_top(sweep, command):
    sentence = "the node on which it ran died, or was cut off"
    status = command("status", sweep.root)
    assert f"lost, node: 1; the last, trial 0: {sentence}" in status.stdout
    assert "retry" in status.stderr
    reasons = json.loads(command("status", sweep.root, "--json").stdout)["reasons"]
    assert reasons == [{"outcome": "lost", "reason": "node", "count": 1, "trial": 0, "message": sentence}]
    top = command("top", sweep.root)
    assert "lost, node" in top.stdout
    assert f"trial 0 lost: {sentence}" in top.stdout
    rows = json.loads(command("top", sweep.root, "--json").stdout)["trials"]
    assert {row["trial"]: row["reason"] for row in rows} == {0: "node", 1: None, 2: None}


def test_lost_trials_are_tried_again_once(sweep, command):
    first = command("retry", sweep.root)
    assert (first.code, "trying again: trial 0" in first.stderr) == (0, True)
    assert outcomes(sweep) == {0: "lost", 1: "completed", 2: "completed", 3: "completed"}
    assert read_json(sweep.trial(3).origin)["retry_of"] == 0
    again = command("retry", sweep.root)
    assert (again.code, "no trial is lost that was not tried again before" in again.stderr) == (0, True)
    assert len(outcomes(sweep)) == 4


def test_what_is_not_pruned_is_not_tried_again(sweep, command):
    answer = command("retry", sweep.root, "--pruned", 1)
    assert answer.code == 3
    assert "trial 1 is completed, not pruned" in answer.stderr
    assert len(outcomes(sweep)) == 3


def test_a_sweep_is_extended(sweep, command):
    answer = command("extend", sweep.root, "--max-trials", 4)
    assert answer.code == 0
    assert list(outcomes(sweep).values()).count("completed") == 4
    assert read_yaml(sweep.sweep_yaml)["budget"]["trials"] == 4
    assert "--max-trials N" in answer.stderr
    assert command("extend", sweep.root).code == 2
    assert command("extend", sweep.root, "--max-trials", 3).code == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_cleanly_and_the_code_says_which(sweep, command, drive, number, code):
    def interrupted(conductor, index, *, capacity, should_stop, grace):
        os.kill(os.getpid(), number)
        assert should_stop()

    drive(interrupted)
    answer = command("extend", sweep.root, "--max-trials", 4)
    assert answer.code == code
    assert f"resume {sweep.root}" in answer.stderr.splitlines()[-1]
    assert read_json(sweep.heartbeat)["state"] == "stopped"


def test_how_to_go_on_names_the_cluster_that_it_ran_on(sweep, command, drive, monkeypatch):
    monkeypatch.setattr(driver, "guard", lambda search, lease: nullcontext())
    on_a_cluster = ["--address", "10.0.0.1:6379"]
    answer = command("extend", sweep.root, "--max-trials", 3, *on_a_cluster)
    assert answer.stderr.splitlines()[-1].endswith("--max-trials N --address 10.0.0.1:6379")
    drive(lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    answer = command("extend", sweep.root, "--max-trials", 4, *on_a_cluster)
    assert answer.stderr.splitlines()[-1].endswith(f"resume {sweep.root} --address 10.0.0.1:6379")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_stops_it_at_once(sweep, command, drive, number, code):
    def interrupted(conductor, index, *, capacity, should_stop, grace):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

    drive(interrupted)
    answer = command("extend", sweep.root, "--max-trials", 4)
    assert answer.code == code
    assert f"resume {sweep.root}" in answer.stderr.splitlines()[-1]
    assert read_json(sweep.heartbeat)["state"] == "stopped"


def test_a_failure_tells_how_to_go_on_too(sweep, command, drive):
    def lose_all(conductor, index, *, capacity, should_stop, grace):
        while not isinstance(assignment := conductor.next_trial(), str):
            conductor.lose(assignment.number)

    drive(lose_all)
    answer = command("extend", sweep.root, "--max-trials", 20)
    assert answer.code == 1
    assert "5 trials in a row were lost" in answer.stderr
    assert f"resume {sweep.root}" in answer.stderr


def test_a_sweep_that_runs_is_asked_to_stop(sweep, command):
    write_heartbeat(sweep, state="running")
    answer = command("stop", sweep.root)
    assert answer.code == 0
    assert is_stop_requested(sweep)
    assert f"resume {sweep.root}" in answer.stderr


def test_a_sweep_that_does_not_run_is_not(sweep, command):
    answer = command("stop", sweep.root)
    assert (answer.code, "does not run: it is done" in answer.stderr) == (0, True)
    assert not is_stop_requested(sweep)


def test_a_trial_is_asked_to_end(tmp_path, command):
    sweep = make_sweep(tmp_path)
    plan = make_plan(tmp_path)
    number = open_conductor(sweep, plan).next_trial().number
    write_heartbeat(sweep, state="running")
    answer = command("stop", sweep.trial(number).root.parent.parent / str(number))
    assert answer.code == 0
    assert stop_requests(sweep) == [number]
    assert f"retry {sweep.root} --pruned {number}" in answer.stderr
    open_conductor(sweep, plan)
    make_search(sweep, plan).index.write()
    assert "stopped on request" in command("top", sweep.root).stdout


def test_a_trial_that_has_ended_or_is_not_there_is_not(sweep, command):
    answer = command("stop", sweep.root / "1")
    assert (answer.code, "has ended already: it was completed" in answer.stderr) == (0, True)
    assert command("stop", sweep.root / "77").code == 4
    assert stop_requests(sweep) == []


@pytest.mark.parametrize("name", ["resume", "extend", "retry", "stop"])
def test_a_sweep_that_is_not_there_is_not_found(tmp_path, command, name):
    more = ["--max-trials", 3] if name == "extend" else []
    answer = command(name, tmp_path / "nothing", *more)
    assert answer.code == 4
    assert answer.stderr.count("\n") == 1


@pytest.fixture
def probes(monkeypatch):
    """Probes run in this process, for a moment each."""

    def run_here(function, jobs, *, limit):
        return (Ended(index, function(replace(job, seconds=0.02))) for index, job in enumerate(jobs))

    monkeypatch.setattr(forecast, "run_jobs", run_here)
    monkeypatch.setattr(forecast, "DRAWS", 3)


def ask(tmp_path, command, *options):
    if not (tmp_path / "store").exists():
        make_store(tmp_path / "store")
    (tmp_path / "small.yaml").write_text(SPACE, encoding="utf-8")
    where = ["--data", tmp_path / "store", "--results", tmp_path / "results", "--name", "mine"]
    return command("sweep", tmp_path / "small.yaml", *where, *options)


def test_a_dry_run_tells_what_would_be_done_and_what_it_costs_and_does_nothing(tmp_path, command, probes):
    answer = ask(tmp_path, command, "--dry-run", "--max-wall", "90m")
    assert answer.code == 0, answer.stderr
    for words in ("small.yaml, line 3", "--set budget.wall", "default", "its first trials", "s an epoch", "finish"):
        assert words in answer.stdout
    assert not (tmp_path / "results").exists()


def test_a_forecast_is_kept_and_held_against_what_it_took(tmp_path, command, probes, drive):
    drive(run_stub)
    answer = ask(tmp_path, command, "--forecast")
    assert answer.code == 0, answer.stderr
    assert ", by probes" in answer.stderr
    kept = read_json(tmp_path / "results" / "mine" / "forecast.json")
    assert (kept["by"], kept["trials"], kept["took"]["seconds"] > 0) == ("probes", 3, True)
    status = json.loads(command("status", tmp_path / "results" / "mine", "--json").stdout)
    assert status["forecast"]["missed"].keys() == {"seconds", "disk"}


def test_a_sweep_that_the_disk_has_no_room_for_does_not_start(tmp_path, command, probes, monkeypatch):
    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    answer = ask(tmp_path, command, "--forecast")
    assert (answer.code, "make room" in answer.stderr) == (3, True)
    assert not (tmp_path / "results").exists()


def test_a_budget_of_wall_time_is_typed_and_extended(sweep, command):
    answer = command("extend", sweep.root, "--max-wall", "2h")
    assert (answer.code, "no limit of wall" in answer.stderr) == (3, True)
    assert command("extend", sweep.root, "--max-wall", "soon").code == 2


def or_resume(sweep, *more):
    folder = sweep.root.parent.parent
    where = ["--data", folder / "store", "--results", sweep.root.parent, "--name", "mine", "--or-resume"]
    return ["sweep", folder / "small.yaml", *where, *more]


def test_a_job_that_is_started_again_goes_on_or_is_done(sweep, command):
    answer = command(*or_resume(sweep))
    assert (answer.code, "exists; going on with it" in answer.stderr) == (0, True)
    assert len(outcomes(sweep)) == 3
    assert command(*or_resume(sweep, "--max-trials", 4)).code == 0
    assert list(outcomes(sweep).values()).count("completed") == 4
    assert command(*or_resume(sweep, "--max-trials", 1)).code == 0
    assert read_yaml(sweep.sweep_yaml)["budget"]["trials"] == 4


def test_a_job_that_searches_something_else_is_refused_with_the_difference(sweep, command):
    answer = command(*or_resume(sweep, "--seed", 7))
    assert (answer.code, "seed was 0 and is 7" in answer.stderr) == (3, True)
    space = sweep.root.parent.parent / "small.yaml"
    space.write_text(space.read_text(encoding="utf-8").replace("[1, 4]", "[1, 5]"), encoding="utf-8")
    answer = command(*or_resume(sweep))
    assert (answer.code, "dcsrn.growth: {int: [1, 5]}" in answer.stderr) == (3, True)
    assert len(outcomes(sweep)) == 3


def test_a_job_starts_the_sweep_that_is_not_there(sweep, command):
    words = or_resume(sweep)
    words[words.index("mine")] = "new"
    assert command(*words).code == 0
    assert len(outcomes(SweepDirectory(sweep.root.parent / "new"))) == 2
