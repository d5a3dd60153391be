import json
import os
import socket
import subprocess
import sys

import pytest
from optuna.trial import TrialState
from search_fixtures import (
    Executor,
    epochs_trained,
    kinds,
    make_plan,
    make_sweep,
    open_conductor,
    outcomes,
    suggestions,
)

from mrisynth.errors import MrisynthError
from mrisynth.files import read_json, write_json
from mrisynth.results import store
from mrisynth.results.store import timestamp
from mrisynth.search import conductor as conductor_module
from mrisynth.search import judge as judge_module
from mrisynth.search import reconcile as reconcile_module
from mrisynth.search.reconcile import wait_for_orphans
from mrisynth.search.settings import Budget


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Nothing here cuts the power: what is written need not reach the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Killed(BaseException):
    """The driver dies here."""


@pytest.fixture
def kill_at(monkeypatch):
    """Let the driver die right before it would write its n-th event, or at none (-1)."""

    def arm(nth: int) -> list[str]:
        seen: list[str] = []

        def append_event(sweep, kind, **fields):
            if len(seen) == nth:
                raise Killed(kind)
            seen.append(kind)
            store.append_event(sweep, kind, **fields)

        for module in (conductor_module, judge_module, reconcile_module):
            monkeypatch.setattr(module, "append_event", append_event)
        return seen

    return arm


PLAN = {"rungs": (0.25, 0.5), "keep": 0.34, "budget": Budget(trials=13)}


def drive(tmp_path, sweep, slots=1):
    Executor(open_conductor(sweep, make_plan(tmp_path, **PLAN)), slots).run()


@pytest.fixture
def undisturbed(tmp_path):
    sweep = make_sweep(tmp_path, "undisturbed")
    drive(tmp_path, sweep)
    return sweep


def assert_whole(tmp_path, sweep):
    """Every trial has one outcome, the study agrees, and nothing was trained twice."""
    study = open_conductor(sweep, make_plan(tmp_path, **PLAN)).study
    expected = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    assert {trial.number: trial.state for trial in study.trials} == {
        number: expected[outcome] for number, outcome in outcomes(sweep).items()
    }
    assert sum("retry_of" not in trial.user_attrs for trial in study.trials) == 13
    for number, epochs in epochs_trained(sweep).items():
        assert epochs == list(range(1, len(epochs) + 1)), number


def test_killed_at_the_last_event_of_each_kind_it_ends_like_an_undisturbed_search(tmp_path, kill_at, undisturbed):
    last = {kind: nth for nth, kind in enumerate(kinds(undisturbed))}
    assert set(last) == {"reconciled", "ask", "suggested", "launched", "epoch", "rung", "outcome", "told"}
    for nth in last.values():
        assert_survives(tmp_path, kill_at, undisturbed, nth)


def assert_survives(tmp_path, kill_at, undisturbed, nth):
    """Killed before its nth event and resumed, a search with one worker is the same as an undisturbed one."""
    sweep = make_sweep(tmp_path, f"killed-{nth}")
    kill_at(nth)
    with pytest.raises(Killed):
        drive(tmp_path, sweep)
    kill_at(-1)
    drive(tmp_path, sweep)
    assert suggestions(sweep) == suggestions(undisturbed), nth
    assert outcomes(sweep) == outcomes(undisturbed), nth
    assert epochs_trained(sweep) == epochs_trained(undisturbed), nth
    assert_whole(tmp_path, sweep)


@pytest.mark.parametrize("every", [11, 17, 29])
def test_killed_again_and_again_with_three_workers_nothing_is_lost_or_done_twice(tmp_path, kill_at, every):
    sweep = make_sweep(tmp_path)
    for _ in range(500):
        kill_at(every)
        try:
            drive(tmp_path, sweep, slots=3)
        except Killed:
            continue
        break
    kill_at(-1)
    assert_whole(tmp_path, sweep)


def test_an_outcome_that_was_not_told_is_told(tmp_path):
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path, budget=Budget(trials=1)))
    number = conductor.next_trial().number
    write_json(
        sweep.trial(number).outcome,
        {"outcome": "rejected", "reason": "diverged", "rung": None, "message": "it did", "values": {}},
    )
    again = open_conductor(sweep, conductor.plan)
    assert again.study.trials[number].state == TrialState.PRUNED
    assert again.next_trial() == "finished"


def test_a_trial_that_finished_after_its_driver_died_is_told_and_not_run_again(tmp_path):
    sweep = make_sweep(tmp_path)
    plan = make_plan(tmp_path, budget=Budget(trials=1))
    executor = Executor(open_conductor(sweep, plan))
    executor.fill()
    list(executor.running[0])  # the worker goes on; nobody listens
    again = open_conductor(sweep, plan)
    assert outcomes(sweep) == {0: "completed"}
    assert again.next_trial() == "finished"
    assert again.study.trials[0].user_attrs["seconds"] == 4.0


def test_a_trial_goes_on_from_its_checkpoint_under_its_own_number(tmp_path):
    sweep = make_sweep(tmp_path)
    plan = make_plan(tmp_path, budget=Budget(trials=1))
    executor = Executor(open_conductor(sweep, plan))
    executor.fill()
    executor.step(0)
    executor.step(0)
    again = Executor(open_conductor(sweep, plan))
    again.fill()
    assert next(again.running[0])["epoch"] == 3


def test_a_folder_that_the_study_does_not_know_is_set_aside(tmp_path):
    sweep = make_sweep(tmp_path)
    stray = sweep.trial(0)
    stray.checkpoint.mkdir(parents=True)
    (stray.checkpoint / "state.json").write_text(json.dumps({"epoch": 99}), encoding="utf-8")
    Executor(open_conductor(sweep, make_plan(tmp_path, budget=Budget(trials=1)))).run()
    assert epochs_trained(sweep) == {0: [1, 2, 3, 4]}
    assert [path.name.split("-")[0] for path in (sweep.root / "orphans").iterdir()] == ["0"]


@pytest.fixture
def process():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.wait()


def note_attempt(sweep, pid, *, host=None, started=None):
    attempt = {"token": "t", "host": host or socket.gethostname(), "pid": pid, "started": started or timestamp()}
    write_json(sweep.trial(0).attempts / "t.json", {**attempt, "from_epoch": 0})


def test_a_live_worker_of_a_dead_driver_is_waited_for(tmp_path, process):
    sweep = make_sweep(tmp_path)
    note_attempt(sweep, process.pid)
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        process.kill()
        process.wait()

    wait_for_orphans(sweep, [0], pause=pause)
    assert len(pauses) == 1


def test_a_worker_that_does_not_end_is_named(tmp_path, process, monkeypatch):
    sweep = make_sweep(tmp_path)
    note_attempt(sweep, process.pid)
    monkeypatch.setattr(reconcile_module, "ORPHANS_LIVE", -1)
    with pytest.raises(MrisynthError, match=f"process {process.pid} .* trial 0"):
        wait_for_orphans(sweep, [0])


@pytest.mark.parametrize(
    "attempt",
    [{"host": "elsewhere"}, {"started": "2020-01-01T00:00:00+00:00"}],
    ids=["another host", "another process with its number"],
)
def test_other_processes_are_not_waited_for(tmp_path, process, attempt):
    sweep = make_sweep(tmp_path)
    note_attempt(sweep, process.pid, **attempt)
    wait_for_orphans(sweep, [0], pause=lambda _: pytest.fail("waited"))


def test_our_own_process_is_not_waited_for(tmp_path):
    sweep = make_sweep(tmp_path)
    note_attempt(sweep, os.getpid())
    wait_for_orphans(sweep, [0], pause=lambda _: pytest.fail("waited"))


def test_a_pruning_that_was_decided_and_not_carried_out_is_carried_out(tmp_path, kill_at):
    sweep = make_sweep(tmp_path)
    seen = kill_at(-1)
    drive(tmp_path, sweep)
    decided = next(i for i, event in enumerate(seen) if event == "outcome" and seen[i - 1] == "rung")
    cut = make_sweep(tmp_path, "cut")
    kill_at(decided)
    with pytest.raises(Killed):
        drive(tmp_path, cut)
    kill_at(-1)
    pruned = next(n for n, o in outcomes(sweep).items() if o == "pruned")
    open_conductor(cut, make_plan(tmp_path, **PLAN))
    assert read_json(cut.trial(pruned).outcome)["outcome"] == "pruned"
