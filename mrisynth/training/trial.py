"""One trial, from a prepared store to scores on disk: trained, checkpointed, scored at its rungs and at its end.

A generator function that yields one record an epoch, so that Ray Tune, `mrisynth train` and a test drive it alike, may
stop after any record, and continue later from the folder that it left.
"""

import contextlib
import gc
import json
import os
import platform
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mrisynth import __version__
from mrisynth.data import shards
from mrisynth.data import slices as slices_of
from mrisynth.data.shards import Shards
from mrisynth.data.slices import SubjectSlices
from mrisynth.data.store.prepared import PreparedCohort, open_cohort
from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.files import read_json, write_bytes, write_json
from mrisynth.models import count_parameters
from mrisynth.models.forest import Forest
from mrisynth.results.pictures import write_pictures
from mrisynth.results.store import TrialDirectory, read_yaml, timestamp, write_slices, write_yaml
from mrisynth.training import checkpoint
from mrisynth.training.config import TrialConfig
from mrisynth.training.devices import reset_memory
from mrisynth.training.diagnosis import (
    TrialRejected,
    as_rejection,
    find_warnings,
    refuse_lost_cause,
    refuse_not_finite,
)
from mrisynth.training.evaluation import Evaluation, evaluate, shown
from mrisynth.training.loop import EpochLosses, TrainingState, find_device, prepare_torch, start, to_device, train

Record = dict[str, Any]

CHECKPOINT_COST = 0.005
"""The share of a trial's time that checkpoints between its rungs may cost; what is trained since the last one is
trained again after a kill."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """What stays the same while a trial runs."""

    config: TrialConfig
    cohort: PreparedCohort
    directory: TrialDirectory
    rungs: frozenset[int]
    device: torch.device
    attempt: str
    confirm: Callable[[], None]


def run(
    config: TrialConfig,
    *,
    store: Path,
    directory: Path,
    rungs: Sequence[int] = (),
    device: str = "cpu",
    attempt: str = "local",
    confirm: Callable[[], None] = lambda: None,
) -> Iterator[Record]:
    """Train and score one trial, from the start or from the checkpoint in its folder.

    Whatever is interrupted, the folder stays whole: the checkpoint is replaced first, then the history, the images, and
    the summary last. A trial that had already finished gives its last record again and nothing else; one that was cut
    off between checkpoint and history gives its last record first, of which nobody can have heard. A checkpoint is
    written after the first epoch, wherever the trial is scored, as often in between as `CHECKPOINT_COST` allows, and
    when the generator is closed; what a kill takes is trained again, and gives its records again.

    Args:
        config: the trial.
        store: a prepared store; shards and slices are made there unless they exist.
        directory: the trial's folder, written by nobody else.
        rungs: epochs after which to score; the end is always scored.
        device: "cpu", "cuda" or "cuda:1".
        attempt: a name for this attempt, kept in the records.
        confirm: called right before anything in the folder is changed; raises where the trial is another's by now.

    Yields:
        A record after each epoch: `epoch`, `epochs`, `final`, the losses `train`, `validation` and `train_eval`,
        `warnings`, `scores` (None where nothing was scored), `exact`, `seconds`, `pid`, `host`, `attempt`. All but the
        last four are the same whenever and in however many pieces the trial runs, as long as `exact` is true.

    Raises:
        TrialRejected: it diverged, collapsed, needs more memory than there is, or cannot be built.
        InvalidInputError: the folder holds another trial, or a damaged checkpoint.
    """
    trial = TrialDirectory(directory)
    rejection = None
    try:
        _write_config(trial.config, config)
        setting = _Trial(config, open_cohort(store), trial, frozenset(rungs), find_device(device), attempt, confirm)
        yield from _run(setting)
    except (MemoryError, RuntimeError, TrialRejected) as error:
        rejection = as_rejection(error)
        if rejection is None:
            raise
        _log(trial, f"rejected: {rejection}")
    finally:
        _free_memory(device)
    if rejection is not None:
        # Out here, where the traceback that held the trial's tensors is gone: the worker lives on with its memory free.
        raise rejection


def _run(trial: _Trial) -> Iterator[Record]:
    config = trial.config
    slices = slices_of.ensure(trial.cohort)
    patches = shards.ensure(trial.cohort, config.patches)
    prepare_torch(config, trial.device)
    reset_memory(trial.device)
    state = _start(trial)
    if not _catch_up(trial, state, slices, patches) or state.epoch == config.epochs:
        yield state.history[-1]
    if state.epoch == config.epochs:
        return
    training = to_device(patches.train.low, patches.train.high, trial.device)
    validation = to_device(patches.validation.low, patches.validation.high, trial.device)
    keeper = _Keeper(trial, state)
    began = time.perf_counter()
    for losses in train(state, config, training=training, validation=validation):
        record = _record(trial, state, losses)
        refuse_lost_cause(config.epochs, [*state.history, record])
        record["warnings"] = find_warnings([*state.history, record])
        for warning in record["warnings"]:
            _log(trial.directory, f"warning: {warning}")
        evaluation = None
        if record["final"] or state.epoch in trial.rungs:
            evaluation = _evaluate(trial, state, slices, patches)
            record["scores"] = evaluation.values
            refuse_not_finite(record["epoch"], "score", evaluation.values)
        record["seconds"] = round(time.perf_counter() - began, 3)
        state.history.append(record)
        if evaluation is not None or keeper.is_due():
            keeper.save()
        trial.confirm()
        _append(trial.directory.history, record)
        if evaluation is not None:
            _publish(trial, state, slices, evaluation)
        with keeper.saving_when_closed():
            yield record
        began = time.perf_counter()


class _Keeper:
    """Writes the checkpoints of one attempt, seldom enough."""

    def __init__(self, trial: _Trial, state: TrainingState) -> None:
        self._trial = trial
        self._state = state
        self._saved = state.epoch
        self._due_at = 0.0

    def is_due(self) -> bool:
        """Whether another one costs no more than its share of the time since the last."""
        return time.perf_counter() >= self._due_at

    def save(self) -> None:
        """Write one."""
        trial, began = self._trial, time.perf_counter()
        data_key = trial.cohort.data_key
        checkpoint.save(_checkpoint(trial), self._state, config=trial.config, data_key=data_key, confirm=trial.confirm)
        ended = time.perf_counter()
        self._saved = self._state.epoch
        self._due_at = ended + (ended - began) / CHECKPOINT_COST

    @contextlib.contextmanager
    def saving_when_closed(self) -> Iterator[None]:
        """Around a `yield`: whoever closes the generator there keeps all that was trained."""
        try:
            yield
        except GeneratorExit:
            if self._saved < self._state.epoch:
                self.save()
            raise


def _start(trial: _Trial) -> TrainingState:
    """The state to go on from, fresh or from the checkpoint."""
    try:
        state = start(trial.config, trial.device)
    except ValueError as error:
        size = trial.config.patches.size
        raise TrialRejected("infeasible", f"the networks cannot be built for patches of {size}: {error}") from None
    here = f"on {_device_name(trial.device)} of {socket.gethostname()} (pid {os.getpid()}, attempt {trial.attempt})"
    with contextlib.suppress(NotFoundError):
        checkpoint.load(_checkpoint(trial), state, config=trial.config, data_key=trial.cohort.data_key)
        exactly = (
            ""
            if state.exact
            else ", not bit by bit: another device, version of torch or file of weights, or not deterministic"
        )
        _log(trial.directory, f"continues after epoch {state.epoch} of {trial.config.epochs} {here}{exactly}")
        return state
    what = "a forest"
    if trial.config.family != "forest":
        generator, adversary = _parameters(state)
        what = f"{generator:,} parameters, and {adversary:,} of the adversary"
    _log(trial.directory, f"starts {here}: {what}")
    return state


def _catch_up(trial: _Trial, state: TrainingState, slices: Sequence[SubjectSlices], patches: Shards) -> bool:
    """Finish what an interrupted attempt left undone after its last checkpoint: history, images and summary.

    Returns:
        Whether the history was whole; if it was not, nobody can have heard of the last epoch.
    """
    lines = b"".join(map(_line, state.history))
    path = trial.directory.history
    stored = path.read_bytes() if path.exists() else b""
    whole = stored.startswith(lines)
    trial.confirm()
    if stored != lines:
        write_bytes(path, lines)
    if state.history and state.history[-1]["scores"] is not None and _published(trial) != state.epoch:
        _publish(trial, state, slices, _evaluate(trial, state, slices, patches))
    return whole


def _published(trial: _Trial) -> int | None:
    """The epoch of the summary on disk."""
    try:
        epochs: int = read_json(trial.directory.summary)["epochs"]
    except (NotFoundError, ValueError, KeyError, TypeError):
        return None
    return epochs


def _record(trial: _Trial, state: TrainingState, losses: EpochLosses) -> Record:
    return {
        "epoch": state.epoch,
        "epochs": trial.config.epochs,
        "final": state.epoch == trial.config.epochs,
        "train": losses.train,
        "validation": losses.validation,
        "train_eval": losses.train_eval,
        "warnings": [],
        "scores": None,
        "exact": state.exact,
        "seconds": 0.0,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "attempt": trial.attempt,
    }


def _evaluate(trial: _Trial, state: TrainingState, slices: Sequence[SubjectSlices], patches: Shards) -> Evaluation:
    return evaluate(
        chosen_generator(state),
        slices,
        config=trial.config,
        high_standard=patches.high,
        device=trial.device,
    )


def chosen_generator(state: TrainingState) -> nn.Module:
    """The generator that is scored and exported: the last, or where the best is kept, a copy with its weights."""
    if not state.best:
        return state.generator
    best = deepcopy(state.generator)
    best.load_state_dict(state.best)
    return best


def _publish(trial: _Trial, state: TrainingState, slices: Sequence[SubjectSlices], evaluation: Evaluation) -> None:
    """Write the images, and the summary when they are there."""
    trial.confirm()
    images: list[str] = []
    title = f"trial {trial.directory.root.name}"
    for subject in slices:
        generated = evaluation.generated[subject.subject]
        write_slices(trial.directory.images, subject.subject, generated)
        images += write_pictures(trial.directory.images, generated, shown(subject), title=title)
    generator, adversary = _parameters(state)
    seconds = round(sum(record["seconds"] for record in state.history), 3)
    summary = {
        "schema_version": 1,
        "final": state.epoch == trial.config.epochs,
        "epochs": state.epoch,
        "epochs_planned": trial.config.epochs,
        "values": evaluation.values,
        "subjects": evaluation.subjects,
        "generator_parameters": generator,
        "adversary_parameters": adversary,
        "seconds": seconds,
        "family": trial.config.family,
        "device": _device_name(trial.device),
        "exact": state.exact,
        "versions": _versions(),
        "images": images,
    }
    trial.confirm()
    write_json(trial.directory.summary, summary)
    scores = ", ".join(f"{name} {value:.4g}" for name, value in evaluation.values.items())
    _log(trial.directory, f"epoch {state.epoch} of {trial.config.epochs} after {seconds:.1f} s: {scores}")


def _free_memory(device: str) -> None:
    """Give a GPU's memory back; a CPU's is left to Python, since collecting costs up to a third of a second."""
    if device.startswith("cuda"):
        gc.collect()
        torch.cuda.empty_cache()


def _write_config(path: Path, config: TrialConfig) -> None:
    """Write what the trial is, once.

    Raises:
        InvalidInputError: the folder is another trial's.
    """
    if not path.exists():
        write_yaml(path, config.dump())
    elif not TrialConfig.parse(read_yaml(path)).is_same_trial(config):
        raise InvalidInputError(f"{path} holds another configuration; take another folder for this trial")


def _append(path: Path, record: Record) -> None:
    """One line in one write; what a crash may tear off is in the checkpoint."""
    with path.open("ab") as stream:
        stream.write(_line(record))


def _line(record: Record) -> bytes:
    return (json.dumps(record, allow_nan=False) + "\n").encode()


def _log(directory: TrialDirectory, line: str) -> None:
    with directory.log.open("a", encoding="utf-8") as stream:
        stream.write(f"{timestamp()}  {line}\n")


def _checkpoint(trial: _Trial) -> Path:
    return trial.directory.checkpoint / checkpoint.FILE_NAME


def _parameters(state: TrainingState) -> tuple[int, int]:
    """Parameters of the generator (of a forest, its nodes) and of the adversary."""
    generator = state.generator
    sizes = generator.nodes if isinstance(generator, Forest) else count_parameters(generator)
    return sizes, count_parameters(state.discriminator) if state.discriminator else 0


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _versions() -> dict[str, str]:
    return {
        "mrisynth": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
