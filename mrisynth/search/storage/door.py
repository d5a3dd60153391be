"""The one door to the study's storage: an Optuna storage whose every call goes through us.

A driver that has lost its lease is turned away here before it writes, and an outage is waited for. A call that was cut
off may have done its work all the same; as only one driver writes, we can look, and nothing is done twice.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from mrisynth.search.storage.database import JOURNAL, open_database
from mrisynth.search.storage.journal import open_journal
from mrisynth.search.storage.outage import AT_ONCE, Patience, persist

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


def _through(name: str) -> Callable[..., Any]:
    """A method that hands a call on to the storage behind the door."""

    def call(self: "StudyStorage", *arguments: Any, **named: Any) -> Any:
        return self.hand_on(name, *arguments, **named)

    call.__name__ = name
    return call


# Optuna asks for a subclass of its abstract class: its methods are made here, all alike.
_Door: Any = type("_Door", (BaseStorage,), {name: _through(name) for name in (*WRITES, *READS)})


class StudyStorage(_Door):  # type: ignore[misc]
    """A storage behind a door.

    Args:
        inner: the storage that holds the study.
        before_write: called before everything that changes the study; may raise, and then nothing is changed.
        where: what the storage is called in sentences.
        patience: how long an outage is waited for.
    """

    def __init__(
        self,
        inner: BaseStorage,
        before_write: Callable[[], None] = lambda: None,
        *,
        where: str = "the study's storage",
        patience: Patience = AT_ONCE,
    ) -> None:
        self.inner = inner
        self.before_write = before_write
        self.where = where
        self.patience = patience

    def hand_on(self, name: str, *arguments: Any, **named: Any) -> Any:
        """Call the storage behind the door, through outages.

        Raises:
            StorageLostError: the outage lasts too long.
            Exception: what `before_write` or the storage raises.
        """

        def attempt(tries: int) -> Any:
            if name in WRITES:
                self.before_write()
            done = settled(tries) if tries else None
            return getattr(self.inner, name)(*arguments, **named) if done is None else done

        settled = self._how_to_look(name, *arguments, **named)
        return persist(attempt, where=self.where, patience=self.patience)

    # What a call that was cut off had done after all: its result, or None where it had done nothing, or may simply be
    # repeated. It is called with how often the call was tried.

    def _how_to_look(self, name: str, *arguments: Any, **named: Any) -> Callable[[int], Any]:
        if name == "create_new_study":
            return lambda _: self._find_study(*arguments, **named)
        if name == "set_trial_state_values":
            return lambda _: self._find_state(*arguments, **named)
        if name == "create_new_trial":
            return self._find_new_trial(*arguments, **named)
        return lambda _: None

    def _find_study(self, directions: Any, study_name: str | None = None) -> int | None:
        try:
            return self.inner.get_study_id_from_name(str(study_name))
        except KeyError:
            return None

    def _find_state(self, trial_id: int, state: Any, values: Any = None) -> bool | None:
        return True if self.inner.get_trial(trial_id).state == state else None

    def _find_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> Callable[[int], int | None]:
        before = self.get_n_trials(study_id)

        def look(_: int) -> int | None:
            trials = self.inner.get_all_trials(study_id, deepcopy=False)
            return trials[before]._trial_id if len(trials) > before else None

        return look


def open_storage(
    journal: Path,
    storage: str = JOURNAL,
    *,
    before_write: Callable[[], None] = lambda: None,
    patience: Patience = AT_ONCE,
) -> StudyStorage:
    """Open the storage of a study.

    Args:
        journal: the journal file, beside which the file of "sqlite" lies; its folder is made.
        storage: as `database.parse_storage` gives it.
        before_write: see `StudyStorage`.
        patience: how long an outage is waited for.

    Raises:
        StorageLostError: it cannot be used.
    """

    def attempt(_: int) -> BaseStorage:
        before_write()
        return open_journal(journal) if storage == JOURNAL else open_database(storage, journal.parent)

    where = f"the study's storage {journal if storage == JOURNAL else storage}"
    return StudyStorage(persist(attempt, where=where, patience=patience), before_write, where=where, patience=patience)
