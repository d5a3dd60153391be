"""A small sweep with every kind of outcome, cut off at every write and every call, ends as if nothing had happened."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from crash_points import recorded, restore
from search_fixtures import (
    StubConfig,
    epochs_trained,
    make_plan,
    make_search,
    make_sweep,
    open_conductor,
    outcomes,
    suggestions,
)

from mrisynth.files import read_json
from mrisynth.results.index import read_index
from mrisynth.results.store import SweepDirectory
from mrisynth.search import worker as worker_module
from mrisynth.search.settings import Budget
from mrisynth.search.study import queue_retries
from mrisynth.search.worker import TrialWorker

COUNTED = 3


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Nothing here cuts the power, and there is no GPU."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(worker_module.ray, "get_gpu_ids", lambda: [])


def suggest(trial):
    """Trial 0 is lost, 1 is rejected, 2 and 3 stop on their rung; a trial repeated is none of these."""
    x = trial.suggest_float("x", 0.0, 1.0)
    faults = {0: {"raise_at": 1}, 1: {"reject_at": 1}, 3: {"bend": 900}}
    return StubConfig({"x": x, "epochs": 2, **faults.get(trial.number, {})})


@dataclass
class Workers:
    """Runs a conductor's trials in this process by the real worker, one after another; without retries."""

    conductor: object
    worker: TrialWorker = field(default_factory=lambda: TrialWorker.__new__(TrialWorker))

    def run(self, written):
        while not isinstance(assignment := self.conductor.next_trial(), str):
            self.worker.setup({"assignment": json.dumps(asdict(assignment))})
            self.train(assignment.number)
            self.worker.cleanup()
            written()

    def train(self, number):
        try:
            while not self.conductor.hear(number, json.loads(self.worker.step()["record"])):
                pass
        except OSError:
            self.conductor.fail_attempt(number)
            self.conductor.lose(number)


def live_through(sweep: SweepDirectory) -> None:
    """A drive until the budget is spent, then one that tries the lost trial again."""
    plan = make_plan(sweep.root.parent, suggest=suggest, rungs=(0.5,), keep=0.5, budget=Budget(trials=COUNTED))
    index = make_search(sweep, plan).index
    conductor = open_conductor(sweep, plan)
    Workers(conductor).run(index.write)
    queue_retries(conductor.study, ["lost"])
    Workers(conductor).run(lambda: None)
    index.write()


def how_it_ended(sweep: SweepDirectory) -> dict:
    """All that has to be the same, however often it was cut off."""
    plan = make_plan(sweep.root.parent, suggest=suggest, budget=Budget(trials=COUNTED))
    study = open_conductor(sweep, plan).study
    index = read_index(sweep).trials
    return {
        "parameters": suggestions(sweep),
        "outcomes": outcomes(sweep),
        "epochs": epochs_trained(sweep),
        "study": [(trial.state, trial.values, trial.params, trial.user_attrs) for trial in study.trials],
        "index": dict(zip(index["trial"].to_pylist(), index["outcome"].to_pylist(), strict=True)),
        "repeats": {d.number: read_json(d.origin)["retry_of"] for d in sweep.trial_directories()},
    }


@pytest.fixture
def folder():
    """A folder in memory, where a file is replaced in no time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def assert_survives(folder: Path, *, part: int, of: int) -> None:
    sweep = make_sweep(folder)
    with recorded(sweep.root) as recorder:
        live_through(sweep)
    undisturbed = how_it_ended(sweep)

    assert list(undisturbed["outcomes"].values()) == ["lost", "rejected", "pruned", "pruned", "completed", "completed"]
    assert undisturbed["repeats"] == {0: None, 1: None, 2: None, 3: None, 4: 2, 5: 0}
    states = [*recorder.states, *recorder.torn()]
    assert len(states) > 400
    for nth in range(part, len(states), of):
        cut = SweepDirectory(folder / f"cut-{nth}")
        restore(states[nth], cut.root)
        live_through(cut)
        assert how_it_ended(cut) == undisturbed, nth


def test_cut_off_here_and_there_it_ends_as_if_nothing_had_happened(folder):
    assert_survives(folder, part=7, of=29)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_cut_off_anywhere_it_ends_as_if_nothing_had_happened(folder, part):
    assert_survives(folder, part=part, of=4)
