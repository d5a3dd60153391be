"""What is an outage, and how long anybody waits for its end."""

import errno
from contextlib import nullcontext
from itertools import count

import pytest
from optuna.exceptions import StorageInternalError
from search_fixtures import Executor, make_plan, make_search, make_sweep, outcomes
from sqlalchemy import exc

from mrisynth.search import driver
from mrisynth.search.driver import drive
from mrisynth.search.lease import hold
from mrisynth.search.storage import outage
from mrisynth.search.storage.outage import Patience, StorageLostError, is_outage, persist, wait_for_room

FULL = OSError(errno.ENOSPC, "No space left on device")


def caused(cause):
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FULL, True),
        (OSError(errno.EIO, "Input/output error"), True),
        (exc.OperationalError("select", {}, Exception("connection refused")), True),
        (caused(exc.OperationalError("select", {}, Exception("the database system is shutting down"))), True),
        (caused(exc.InterfaceError("select", {}, Exception("the connection is closed"))), True),
        (caused(exc.DataError("insert", {}, Exception("value too long"))), False),
        (caused(exc.ProgrammingError("select", {}, Exception("no such table"))), False),
        (OSError(errno.EACCES, "Permission denied"), False),
        (KeyError("study"), False),
    ],
)
def test_an_outage_is_what_trying_again_may_help_against(error, expected):
    assert is_outage(error) == expected


def failing(times, error=FULL):
    def attempt(tries):
        if tries < times:
            raise error
        return tries

    return attempt


def test_an_outage_is_waited_for_longer_and_longer_and_told_once():
    paused, said = [], []
    patience = Patience(60, say=said.append, pause=paused.append)
    assert persist(failing(7), where="the disk of here", patience=patience) == 7
    assert paused == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert said == [
        "the disk of here cannot be used (No space left on device); trying again for 60 s",
        "the disk of here can be used again",
    ]


def test_an_outage_that_lasts_too_long_is_an_error_of_one_sentence(monkeypatch):
    seconds = count(0, 10)
    monkeypatch.setattr(outage.time, "monotonic", lambda: next(seconds))
    error = caused(exc.OperationalError("select", {}, Exception('connection to "db" failed: refused\nIs it running?')))
    with pytest.raises(StorageLostError) as lost:
        persist(failing(100, error), where="postgresql://me@db/x", patience=Patience(30, pause=lambda _: None))
    assert str(lost.value) == 'postgresql://me@db/x cannot be used: connection to "db" failed: refused'


def test_whoever_is_asked_to_end_waits_no_longer():
    with pytest.raises(StorageLostError):
        persist(failing(2), where="the disk", patience=Patience(60, interrupted=lambda: True, pause=pytest.fail))


def test_other_errors_are_not_waited_for():
    with pytest.raises(KeyError):
        persist(failing(1, KeyError("a")), where="the disk", patience=Patience(60, pause=pytest.fail))


def test_a_folder_has_room_when_what_is_to_be_written_fits(tmp_path, monkeypatch):
    tried, paused = [], []

    def probe(folder, size):
        tried.append(size)
        if len(tried) < 3:
            raise FULL
        write(folder, size)

    write = outage._probe
    monkeypatch.setattr(outage, "_probe", probe)
    wait_for_room(tmp_path, size=3_000_000, patience=Patience(60, pause=paused.append))
    assert tried == [3_000_000] * 3
    assert len(paused) == 2
    assert list(tmp_path.iterdir()) == []


def fill_disk(monkeypatch, *, also=lambda: None):
    """A disk that is full while trials run, and twice when it is looked at after that; `also` happens meanwhile."""
    full, launches = [2], []

    def run(conductor, index, **_):
        launches.append(conductor)
        if len(launches) == 1:
            conductor.next_trial()
            raise RuntimeError("Tune tells nobody what it was")
        Executor(conductor).run()

    def probe(folder, size):
        full[0] -= 1
        also()
        if full[0] >= 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(driver, "ray_session", lambda _: nullcontext())
    monkeypatch.setattr(driver, "run_trials", run)
    monkeypatch.setattr(outage, "_probe", probe)
    monkeypatch.setattr(outage.time, "sleep", lambda _: None)


def test_a_full_disk_is_waited_for_and_the_search_goes_on(tmp_path, monkeypatch):
    fill_disk(monkeypatch)
    sweep, said = make_sweep(tmp_path), []
    search = make_search(sweep, make_plan(tmp_path), progress=said.append)
    with hold(sweep) as lease:
        assert drive(search, lease).trials == {"completed": 6}
    assert [sentence for sentence in said if "disk" in sentence] == [
        f"the disk of {sweep.root} cannot be used (No space left on device); trying again for 180 s",
        f"the disk of {sweep.root} can be used again",
    ]
    assert outcomes(sweep) == dict.fromkeys(range(6), "completed")


def test_whoever_asks_for_an_end_while_the_disk_is_full_gets_it(tmp_path, monkeypatch):
    sweep = make_sweep(tmp_path)
    search = make_search(sweep, make_plan(tmp_path))
    with hold(sweep) as lease:
        fill_disk(monkeypatch, also=lambda: lease._on_signal(15, None))
        ended = drive(search, lease)
    assert (ended.state, ended.signal, lease.state) == ("stopped", 15, "stopped")
