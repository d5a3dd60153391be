"""The study: the only truth of the search. Only the driver touches it.

It is an Optuna study, in a journal file unless a database is named. What we add to its trials stands in user
attributes: `name` of a named trial, `grid` of a grid's point, `retry_of` of one that repeats another or goes on with it
(`promoted` where a rung let it), `whole` of a trial that no rung stops, one `rung:<i>` for each rung reached, `gpu` of
a trial that needs a larger share, `seconds`, `gpu_seconds` where it had one, and `outcome`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from mrisynth.errors import InvalidInputError
from mrisynth.search.outcome import CUT, Outcome
from mrisynth.search.pruning import Direction, Promotions, Standing
from mrisynth.search.storage.claim import STUDY
from mrisynth.search.storage.database import JOURNAL
from mrisynth.search.storage.door import open_storage
from mrisynth.search.storage.outage import AT_ONCE, Patience

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
"""What may count in a budget of trials: completed, pruned and rejected, not lost."""
INFEASIBLE = "rejected: infeasible"
"""The outcome of a suggestion that no worker was given; it does not count in a budget of trials."""

_RUNG = "rung:"


def open_study(
    journal: Path,
    *,
    objectives: Mapping[str, Direction],
    sampler: BaseSampler,
    storage: str = JOURNAL,
    name: str = STUDY,
    before_write: Callable[[], None] = lambda: None,
    patience: Patience = AT_ONCE,
) -> optuna.Study:
    """Open the study, or create it if there is none.

    Args:
        journal: the journal file; its folder is made.
        objectives: metric -> "maximize" or "minimize", in the order in which they are told.
        sampler: who suggests.
        storage: "journal", "sqlite" (a file beside the journal), or the URL of a database.
        name: the study's name in its storage.
        before_write: called before everything that changes the study; may raise, and then nothing is changed.
        patience: how long an outage of the storage is waited for.

    Raises:
        StorageLostError: the storage cannot be used.
        InvalidInputError: the stored study has other objectives.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    opened = open_storage(journal, storage, before_write=before_write, patience=patience)
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


def counted_trials(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The finished trials that count in a budget of trials: not the lost ones, nor those that no worker was given."""
    finished = (trial for trial in trials if trial.state in COUNTED)
    return [trial for trial in finished if trial.user_attrs.get("outcome") != INFEASIBLE]


def infeasible_in_a_row(trials: Sequence[FrozenTrial]) -> int:
    """How many of the latest finished trials were infeasible, one after the other."""
    finished = (trial for trial in reversed(trials) if trial.state in COUNTED)
    return sum(1 for _ in takewhile(lambda trial: trial.user_attrs.get("outcome") == INFEASIBLE, finished))


def find_trial(study: optuna.Study, number: int) -> FrozenTrial:
    """The stored trial of that number."""
    storage = study._storage  # the study's own way leads over all its trials
    return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study._study_id, number))


def waiting_trials(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that were queued and not yet begun, by number."""
    return [trial for trial in trials if trial.state == TrialState.WAITING]


def queue_named(study: optuna.Study, points: Mapping[str, Mapping[str, Any]]) -> None:
    """Queue the named trials that are not in the study yet, each with the parameters that the space has for it."""
    known = {trial.user_attrs.get("name") for trial in study.get_trials(deepcopy=False)}
    for name, parameters in points.items():
        if name not in known:
            study.enqueue_trial(dict(parameters), user_attrs={"name": name})


def ask(study: optuna.Study, grid: Sequence[Mapping[str, Any]] | None) -> int:
    """The number of a new trial: of a grid the first point that no trial has, or else what the sampler suggests."""
    if grid is None:
        return study.ask().number
    point = min(_left(study.get_trials(deepcopy=False), grid))
    # In the study at once and whole, so that a killed driver leaves it either waiting or untouched.
    study.enqueue_trial(dict(grid[point]), user_attrs={"grid": point})
    return waiting_trials(study.get_trials(deepcopy=False))[0].number


def is_exhausted(trials: Iterable[FrozenTrial], grid: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether there is a grid, and a trial for each of its points."""
    return grid is not None and not _left(trials, grid)


def _left(trials: Iterable[FrozenTrial], grid: Sequence[Mapping[str, Any]]) -> set[int]:
    """The points of a grid that no trial has."""
    return set(range(len(grid))) - {trial.user_attrs.get("grid") for trial in trials}


def queue_retries(study: optuna.Study, kinds: Collection[str] = (), trials: Collection[int] = ()) -> list[int]:
    """Queue finished trials again, each once, every one as a new trial with the same parameters.

    Args:
        study: the study.
        kinds: outcomes of which every trial is repeated: "lost", or one with its reason like "pruned: budget".
        trials: pruned trials that are repeated too; no rung stops them again.

    Returns:
        The numbers of the trials that are repeated.

    Raises:
        InvalidInputError: one of `trials` was not pruned, or was repeated before; nothing is queued then.
    """
    stored = study.get_trials(deepcopy=False)
    repeated = _repeated(stored)
    for number in trials:
        _refuse_retry(stored, number, repeated)
    chosen = [
        trial
        for trial in stored
        if (_is_one_of(trial, kinds) and trial.user_attrs["outcome"] != INFEASIBLE and trial.number not in repeated)
        or trial.number in trials
    ]
    for trial in chosen:
        marks = {"name": trial.user_attrs["name"]} if "name" in trial.user_attrs else {}
        marks |= {"whole": True} if trial.number in trials else {}
        study.enqueue_trial(trial.params, user_attrs={**marks, "retry_of": trial.number})
    return [trial.number for trial in chosen]


def find_promotion(promotions: Promotions, trials: Sequence[FrozenTrial], *, least: int) -> int | None:
    """The trial that a rung stopped and that may go on by now; None if there is none.

    Args:
        promotions: asked before for the same study.
        trials: all trials.
        least: how many of each family go on from each rung, however few have reached it.
    """
    repeated = _repeated(trials)
    stopped = {
        trial.number: max(rung for rung, _ in _rungs(trial))
        for trial in trials
        if trial.user_attrs.get("outcome") == "pruned" and trial.state.is_finished() and trial.number not in repeated
    }
    if not stopped:
        return None
    reached: dict[tuple[int, str], list[tuple[int, Standing]]] = {}
    for trial in trials:
        for rung, standing in _rungs(trial):
            reached.setdefault((rung, standing.family), []).append((trial.number, standing))
    return promotions.find(reached, stopped, least=least)


def promote(study: optuna.Study, number: int) -> int:
    """Queue a trial to go on from the rung that stopped it, as a new trial; the number of that."""
    stopped = find_trial(study, number)
    # In the study at once and whole: a killed driver leaves it either waiting or untouched.
    study.enqueue_trial(stopped.params, user_attrs={"retry_of": number, "promoted": True})
    return waiting_trials(study.get_trials(deepcopy=False))[-1].number


def _repeated(trials: Iterable[FrozenTrial]) -> dict[int, int]:
    """Trial -> the one that repeats it or goes on with it."""
    return {trial.user_attrs["retry_of"]: trial.number for trial in trials if "retry_of" in trial.user_attrs}


def outcome_kind(trial: FrozenTrial) -> str | None:
    """How a stored trial ended: "completed", "pruned", "rejected" or "lost"; None while it has not."""
    outcome: str | None = trial.user_attrs.get("outcome")
    return outcome.split(":")[0] if outcome is not None and trial.state.is_finished() else None


def continued_trials(trials: Sequence[FrozenTrial]) -> set[int]:
    """The trials that were pruned and that others go on with."""
    others = {trial.user_attrs.get("retry_of") for trial in trials}
    return {trial.number for trial in trials if trial.number in others and outcome_kind(trial) == "pruned"}


def is_asked_for(study: optuna.Study, marks: Mapping[str, Any]) -> bool:
    """Whether a trial, by its user attributes, repeats another one on request: no budget of time ends that."""
    old = marks.get("retry_of")
    if old is None or "promoted" in marks:
        return False
    return "whole" in marks or find_trial(study, old).user_attrs.get("outcome") != CUT


def _is_one_of(trial: FrozenTrial, kinds: Collection[str]) -> bool:
    kind = outcome_kind(trial)
    return kind is not None and (kind in kinds or trial.user_attrs["outcome"] in kinds)


def _refuse_retry(stored: list[FrozenTrial], number: int, repeated: Mapping[int, int]) -> None:
    """Refuse to repeat what is no pruned trial, or was repeated before."""
    if not 0 <= number < len(stored):
        raise InvalidInputError(f"there is no trial {number}; the last one is {len(stored) - 1}")
    kind = outcome_kind(stored[number])
    if kind != "pruned":
        raise InvalidInputError(f"trial {number} is {kind or 'not at its end'}, not pruned")
    if number in repeated:
        raise InvalidInputError(f"trial {number} was tried again before, as trial {repeated[number]}")


def record_rung(study: optuna.Study, number: int, standing: Standing, *, epoch: int, pruned: bool) -> None:
    """Store where a trial stood on a rung, then the verdict with it: a driver killed after that decides no other.

    Args:
        study: the study.
        number: the trial.
        standing: its family, the rung, the values.
        epoch: after which epoch of its own.
        pruned: the verdict.
    """
    trial = _open_trial(study, number)
    stored = {"epoch": epoch, "values": list(standing.values), "family": standing.family, "pruned": pruned}
    # Optuna refuses intermediate values in a study of several objectives, and one that it has already.
    if len(study.directions) == 1 and epoch not in find_trial(study, number).intermediate_values:
        trial.report(standing.values[0], epoch)
    trial.set_user_attr(f"{_RUNG}{standing.rung}", stored)


def find_verdict(study: optuna.Study, number: int, rung: int) -> bool | None:
    """Whether a trial was pruned on a rung; None where the study has not heard of it."""
    stored = find_trial(study, number).user_attrs.get(f"{_RUNG}{rung}")
    return None if stored is None else bool(stored["pruned"])


def judged_rungs(study: optuna.Study, number: int) -> set[int]:
    """The rungs on which a trial was judged, itself or as one of those that it goes on from."""
    trial = find_trial(study, number)
    own = {rung for rung, _ in _rungs(trial)}
    before = trial.user_attrs.get("retry_of")
    return own if before is None else own | judged_rungs(study, before)


def standings(study: optuna.Study, rung: int, *, but: int) -> Iterator[Standing]:
    """Where every trial but one stands that has reached a rung."""
    for trial in study.get_trials(deepcopy=False):
        if trial.number != but:
            yield from (standing for reached, standing in _rungs(trial) if reached == rung)


def _rungs(trial: FrozenTrial) -> Iterator[tuple[int, Standing]]:
    """Every rung that a trial reached, and where it stands there."""
    for key, stored in trial.user_attrs.items():
        if key.startswith(_RUNG):
            rung = int(key.removeprefix(_RUNG))
            # Older versions stored the first objective alone.
            yield rung, Standing(stored["family"], rung, tuple(stored.get("values", [stored.get("value")])))


def tell(study: optuna.Study, number: int, outcome: Outcome, *, seconds: float = 0.0, share: float = 0.0) -> None:
    """Tell the study how a trial ended, once; a trial that it knows to be finished is left alone.

    Args:
        study: the study.
        number: the trial.
        outcome: how it ended.
        seconds: how long its workers trained, for the budget.
        share: its share of a GPU.
    """
    if find_trial(study, number).state.is_finished():
        return
    trial = _open_trial(study, number)
    trial.set_user_attr("seconds", seconds)
    if share:
        trial.set_user_attr("gpu_seconds", share * seconds)
    trial.set_user_attr("outcome", outcome.title)
    # Optuna ranks a trial pruned late above one pruned early; one that cannot be trained is worse than both.
    excesses = outcome.excesses or ({"rejected": 1.0} if outcome.kind == "rejected" else {})
    known = find_trial(study, number).constraints
    for constraint in excesses.keys() - known.keys():
        trial.set_constraint(constraint, excesses[constraint])
    objectives: dict[str, str] = study.user_attrs["objectives"]
    values = [outcome.values[name] for name in objectives] if outcome.kind == "completed" else None
    study.tell(number, values, state=outcome.state, skip_if_finished=True)


def set_share(study: optuna.Study, number: int, gpu: float) -> None:
    """Store how much of a GPU a trial needs, more than the others."""
    _open_trial(study, number).set_user_attr("gpu", gpu)


def find_share(study: optuna.Study, number: int) -> float | None:
    """How much of a GPU a trial needs; None: what every trial gets."""
    share: float | None = find_trial(study, number).user_attrs.get("gpu")
    return share


def seconds_spent(study: optuna.Study) -> float:
    """How long the workers of all finished trials trained, in seconds."""
    return _sum(study, "seconds")


def gpu_seconds_spent(study: optuna.Study) -> float:
    """The same, each weighted by its share of a GPU."""
    return _sum(study, "gpu_seconds")


def _sum(study: optuna.Study, attribute: str) -> float:
    return sum(float(trial.user_attrs.get(attribute, 0.0)) for trial in study.get_trials(deepcopy=False))


def _open_trial(study: optuna.Study, number: int) -> optuna.Trial:
    return optuna.Trial(study, find_trial(study, number)._trial_id)
