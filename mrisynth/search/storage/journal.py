"""The journal: one file with a line for each change of the study, of which no line is ever half there."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

_BLOCK = 1 << 16


class JournalLock:
    """A kernel lock beside the journal. Unlike Optuna's own locks it is free the moment its holder dies."""

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_suffix(".flock")  # not Optuna's name: its dashboard would break our lock
        self._descriptor = -1

    def acquire(self) -> bool:
        """Wait for the lock."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let the lock go."""
        os.close(self._descriptor)


class WholeLines(JournalFileBackend):
    """Optuna's journal, which never keeps half a line: a torn one poisons everything that is appended after it."""

    def __init__(self, journal: Path) -> None:
        self._lock_of_kernel = JournalLock(journal)
        self._journal = journal
        super().__init__(str(journal), lock_obj=self._lock_of_kernel)  # type: ignore[arg-type]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines, all of them or none: of what a full disk took in half, nothing is left.

        Raises:
            OSError: the disk is full or gone.
        """
        lines = "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in logs).encode()
        self._lock_of_kernel.acquire()
        try:
            with self._journal.open("a+b", buffering=0) as stream:
                whole = _cut(stream)
                try:
                    _write(stream, lines)
                except OSError:
                    stream.truncate(whole)
                    raise
        finally:
            self._lock_of_kernel.release()


def open_journal(journal: Path) -> JournalStorage:
    """Open the journal, or begin one; its folder is made, and a last line that a kill tore is cut off."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    cut_torn_line(journal)
    return JournalStorage(WholeLines(journal))


def cut_torn_line(journal: Path) -> int:
    """Cut off, under the lock, a last line that was not written to its end.

    Returns:
        How many bytes were cut off.
    """
    if not journal.is_file():
        return 0
    lock = JournalLock(journal)
    lock.acquire()
    try:
        with journal.open("r+b", buffering=0) as stream:
            size = stream.seek(0, os.SEEK_END)
            return size - _cut(stream)
    finally:
        lock.release()


def _cut(stream: BinaryIO) -> int:
    """Cut a torn last line off, and stand at the end.

    Returns:
        The size that is left, in bytes.
    """
    size = whole = stream.seek(0, os.SEEK_END)
    while whole:
        begin = max(0, whole - _BLOCK)
        stream.seek(begin)
        newline = stream.read(whole - begin).rfind(b"\n")
        if newline >= 0:
            whole = begin + newline + 1
            break
        whole = begin
    if whole < size:
        stream.truncate(whole)
        os.fsync(stream.fileno())
    stream.seek(whole)
    return whole


def _write(stream: BinaryIO, lines: bytes) -> None:
    while lines:
        lines = lines[stream.write(lines) :]
    os.fsync(stream.fileno())
