"""The journal holds whole lines only, whatever is killed or full."""

import errno
import json
import multiprocessing
import os
import signal

import pytest

from mrisynth.search.sampler import SeededSampler
from mrisynth.search.storage import journal as journal_module
from mrisynth.search.storage.journal import JournalLock, WholeLines, cut_torn_line
from mrisynth.search.study import open_study


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal.log"


def lines_of(journal):
    return [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]


def test_a_whole_journal_is_not_cut(journal):
    open_study(journal, objectives={"psnr": "maximize"}, sampler=SeededSampler("tpe", 0)).ask()
    assert cut_torn_line(journal) == 0


@pytest.mark.parametrize("torn", [b'{"a', b"x" * 200_000])
def test_a_line_that_another_process_tore_is_cut_before_the_next(journal, torn):
    backend = WholeLines(journal)
    backend.append_logs([{"a": 1}])
    with journal.open("ab") as stream:
        stream.write(torn)
    backend.append_logs([{"a": 2}, {"a": 3}])
    assert lines_of(journal) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert list(WholeLines(journal).read_logs(0)) == lines_of(journal)


def test_nothing_but_a_torn_line_leaves_an_empty_journal(journal):
    journal.write_bytes(b'{"op_co')
    assert cut_torn_line(journal) == 7
    assert journal.read_bytes() == b""


def test_of_what_a_full_disk_took_in_half_nothing_is_left(journal, monkeypatch):
    backend = WholeLines(journal)
    backend.append_logs([{"a": 1}])

    def write_half(stream, lines):
        stream.write(lines[: len(lines) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "_write", write_half)
        with pytest.raises(OSError, match="No space"):
            backend.append_logs([{"a": 2}])
    assert lines_of(journal) == [{"a": 1}]
    backend.append_logs([{"a": 3}])
    assert lines_of(journal) == [{"a": 1}, {"a": 3}]


def test_the_lock_of_a_killed_process_is_free(journal):
    child = multiprocessing.get_context("fork").Process(target=_hold_and_die, args=(journal,))
    child.start()
    child.join(10)
    assert child.exitcode == -signal.SIGKILL
    assert JournalLock(journal).acquire()


def _hold_and_die(journal):
    JournalLock(journal).acquire()
    os.kill(os.getpid(), signal.SIGKILL)
