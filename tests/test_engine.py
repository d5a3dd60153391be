"""The engine over Ray: one session for the whole file, trials of no work at all."""

import os
import signal
import socket
import threading
import time
from itertools import pairwise

import pytest
from optuna.trial import TrialState
from search_fixtures import (
    StubConfig,
    epochs_trained,
    make_plan,
    make_sweep,
    open_conductor,
    outcomes,
    suggest_stub,
    suggestions,
)

from mrisynth.errors import ClusterError, UsageError
from mrisynth.files import read_json
from mrisynth.results.control import request_stop
from mrisynth.results.index import Indexer, read_index
from mrisynth.results.store import read_events, read_records
from mrisynth.search.drill.toy import score
from mrisynth.search.engine import Capacity, connect, ray_session, run_trials
from mrisynth.search.index_writer import IndexWriter
from mrisynth.search.settings import Budget

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]


@pytest.fixture(scope="module", autouse=True)
def ray(workers_find_stub):
    with ray_session(None):
        yield


def run(sweep, plan, *, concurrent=2, should_stop=lambda: False, grace=0.0, **capacity):
    conductor = open_conductor(sweep, plan)
    index = IndexWriter(sweep, Indexer(sweep, metrics={}, config_schema={}, searched=[]))
    capacity = Capacity(max_concurrent=concurrent, **capacity)
    run_trials(conductor, index, capacity=capacity, should_stop=should_stop, grace=grace)
    return conductor


def with_setting(**setting):
    """The stub space, every trial with one setting more."""
    return lambda trial: StubConfig({**suggest_stub(trial).values, **setting})


def test_trials_overlap_in_workers_that_are_used_again(tmp_path):
    sweep = make_sweep(tmp_path)
    plan = make_plan(tmp_path, suggest=with_setting(wait=0.05, meet=2), budget=Budget(trials=8))
    conductor = run(sweep, plan)
    assert outcomes(sweep) == dict.fromkeys(range(8), "completed")
    assert [trial.state for trial in conductor.study.trials] == [TrialState.COMPLETE] * 8
    workers = {record["pid"] for d in sweep.trial_directories() for record in read_records(d.history)}
    assert len(workers) == 2
    assert os.getpid() not in workers
    epochs = [(event["number"], event["pid"]) for event in read_events(sweep) if event["kind"] == "epoch"]
    changes = sum(a != b for a, b in pairwise(epochs))
    assert changes > 8, "the trials ran one after another"
    assert not [path for path in sweep.root.iterdir() if path.name.startswith(".tune")]


def test_the_same_search_as_without_ray(tmp_path):
    from search_fixtures import Executor

    plan = make_plan(tmp_path, rungs=(0.25, 0.5), keep=0.34, budget=Budget(trials=13))
    sweep, other = make_sweep(tmp_path), make_sweep(tmp_path, "other")
    run(sweep, plan, concurrent=1)
    Executor(open_conductor(other, plan)).run()
    assert suggestions(sweep) == suggestions(other)
    assert outcomes(sweep) == outcomes(other)
    assert epochs_trained(sweep) == epochs_trained(other)


def test_pruning_spends_less_than_sixty_percent(tmp_path):
    plan = make_plan(tmp_path, suggest=with_setting(epochs=8), rungs=(0.125, 0.5), keep=0.34, budget=Budget(trials=12))
    sweep = make_sweep(tmp_path)
    run(sweep, plan)
    assert sum(map(len, epochs_trained(sweep).values())) < 0.6 * 12 * 8
    best = max(suggestions(sweep).items(), key=lambda item: score(item[1], 8))[0]
    assert outcomes(sweep)[best] == "completed"


def test_a_killed_worker_is_replaced_and_goes_on_from_its_checkpoint(tmp_path):
    plan = make_plan(tmp_path, suggest=with_setting(die_at=3), budget=Budget(trials=2))
    sweep = make_sweep(tmp_path)
    run(sweep, plan)
    assert outcomes(sweep) == {0: "completed", 1: "completed"}
    for directory in sweep.trial_directories():
        records = read_records(directory.history)
        assert [record["epoch"] for record in records] == [1, 2, 3, 4]
        assert len({record["pid"] for record in records}) == 2
        attempts = [read_json(path) for path in directory.attempts.iterdir()]
        assert sorted(attempt["from_epoch"] for attempt in attempts) == [0, 2]
        assert {record["attempt"] for record in records} == {attempt["token"] for attempt in attempts}
    failed = [event for event in read_events(sweep) if event["kind"] == "attempt-failed"]
    assert {event["number"] for event in failed} == {0, 1}


def test_a_trial_whose_workers_keep_failing_is_lost_and_replaced(tmp_path):
    def suggest(trial):
        return with_setting(**({"raise_at": 2} if trial.number == 0 else {}))(trial)

    sweep = make_sweep(tmp_path)
    conductor = run(sweep, make_plan(tmp_path, suggest=suggest, budget=Budget(trials=2)), max_failures=1)
    assert outcomes(sweep) == {0: "lost", 1: "completed", 2: "completed"}
    assert "the disk is gone" in read_json(sweep.trial(0).outcome)["message"]
    assert "the disk is gone" in sweep.trial(0).log.read_text(encoding="utf-8")
    assert conductor.study.trials[0].state == TrialState.FAIL
    assert len(list(sweep.trial(0).attempts.iterdir())) == 2


def test_a_rejected_trial_is_told_pruned_and_not_tried_again(tmp_path):
    def suggest(trial):
        return with_setting(**({"reject_at": 2} if trial.number == 0 else {}))(trial)

    sweep = make_sweep(tmp_path)
    conductor = run(sweep, make_plan(tmp_path, suggest=suggest, budget=Budget(trials=3)))
    assert outcomes(sweep) == {0: "rejected", 1: "completed", 2: "completed"}
    assert read_json(sweep.trial(0).outcome)["reason"] == "diverged"
    assert conductor.study.trials[0].state == TrialState.PRUNED
    assert len(list(sweep.trial(0).attempts.iterdir())) == 1


def test_stopped_it_leaves_trials_that_go_on_later(tmp_path):
    plan = make_plan(tmp_path, suggest=with_setting(wait=0.5), budget=Budget(trials=3))
    sweep = make_sweep(tmp_path)
    run(sweep, plan, should_stop=lambda: any(len(epochs) >= 2 for epochs in epochs_trained(sweep).values()))
    assert outcomes(sweep) == {}
    assert any(epochs_trained(sweep).values())
    run(sweep, plan)
    assert outcomes(sweep) == dict.fromkeys(range(3), "completed")
    assert set(map(tuple, epochs_trained(sweep).values())) == {(1, 2, 3, 4)}


def test_with_grace_the_trials_that_run_end_their_epoch(tmp_path):
    plan = make_plan(tmp_path, suggest=with_setting(wait=1.0, meet=2), budget=Budget(trials=2))
    sweep = make_sweep(tmp_path)
    conductor = run(sweep, plan, should_stop=lambda: any(epochs_trained(sweep).values()), grace=30.0)
    assert [trial.state for trial in conductor.study.trials] == [TrialState.RUNNING] * 2
    stopped = epochs_trained(sweep)
    assert all(len(epochs) in (1, 2) for epochs in stopped.values())
    heard = {(event["number"], event["epoch"]) for event in read_events(sweep) if event["kind"] == "epoch"}
    assert heard == {(number, epoch) for number, epochs in stopped.items() for epoch in epochs}
    run(sweep, plan)
    assert set(map(tuple, epochs_trained(sweep).values())) == {(1, 2, 3, 4)}


def test_a_trial_is_ended_on_request_and_the_others_go_on(tmp_path):
    plan = make_plan(tmp_path, suggest=with_setting(wait=1.0), budget=Budget(trials=3))
    sweep = make_sweep(tmp_path)
    asked = []

    def ask():
        if not asked and epochs_trained(sweep).get(0):
            asked.append(request_stop(sweep, 0))
        return False

    conductor = run(sweep, plan, should_stop=ask)
    assert outcomes(sweep) == {0: "pruned", 1: "completed", 2: "completed"}
    assert read_json(sweep.trial(0).outcome)["reason"] == "stopped"
    assert len(epochs_trained(sweep)[0]) < 4
    assert conductor.study.trials[0].state == TrialState.PRUNED


def test_a_worker_that_is_killed_from_outside_is_noticed(tmp_path):
    plan = make_plan(tmp_path, suggest=with_setting(wait=0.3), budget=Budget(trials=1))
    sweep = make_sweep(tmp_path)
    killed = []

    def kill_worker():
        while not killed:
            time.sleep(0.05)
            epochs = [event for event in read_events(sweep) if event["kind"] == "epoch"]
            if len(epochs) >= 2:
                os.kill(epochs[-1]["pid"], signal.SIGKILL)
                killed.append(epochs[-1]["pid"])

    killer = threading.Thread(target=kill_worker, daemon=True)
    killer.start()
    run(sweep, plan)
    killer.join(10)
    records = read_records(sweep.trial(0).history)
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert records[0]["pid"] in killed
    assert records[-1]["pid"] not in killed


def test_the_index_is_written_meanwhile(tmp_path):
    sweep = make_sweep(tmp_path)
    run(sweep, make_plan(tmp_path, suggest=with_setting(wait=0.3), budget=Budget(trials=4)))
    written = [event["kind"] for event in read_events(sweep) if event["kind"] == "index-written"]
    assert len(written) >= 1
    assert read_index(sweep).trials.num_rows >= 1


def test_an_address_where_nobody_listens_is_refused_at_once():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(ClusterError, match=f"127.0.0.1:{port} cannot be reached"):
        connect(f"127.0.0.1:{port}")


def test_an_address_without_a_port_is_refused():
    with pytest.raises(ClusterError, match=r"^10\.0\.0\.1 is no address of a Ray cluster"):
        connect("10.0.0.1")


def test_a_trial_that_fits_nowhere_is_refused(tmp_path):
    with pytest.raises(UsageError, match="asks for 999 CPU cores"):
        run(make_sweep(tmp_path), make_plan(tmp_path), cpu=999.0)
