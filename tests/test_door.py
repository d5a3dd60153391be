"""The door to the study's storage: who may write, and what an outage may not double."""

import errno

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from search_fixtures import Executor, make_plan, make_sweep, open_conductor, outcomes, suggestions

from mrisynth.search.storage.database import parse_storage
from mrisynth.search.storage.door import READS, WRITES, StudyStorage
from mrisynth.search.storage.outage import Patience


def test_every_method_of_a_storage_goes_through_the_door():
    methods = {name for name, value in vars(BaseStorage).items() if callable(value) and not name.startswith("_")}
    assert methods == {*WRITES, *READS}


def test_who_may_not_write_changes_nothing_and_may_still_look():
    allowed = [True]

    def check():
        if not allowed:
            raise PermissionError

    study = optuna.create_study(storage=StudyStorage(InMemoryStorage(), check))
    study.enqueue_trial({"x": 1.0})
    allowed.clear()
    for action in (study.ask, lambda: study.set_user_attr("a", 1), lambda: study.enqueue_trial({"x": 2.0})):
        with pytest.raises(PermissionError):
            action()
    assert [trial.state.name for trial in study.get_trials()] == ["WAITING"]


class Cut(InMemoryStorage):
    """A storage whose every answer is lost once: before the work was done, or after it."""

    def __init__(self, when):
        super().__init__()
        self.when, self.lost = when, set()


def _losing(name):
    work = getattr(InMemoryStorage, name)

    def call(self, *arguments, **named):
        first = name not in self.lost
        self.lost.add(name)
        if first and self.when == "before":
            raise OSError(errno.ENOSPC, "No space left on device")
        result = work(self, *arguments, **named)
        if first:
            raise OSError(errno.EIO, "Input/output error")
        return result

    return call


for _name in (*WRITES, "get_all_trials", "get_trial"):
    setattr(Cut, _name, _losing(_name))


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_was_cut_off_is_done_once(when):
    paused = []
    door = StudyStorage(Cut(when), patience=Patience(60, pause=paused.append))
    study = optuna.create_study(storage=door, study_name="mine", direction="maximize")
    study.set_user_attr("a", 1)
    study.enqueue_trial({"x": 0.25}, user_attrs={"name": "first"})
    for _ in range(2):
        trial = study.ask()
        trial.suggest_float("x", 0.0, 1.0)
        trial.report(0.5, 1)
        trial.set_user_attr("b", 2)
        study.tell(trial, 1.0)
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "COMPLETE"]
    assert study.trials[0].params == {"x": 0.25}
    assert [trial.user_attrs for trial in study.trials] == [{"name": "first", "b": 2}, {"b": 2}]
    assert [trial.intermediate_values for trial in study.trials] == [{1: 0.5}, {1: 0.5}]
    assert len(paused) >= len(WRITES) - 3


def test_a_driver_that_lost_its_sweep_in_an_outage_writes_no_more():
    held, storage = [True], Cut("before")

    def check():
        if not held:
            raise PermissionError

    def pause(_):
        held.clear()

    door = StudyStorage(storage, check, patience=Patience(60, pause=pause))
    with pytest.raises(PermissionError):
        door.create_new_study([StudyDirection.MAXIMIZE], "mine")
    assert InMemoryStorage.get_all_studies(storage) == []


@pytest.mark.parametrize("storage", ["journal", "sqlite", "postgresql"])
def test_a_search_over_any_storage_ends_alike(tmp_path, storage, request):
    if storage == "postgresql":
        storage = parse_storage(request.getfixturevalue("postgres").url)
    sweep, plan = make_sweep(tmp_path), make_plan(tmp_path, rungs=(0.25,), keep=0.5)
    Executor(open_conductor(sweep, plan, storage=storage, name=f"mine-{tmp_path}")).run()
    in_memory = make_sweep(tmp_path, "another")
    Executor(open_conductor(in_memory, plan)).run()
    assert suggestions(sweep) == suggestions(in_memory)
    assert outcomes(sweep) == outcomes(in_memory)
    assert sweep.journal.exists() == (storage == "journal")
