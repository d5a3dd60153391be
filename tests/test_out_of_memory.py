"""Out of memory over Ray: on a share of a (declared) GPU, and by the memory monitor, which is switched on here."""

import psutil
import pytest
from search_fixtures import StubConfig, epochs_trained, make_plan, make_sweep, open_conductor, outcomes, suggest_stub

from mrisynth.files import read_json
from mrisynth.results.index import Indexer
from mrisynth.results.store import read_events
from mrisynth.search.engine import Capacity, ray_session, run_trials
from mrisynth.search.index_writer import IndexWriter
from mrisynth.search.settings import Budget

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

ROOM, HOG = 2000, 4000
"""Megabytes that the monitor leaves free from now on, and that the greedy trial takes."""


def run(sweep, plan, capacity):
    index = IndexWriter(sweep, Indexer(sweep, metrics={}, config_schema={}, searched=[]))
    run_trials(open_conductor(sweep, plan), index, capacity=capacity, should_stop=lambda: False)


@pytest.fixture
def one_gpu(workers_find_stub):
    """Ray believes that there is one."""
    import ray

    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, logging_level="CRITICAL")
    yield
    ray.shutdown()


def test_out_of_memory_on_a_share_of_a_gpu_a_trial_goes_on_with_all_of_it(tmp_path, one_gpu):
    def suggest(trial):
        # Trial 0 has room enough on a whole GPU, trial 1 has not.
        greedy = {0: {"too_large_at": 3, "once": True}, 1: {"too_large_at": 3}}
        return StubConfig({**suggest_stub(trial).values, "wait": 0.1, **greedy.get(trial.number, {})})

    sweep = make_sweep(tmp_path)
    run(sweep, make_plan(tmp_path, suggest=suggest, budget=Budget(trials=4)), Capacity(gpu=0.5))
    assert outcomes(sweep) == {0: "completed", 1: "rejected", 2: "completed", 3: "completed"}
    assert read_json(sweep.trial(1).outcome)["reason"] == "out of memory"
    enlarged = [event["number"] for event in read_events(sweep) if event["kind"] == "enlarged"]
    assert sorted(enlarged) == [0, 1]
    assert epochs_trained(sweep) == {0: [1, 2, 3, 4], 1: [1, 2], 2: [1, 2, 3, 4], 3: [1, 2, 3, 4]}
    begun = [sorted(read_json(note)["from_epoch"] for note in sweep.trial(n).attempts.iterdir()) for n in (0, 1)]
    assert begun == [[0, 2], [0, 2]]


def test_what_a_trial_takes_of_a_gpu_is_measured_and_the_next_ones_share_it(tmp_path, one_gpu):
    def suggest(trial):
        return StubConfig({**suggest_stub(trial).values, "wait": 0.1})

    sweep = make_sweep(tmp_path)
    plan = make_plan(tmp_path, suggest=suggest, budget=Budget(trials=5), meter="stub_trial:measure_stub")
    run(sweep, plan, Capacity(gpu="auto"))
    assert set(outcomes(sweep).values()) == {"completed"}
    known = read_json(sweep.root / "gpu_memory.json")["known"].values()
    assert [(found["used"], found["total"]) for found in known] == [(20e9, 80e9)]
    shares = [read_json(sweep.trial(number).origin)["gpu"] for number in range(5)]
    assert (shares[0], shares[1:]) == (1.0, [0.3333] * 4)


@pytest.fixture
def ray(monkeypatch, workers_find_stub):
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + ROOM * 2**20) / memory.total
    if threshold > 0.9 or memory.available < 2 * HOG * 2**20:
        pytest.skip("there is too little memory to play with")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{threshold:.4f}")
    with ray_session(None):
        yield


def test_it_ends_one_trial_and_nothing_else(tmp_path, ray):
    def suggest(trial):
        greedy = {"hog_at": 2, "megabytes": HOG} if trial.number == 1 else {"wait": 0.2}
        return StubConfig({**suggest_stub(trial).values, **greedy})

    sweep = make_sweep(tmp_path)
    capacity = Capacity(max_concurrent=2, max_failures=1)
    run(sweep, make_plan(tmp_path, suggest=suggest, budget=Budget(trials=4)), capacity)
    assert outcomes(sweep) == {0: "completed", 1: "rejected", 2: "completed", 3: "completed"}
    stored = read_json(sweep.trial(1).outcome)
    assert stored["reason"] == "out of memory"
    assert "memory" in stored["message"]
    # The monitor may end a neighbour too, which is excused.
    failed = [event["number"] for event in read_events(sweep) if event["kind"] == "attempt-failed"]
    assert failed.count(1) == 2
    assert epochs_trained(sweep) == {0: [1, 2, 3, 4], 1: [1], 2: [1, 2, 3, 4], 3: [1, 2, 3, 4]}
