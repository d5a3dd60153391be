import pytest
from search_fixtures import make_sweep

from mrisynth.results.control import clear_stop, is_stop_requested, request_stop, stop_requests


@pytest.fixture
def sweep(tmp_path):
    return make_sweep(tmp_path)


def test_without_requests_there_is_none(sweep):
    assert not is_stop_requested(sweep)
    assert stop_requests(sweep) == []


def test_a_sweep_and_its_trials_are_asked_for_apart(sweep):
    request_stop(sweep, 12)
    request_stop(sweep, 3)
    assert not is_stop_requested(sweep)
    assert stop_requests(sweep) == [3, 12]
    request_stop(sweep)
    assert is_stop_requested(sweep)
    clear_stop(sweep, 3)
    clear_stop(sweep)
    assert not is_stop_requested(sweep)
    assert stop_requests(sweep) == [12]


def test_other_files_are_no_requests(sweep):
    request_stop(sweep, 3)
    (sweep.control / ".stop-4.tmp").touch()
    (sweep.control / "stop-five").touch()
    assert stop_requests(sweep) == [3]
