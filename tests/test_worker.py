"""The worker's own behaviour, without Ray around it."""

import errno
import json
import os

import pytest
import stub_trial
from search_fixtures import STUB

from mrisynth import __version__
from mrisynth.files import read_json
from mrisynth.results.store import TrialDirectory
from mrisynth.search import worker as worker_module
from mrisynth.search.attempts import FencedError, noted_failure
from mrisynth.search.worker import TrialWorker, find_function


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """A worker that has just been given trial 0."""
    monkeypatch.setattr(worker_module.ray, "get_gpu_ids", lambda: [])
    made = TrialWorker.__new__(TrialWorker)
    made.setup(assign(tmp_path, 0))
    return made


def assign(tmp_path, number, **setting):
    directory = tmp_path / str(number)
    directory.mkdir()
    (directory / "fence").write_text(f"token-{number}", encoding="utf-8")
    config = {"x": 0.3, "epochs": 3, **setting}
    assignment = {"number": number, "config": config, "store": "", "directory": str(directory), "rungs": [2]}
    return {"number": number, "assignment": json.dumps({**assignment, "train": STUB, "version": __version__})}


def step(worker):
    return json.loads(worker.step()["record"])


def test_a_step_is_an_epoch(worker):
    records = [step(worker) for _ in range(3)]
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert [record["scores"] is not None for record in records] == [False, True, True]
    assert {record["attempt"] for record in records} == {"token-0"}


def test_the_attempt_is_noted_with_who_and_from_where(worker, tmp_path):
    step(worker)
    note = read_json(tmp_path / "0" / "attempts" / "token-0.json")
    assert (note["token"], note["pid"], note["from_epoch"]) == ("token-0", os.getpid(), 0)


def test_a_worker_is_used_again(worker, tmp_path):
    step(worker)
    assert worker.reset_config(assign(tmp_path, 1))
    assert step(worker)["epoch"] == 1
    assert len(TrialDirectory(tmp_path / "0").history.read_text(encoding="utf-8").splitlines()) == 1


def test_nothing_is_built_before_the_first_step(worker, tmp_path):
    assert worker.reset_config(assign(tmp_path, 1, raise_at=1))
    with pytest.raises(OSError, match="the disk is gone"):
        worker.step()
    assert read_json(tmp_path / "1" / "attempts" / "token-1.json")["error"] == "OSError: the disk is gone"
    assert "Traceback" in (tmp_path / "1" / "log.txt").read_text(encoding="utf-8")


def test_a_worker_that_was_taken_for_dead_does_not_write_any_more(worker, tmp_path):
    step(worker)
    (tmp_path / "0" / "fence").write_text("a successor", encoding="utf-8")
    with pytest.raises(FencedError):
        worker.step()
    assert len((tmp_path / "0" / "history.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_a_worker_that_is_replaced_in_the_middle_of_an_epoch_does_not_write_its_end(worker, tmp_path, monkeypatch):
    step(worker)
    left = {path: path.read_bytes() for path in (tmp_path / "0").rglob("*") if path.is_file()}
    fence = tmp_path / "0" / "fence"

    def replace_it(config, epoch, trial):
        fence.write_text("a successor", encoding="utf-8")

    monkeypatch.setattr(stub_trial, "_misbehave", replace_it)
    with pytest.raises(FencedError):
        worker.step()
    assert {path.name for path, content in left.items() if path.read_bytes() != content} <= {
        "begun.jsonl",  # written before it was replaced
        "fence",
        "log.txt",
        "token-0.json",
    }


def test_a_disk_that_is_full_is_the_storages_fault(worker, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stub_trial, "_misbehave", full)
    with pytest.raises(OSError, match="No space"):
        worker.step()
    failure = noted_failure(TrialDirectory(tmp_path / "0"))
    assert (failure.reason, failure.message) == ("storage", "OSError: [Errno 28] No space left on device")


def test_memory_that_ran_out_is_a_rejection(worker, tmp_path):
    worker.reset_config(assign(tmp_path, 1, too_large_at=1))
    assert step(worker)["rejected"] == "out of memory"


def test_a_rejection_is_a_record_and_no_failure(worker, tmp_path):
    worker.reset_config(assign(tmp_path, 1, reject_at=1))
    assert step(worker) == {"rejected": "diverged", "message": "epoch 1: the training loss 'l1' is nan"}


def test_what_is_printed_goes_into_the_trials_log(worker, tmp_path, monkeypatch):
    def chatty(config, **where):
        print("hello")
        yield {"epoch": 1}

    monkeypatch.setattr(worker_module, "find_function", lambda path: chatty)
    step(worker)
    assert (tmp_path / "0" / "log.txt").read_text(encoding="utf-8") == "hello\n"


def test_a_function_is_found_by_its_path():
    assert find_function("json:dumps") is json.dumps
