"""The study: the only truth of the search. Only the driver touches it.

It is an Optuna study, in a journal file unless a database is named. What we add to its trials stands in user
attributes: `name` of a named trial, `retry_of`, one `rung:<i>` for each rung reached, `seconds` and `outcome`.
"""

import fcntl
import os
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from mrisynth.errors import InvalidInputError
from mrisynth.search.outcome import Outcome
from mrisynth.search.pruning import Direction, Standing

STUDY_NAME = "mrisynth"
JOURNAL = "journal"
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
"""What counts in a budget of trials: completed, pruned and rejected, not lost."""


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


def open_study(
    journal: Path,
    *,
    objectives: Mapping[str, Direction],
    sampler: BaseSampler,
    storage: str = JOURNAL,
    name: str = STUDY_NAME,
) -> optuna.Study:
    """Open the study, or create it if there is none.

    Args:
        journal: the journal file; its folder is made.
        objectives: metric -> "maximize" or "minimize", the first of them the one that prunes.
        sampler: who suggests.
        storage: "journal", or the URL of a database (SQLite, PostgreSQL).
        name: the study's name in its storage.

    Raises:
        InvalidInputError: the stored study has other objectives.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    opened = _open_storage(journal, storage)
    pruner = optuna.pruners.NopPruner()
    try:
        study = optuna.load_study(study_name=name, storage=opened, sampler=sampler, pruner=pruner)
    except KeyError:
        directions = list(objectives.values())
        study = optuna.create_study(
            study_name=name, storage=opened, sampler=sampler, pruner=pruner, directions=directions
        )
    stored = study.user_attrs.get("objectives")
    if stored is None:
        study.set_user_attr("objectives", dict(objectives))
    elif stored != dict(objectives):
        raise InvalidInputError(f"{journal}: the study's objectives are {stored}, not {dict(objectives)}")
    return study


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


def take_trial(study: optuna.Study, number: int) -> optuna.Trial:
    """The trial `number`, waiting or running, as one that can be suggested to; it runs from now on.

    What a killed driver had stored of its parameters is returned again when the space asks for it; the rest is drawn.
    """
    # A fresh view of the study: the sampler shall see every trial that was told since.
    view = optuna.load_study(
        study_name=study.study_name, storage=study._storage, sampler=study.sampler, pruner=study.pruner
    )
    stored = find_trial(view, number)
    if stored.state == TrialState.WAITING:
        view._storage.set_trial_state_values(stored._trial_id, TrialState.RUNNING)
    return _open_trial(view, number)


def find_trial(study: optuna.Study, number: int) -> FrozenTrial:
    """The stored trial of that number."""
    return study.get_trials(deepcopy=False)[number]


def waiting_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were queued and not yet begun, by number."""
    return study.get_trials(deepcopy=False, states=(TrialState.WAITING,))


def queue_named(study: optuna.Study, points: Mapping[str, Mapping[str, Any]]) -> None:
    """Queue the named trials that are not in the study yet, each with the parameters that the space has for it."""
    known = {trial.user_attrs.get("name") for trial in study.get_trials(deepcopy=False)}
    for name, parameters in points.items():
        if name not in known:
            study.enqueue_trial(dict(parameters), user_attrs={"name": name})


def queue_retries(study: optuna.Study, kinds: Container[str]) -> list[int]:
    """Queue again, each once, the finished trials of these outcomes, every one as a new trial with the same parameters.

    Returns:
        The numbers of the trials that are repeated.
    """
    trials = study.get_trials(deepcopy=False)
    repeated = {trial.user_attrs.get("retry_of") for trial in trials}
    chosen = [
        trial
        for trial in trials
        if trial.user_attrs.get("outcome", "").split(":")[0] in kinds and trial.number not in repeated
    ]
    for trial in chosen:
        name = {"name": trial.user_attrs["name"]} if "name" in trial.user_attrs else {}
        study.enqueue_trial(trial.params, user_attrs={**name, "retry_of": trial.number})
    return [trial.number for trial in chosen]


def record_rung(study: optuna.Study, number: int, standing: Standing, *, epoch: int, pruned: bool) -> None:
    """Store where a trial stood on a rung, and the verdict with it, at once: a driver killed after it decides no other.

    Args:
        study: the study.
        number: the trial.
        standing: its family, the rung, the value.
        epoch: after which epoch of its own.
        pruned: the verdict.
    """
    trial = _open_trial(study, number)
    stored = {"epoch": epoch, "value": standing.value, "family": standing.family, "pruned": pruned}
    trial.set_user_attr(f"rung:{standing.rung}", stored)
    # Optuna refuses intermediate values in a study of several objectives.
    if len(study.directions) == 1:
        trial.report(standing.value, epoch)


def find_verdict(study: optuna.Study, number: int, rung: int) -> bool | None:
    """Whether a trial was pruned on a rung; None where the study has not heard of it."""
    stored = find_trial(study, number).user_attrs.get(f"rung:{rung}")
    return None if stored is None else bool(stored["pruned"])


def standings(study: optuna.Study, *, but: int) -> Iterator[Standing]:
    """Where every trial but one stands on the rungs it has reached."""
    for trial in study.get_trials(deepcopy=False):
        if trial.number != but:
            for key, stored in trial.user_attrs.items():
                if key.startswith("rung:"):
                    yield Standing(stored["family"], int(key.removeprefix("rung:")), stored["value"])


def tell(study: optuna.Study, number: int, outcome: Outcome, *, seconds: float = 0.0) -> None:
    """Tell the study how a trial ended, once; a trial that it knows to be finished is left alone.

    Args:
        study: the study.
        number: the trial.
        outcome: how it ended.
        seconds: how long its workers trained, for the budget of worker-hours.
    """
    if find_trial(study, number).state.is_finished():
        return
    trial = _open_trial(study, number)
    trial.set_user_attr("seconds", seconds)
    trial.set_user_attr("outcome", outcome.kind if outcome.reason is None else f"{outcome.kind}: {outcome.reason}")
    if outcome.kind == "rejected" and not find_trial(study, number).constraints:
        # Optuna ranks a trial pruned late above one pruned early; one that cannot be trained is worse than both.
        trial.set_constraint("rejected", 1.0)
    objectives: dict[str, str] = study.user_attrs["objectives"]
    values = [outcome.values[name] for name in objectives] if outcome.kind == "completed" else None
    study.tell(number, values, state=outcome.state, skip_if_finished=True)


def seconds_spent(study: optuna.Study) -> float:
    """How long the workers of all finished trials trained, in seconds."""
    return sum(float(trial.user_attrs.get("seconds", 0.0)) for trial in study.get_trials(deepcopy=False))


def _open_trial(study: optuna.Study, number: int) -> optuna.Trial:
    return optuna.Trial(study, find_trial(study, number)._trial_id)


def _open_storage(journal: Path, storage: str) -> BaseStorage:
    if storage != JOURNAL:
        return RDBStorage(storage)
    journal.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalLock(journal)
    cut_torn_line(journal, lock)
    return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))  # type: ignore[arg-type]
