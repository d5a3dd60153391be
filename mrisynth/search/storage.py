"""The one door to the study's storage: an Optuna storage whose every call goes through us.

A driver that has lost its lease is turned away here before it writes; whatever else has to happen around a call to the
storage belongs here too.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend

JOURNAL = "journal"

WRITES = (
    "create_new_study",
    "create_new_trial",
    "delete_study",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_system_attr",
    "set_trial_user_attr",
)
READS = (
    "check_trial_is_updatable",
    "get_all_studies",
    "get_all_trials",
    "get_best_trial",
    "get_n_trials",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "get_trial_number_from_id",
    "get_trial_param",
    "get_trial_params",
    "get_trial_system_attrs",
    "get_trial_user_attrs",
    "remove_session",
)


class JournalLock:
    """A kernel lock beside the journal. Unlike Optuna's own locks it is free the moment its holder dies."""

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(f"{journal.name}.lock")
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


def _through(name: str) -> Callable[..., Any]:
    """A method that hands a call on to the storage behind the door."""

    def call(self: "StudyStorage", *arguments: Any, **named: Any) -> Any:
        if name in WRITES:
            self.before_write()
        return getattr(self.inner, name)(*arguments, **named)

    call.__name__ = name
    return call


# Optuna asks for a subclass of its abstract class: its methods are made here, all alike.
_Door: Any = type("_Door", (BaseStorage,), {name: _through(name) for name in (*WRITES, *READS)})


class StudyStorage(_Door):  # type: ignore[misc]
    """A storage behind a door.

    Args:
        inner: the storage that holds the study.
        before_write: called before everything that changes the study; may raise, and then nothing is changed.
    """

    def __init__(self, inner: BaseStorage, before_write: Callable[[], None] = lambda: None) -> None:
        self.inner = inner
        self.before_write = before_write


def open_storage(
    journal: Path, storage: str = JOURNAL, *, before_write: Callable[[], None] = lambda: None
) -> BaseStorage:
    """Open the storage of a study.

    Args:
        journal: the journal file; its folder is made.
        storage: "journal", or the URL of a database (SQLite, PostgreSQL).
        before_write: see `StudyStorage`.
    """
    if storage != JOURNAL:
        return StudyStorage(get_storage(RDBStorage(storage)), before_write)
    before_write()
    journal.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalLock(journal)
    cut_torn_line(journal, lock)
    return StudyStorage(JournalStorage(JournalFileBackend(str(journal), lock_obj=lock)), before_write)  # type: ignore[arg-type]


def cut_torn_line(journal: Path, lock: JournalLock) -> int:
    """Cut off a last line that was not written to its end, which would poison the journal at the next append.

    Returns:
        How many bytes were cut off.
    """
    if not journal.is_file():
        return 0
    lock.acquire()
    try:
        data = journal.read_bytes()
        torn = len(data) - (data.rfind(b"\n") + 1)
        if torn:
            with journal.open("r+b") as stream:
                stream.truncate(len(data) - torn)
                os.fsync(stream.fileno())
        return torn
    finally:
        lock.release()
