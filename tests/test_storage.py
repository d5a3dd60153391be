"""The door to the study's storage, and the journal behind it."""

import multiprocessing
import os
import signal

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from mrisynth.search.sampler import SeededSampler
from mrisynth.search.storage import READS, WRITES, JournalLock, StudyStorage, cut_torn_line
from mrisynth.search.study import open_study


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "study" / "journal.log"


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


def test_a_whole_journal_is_not_cut(journal):
    open_study(journal, objectives={"psnr": "maximize"}, sampler=SeededSampler("tpe", 0)).ask()
    assert cut_torn_line(journal, JournalLock(journal)) == 0


def test_the_lock_of_a_killed_process_is_free(journal):
    journal.parent.mkdir(parents=True)
    child = multiprocessing.get_context("fork").Process(target=_hold_and_die, args=(journal,))
    child.start()
    child.join(10)
    assert child.exitcode == -signal.SIGKILL
    assert JournalLock(journal).acquire()


def _hold_and_die(journal):
    JournalLock(journal).acquire()
    os.kill(os.getpid(), signal.SIGKILL)
