"""Whether a toy sweep is whole: what its study, its folders, its index and its events say of one another."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import optuna
from optuna.trial import TrialState

from mrisynth.errors import MrisynthError
from mrisynth.files import read_json
from mrisynth.results.index import read_index
from mrisynth.results.store import SweepDirectory, TrialDirectory, read_events, read_records, sweep_state
from mrisynth.search.drill.toy import begun_file
from mrisynth.search.drill.toy_sweep import open_toy_study, read_toy_settings
from mrisynth.search.outcome import STATES, Outcome, read_outcome
from mrisynth.search.study import COUNTED, continued_trials, outcome_kind


def find_damage(sweep: SweepDirectory) -> list[str]:
    """What is not as it must be in a toy sweep that is done, one sentence each; none where all is whole."""
    study = open_toy_study(sweep)
    damage = list(_budget_damage(study, read_toy_settings(sweep).trials))
    if sweep_state(sweep) != "done":
        damage.append(f"the sweep is {sweep_state(sweep)}, not done")
    for trial in study.get_trials(deepcopy=False):
        damage += [f"trial {trial.number} {what}" for what in _trial_damage(sweep.trial(trial.number), trial)]
    damage += _folder_damage(sweep, study)
    damage += _index_damage(sweep, study)
    return damage


def begun_twice(sweep: SweepDirectory) -> int:
    """How many epochs were begun again after an interruption, in all trials together."""
    epochs = (_begun(directory) for directory in sweep.trial_directories())
    return sum(len(begun) - len(set(begun)) for begun in epochs)


def _budget_damage(study: optuna.Study, trials: int) -> Iterator[str]:
    trials_of = study.get_trials(deepcopy=False)
    states = Counter(trial.state for trial in trials_of)
    counted = sum(trial.state in COUNTED and "retry_of" not in trial.user_attrs for trial in trials_of)
    if counted != trials:
        yield f"the study counts {counted} trials instead of {trials}"
    for state in states.keys() - set(COUNTED):
        yield f"{states[state]} trials of the study are {state.name}"


def _trial_damage(directory: TrialDirectory, trial: optuna.trial.FrozenTrial) -> Iterator[str]:
    outcome = read_outcome(directory)
    if outcome is None:
        yield "has no outcome"
        return
    if STATES[outcome.kind] != trial.state or outcome_kind(trial) != outcome.kind:
        yield f"is {outcome.kind} in its folder and {trial.state.name} in the study"
    if trial.state == TrialState.COMPLETE and trial.values != list(outcome.values.values()):
        yield f"has the values {dict(outcome.values)} in its folder and {trial.values} in the study"
    history = read_records(directory.history)
    epochs = [record["epoch"] for record in history]
    if epochs != list(range(1, len(epochs) + 1)):
        yield f"has the epochs {epochs} in its history"
    elif outcome.kind in ("completed", "pruned") and len(epochs) != _last_epoch(outcome, history):
        yield f"is {outcome.kind} and has {len(epochs)} epochs"
    yield from _waste(directory, epochs, cut_off=outcome.kind in ("rejected", "lost"))


def _last_epoch(outcome: Outcome, history: list[dict[str, Any]]) -> int:
    planned: int = history[-1]["epochs"] if history else 0
    return planned if outcome.kind == "completed" else outcome.rung or planned


def _waste(directory: TrialDirectory, epochs: list[int], *, cut_off: bool) -> Iterator[str]:
    """Epochs that were begun without need: only the one that was interrupted may be begun again, by another attempt.

    Of a trial that was given up, as where others took the machine's memory again and again, the last one stays so.
    """
    begun = read_records(begun_file(directory))
    for earlier, later in pairwise(begun):
        again = later["epoch"] == earlier["epoch"] and later["attempt"] != earlier["attempt"]
        if not again and later["epoch"] != earlier["epoch"] + 1:
            yield f"began epoch {later['epoch']} after epoch {earlier['epoch']}"
    last = begun[-1]["epoch"] - (cut_off and begun[-1]["epoch"] == len(epochs) + 1) if begun else 0
    if begun and (begun[0]["epoch"], last) != (1 + read_json(directory.origin)["from_epoch"], len(epochs)):
        yield f"began epochs {begun[0]['epoch']} to {begun[-1]['epoch']} and has {len(epochs)}"


def _begun(directory: TrialDirectory) -> list[int]:
    return [record["epoch"] for record in read_records(begun_file(directory))]


def _folder_damage(sweep: SweepDirectory, study: optuna.Study) -> Iterator[str]:
    numbers = [trial.number for trial in study.get_trials(deepcopy=False)]
    folders = [directory.number for directory in sweep.trial_directories()]
    if folders != numbers:
        yield f"there are folders of the trials {folders}, and the study has {numbers}"
    told = Counter(event["number"] for event in read_events(sweep) if event["kind"] == "told")
    # Told before a kill, and the event not written: once too few is no damage, once too many is.
    for number in [number for number, times in told.items() if times > 1]:
        yield f"the study was told of trial {number} {told[number]} times"
    for leftover in [path.name for pattern in (".tune-*", ".room-*", ".now-*") for path in sweep.root.glob(pattern)]:
        yield f"{leftover} was left behind"


def _index_damage(sweep: SweepDirectory, study: optuna.Study) -> Iterator[str]:
    try:
        table = read_index(sweep).trials
    except MrisynthError as error:
        yield f"the index cannot be read: {error}"
        return
    rows = {row["trial"]: row for row in table.to_pylist()}
    if len(rows) != table.num_rows:
        yield "the index has a trial twice"
    stored = study.get_trials(deepcopy=False)
    if sorted(rows) != [trial.number for trial in stored]:
        yield f"the index has the trials {sorted(rows)}"
    continued = continued_trials(stored)
    for trial in stored:
        row = rows.get(trial.number)
        ended = "continued" if trial.number in continued else outcome_kind(trial)
        if row is not None and row["outcome"] != ended:
            yield f"the index says that trial {trial.number} is {row['outcome']}"
        names = study.user_attrs["objectives"]
        if row is not None and trial.values and [row[f"value.{name}"] for name in names] != trial.values:
            yield f"the index has other values of trial {trial.number} than the study"
