import os
import signal
import threading

import pytest
from search_fixtures import make_sweep

from mrisynth.errors import MrisynthError
from mrisynth.files import read_json, write_json
from mrisynth.results.control import request_stop
from mrisynth.results.store import sweep_state, timestamp
from mrisynth.search import lease as lease_module
from mrisynth.search.lease import LeaseLostError, hold


@pytest.fixture
def sweep(tmp_path):
    return make_sweep(tmp_path)


def test_a_second_driver_is_refused_and_told_who_holds_it(sweep):
    with hold(sweep), pytest.raises(MrisynthError, match=rf"process {os.getpid()} on .* is 0 s old") as refusal:
        hold(sweep).__enter__()
    assert refusal.value.exit_code == 6


def test_a_sweep_is_free_again_when_its_driver_ended(sweep):
    with hold(sweep):
        pass
    with hold(sweep) as lease:
        assert lease.sweep == sweep


def beat_elsewhere(sweep, *, age=0.0):
    write_json(sweep.heartbeat, {"state": "running", "time": timestamp(), "pid": 1, "host": "elsewhere"})
    moment = sweep.heartbeat.stat().st_mtime - age
    os.utime(sweep.heartbeat, (moment, moment))


def test_a_driver_on_another_host_is_believed_while_it_lives(sweep):
    beat_elsewhere(sweep, age=30)
    with pytest.raises(MrisynthError, match="process 1 on elsewhere, whose last sign of life is 30 s old"), hold(sweep):
        pass


def test_a_driver_on_another_host_loses_the_sweep_when_it_is_silent(sweep):
    beat_elsewhere(sweep, age=61)
    pauses = []
    with hold(sweep, pause=pauses.append) as lease:
        lease.check()
    assert pauses == [lease_module.SETTLES_IN]


def test_of_two_hosts_that_take_a_sweep_at_once_one_has_it(sweep):
    beat_elsewhere(sweep, age=61)
    with pytest.raises(LeaseLostError, match="process 7 on third"), hold(sweep, pause=lambda _: take_elsewhere(sweep)):
        pytest.fail("held")


def take_elsewhere(sweep):
    write_json(sweep.root / "lease.json", {"token": "other", "pid": 7, "host": "third", "time": timestamp()})


def test_a_driver_that_slept_and_lost_the_sweep_does_not_write_any_more(sweep, monkeypatch):
    with hold(sweep) as lease:
        before = sweep.heartbeat.read_bytes()
        take_elsewhere(sweep)
        lease.check()  # its sign of life is so young that nobody can have taken the sweep
        slept = lease_module.now() + 90
        monkeypatch.setattr(lease_module, "now", lambda: slept)
        with pytest.raises(LeaseLostError, match="process 7 on third"):
            lease.check()
        assert lease.should_stop()
        lease.beat()
        lease.state = "done"
    assert sweep.heartbeat.read_bytes() == before


def test_a_driver_that_slept_and_kept_the_sweep_goes_on(sweep, monkeypatch):
    with hold(sweep) as lease:
        slept = lease_module.now() + 90
        monkeypatch.setattr(lease_module, "now", lambda: slept)
        lease.check()


def test_the_state_is_running_and_then_what_the_driver_says(sweep):
    with hold(sweep) as lease:
        assert sweep_state(sweep) == "running"
        lease.state = "done"
    assert sweep_state(sweep) == "done"


def test_a_driver_that_crashes_leaves_a_failed_sweep(sweep):
    with pytest.raises(ZeroDivisionError), hold(sweep):
        raise ZeroDivisionError
    assert sweep_state(sweep) == "failed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_for_an_end_and_a_second_one_forces_it(sweep, number):
    before = signal.getsignal(number)
    with hold(sweep) as lease:
        assert not lease.should_stop()
        os.kill(os.getpid(), number)
        assert lease.should_stop()
        assert lease.signal == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_signs_of_life_go_on_and_requests_are_seen(sweep, monkeypatch):
    monkeypatch.setattr(lease_module, "HEARTBEAT_EVERY", 0.01)
    seen = threading.Event()
    with hold(sweep) as lease:
        first = read_json(sweep.heartbeat)["time"]
        request_stop(sweep)
        while not lease.should_stop():
            seen.wait(0.01)
        while read_json(sweep.heartbeat)["time"] == first:
            seen.wait(0.01)


def test_an_old_request_does_not_stop_a_new_driver(sweep):
    request_stop(sweep)
    with hold(sweep) as lease:
        lease.beat()
        assert not lease.should_stop()


def test_a_driver_elsewhere_is_waited_for_until_it_is_known_whether_it_lives(tmp_path, monkeypatch):
    from mrisynth.errors import HeldError
    from mrisynth.search import lease as lease_module

    sweep = make_sweep(tmp_path)
    first = {"state": "running", "host": "elsewhere", "pid": 1, "time": "12:00:00", "age": 50.0}
    beats, said, pauses = [], [], []
    monkeypatch.setattr(lease_module, "_last_beat", lambda _: beats.pop(0))
    beats += [first, {**first, "age": 55.0}, {**first, "age": 60.0}]
    lease_module.wait_until_free(sweep, say=said.append, pause=pauses.append)
    assert (len(said), len(pauses), beats) == (1, 2, [])
    beats += [first, *[{**first, "time": "12:00:05", "age": 1.0}] * 2]
    with pytest.raises(HeldError, match="is held by process 1 on elsewhere"):
        lease_module.wait_until_free(sweep, say=said.append, pause=pauses.append)
