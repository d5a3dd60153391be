"""The worker: a process of Ray Tune's that trains one trial after another, one epoch a step.

It is a class and not a function on purpose: Tune reports the last result of a function twice, and loses the slot when a
stopped function takes long to clean up.
"""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.tune import Trainable

from mrisynth.data.store.mirror import locate
from mrisynth.results.store import TrialDirectory, read_records
from mrisynth.search.attempts import FencedError, check_attempt, note_error, valid_attempt, write_attempt
from mrisynth.search.storage.outage import LASTS, Patience, StorageLostError, is_disk_error, wait_for_room

Record = dict[str, Any]
Records = Generator[Record, None, None]
Train = Callable[..., Any]


class TrialWorker(Trainable):  # type: ignore[misc]
    """Trains the assigned trial; taken over for the next one without a new process.

    The configuration that Tune passes holds one string, the assignment as JSON: Tune reshapes nested ones.
    """

    _records: Records | None = None

    def setup(self, config: dict[str, Any]) -> None:
        """Take an assignment, nothing more."""
        os.environ["OMP_NUM_THREADS"] = "1"
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next assignment; quick and never failing, or Tune would give the slot up."""
        self.cleanup()
        self._take(new_config)
        return True

    def step(self) -> Record:
        """Train one epoch.

        Returns:
            {"record": what `training.trial.run` yields, or a rejection, "memory": [bytes of its GPU's that it took, all
            of them] or null}, each as JSON.
        """
        try:
            with _into(self._directory.log):
                record = self._next_record()
                return {"record": json.dumps(record), "memory": json.dumps(self._measure())}
        except Exception as error:
            if is_disk_error(error):
                self._wait_for_room()
            note_error(self._directory, self._attempt, error)
            raise

    def cleanup(self) -> None:
        """Let go of the trial and its memory; one that is stopped in the middle keeps what it has trained."""
        records, self._records = self._records, None
        if records is not None:
            with _into(self._directory.log), suppress(FencedError, OSError):
                records.close()

    def _wait_for_room(self) -> None:
        """Let a full disk cost one attempt and not all of them: fail when it has room again, or when it stays full."""
        root = self._directory.root
        size = sum(path.stat().st_size for path in self._directory.checkpoint.rglob("*"))
        with suppress(StorageLostError):
            wait_for_room(root, size=size, patience=Patience(LASTS))

    def _measure(self) -> tuple[int, int] | None:
        """What the trial took of its GPU, and what that has, in bytes; None without one."""
        meter = find_function(self._assignment["meter"]) if ray.get_gpu_ids() else None
        measured: tuple[int, int] | None = meter() if meter else None
        return measured

    def _take(self, config: dict[str, Any]) -> None:
        self._assignment: dict[str, Any] = json.loads(config["assignment"])
        self._directory = TrialDirectory(Path(self._assignment["directory"]))
        self._attempt = ""

    def _next_record(self) -> Record:
        if self._records is None:
            self._records = self._begin()
        check_attempt(self._directory, self._attempt)
        try:
            record: Record = next(self._records)
        except Exception as error:
            rejection = _rejection(error)
            if rejection is None:
                raise
            return rejection
        check_attempt(self._directory, self._attempt)
        return record

    def _begin(self) -> Records:
        """Start training, from the trial's checkpoint if it has one, and leave a note of who does it."""
        self._attempt = valid_attempt(self._directory)
        records = read_records(self._directory.history)
        write_attempt(self._directory, self._attempt, from_epoch=records[-1]["epoch"] if records else 0)
        training: Records = find_function(self._assignment["train"])(
            self._assignment["config"],
            store=locate(self._assignment["store"]),
            directory=self._directory.root,
            rungs=tuple(self._assignment["rungs"]),
            device="cuda" if ray.get_gpu_ids() else "cpu",
            attempt=self._attempt,
            confirm=partial(check_attempt, self._directory, self._attempt),
        )
        return training


def train_trial(config: dict[str, Any], **where: Any) -> Records:
    """Train a trial given by its flat configuration; see `mrisynth.training.trial.run` for the rest."""
    from mrisynth.training.config import TrialConfig
    from mrisynth.training.trial import run

    yield from run(TrialConfig.parse(config), **where)


def find_function(path: str) -> Train:
    """The function that "package.module:name" names."""
    module, name = path.split(":")
    function: Train = getattr(importlib.import_module(module), name)
    return function


def _rejection(error: Exception) -> Record | None:
    """What to report if an error is the configuration's fault; None if it is not."""
    from mrisynth.training.diagnosis import as_rejection

    rejection = as_rejection(error)
    return None if rejection is None else {"rejected": rejection.reason, "message": rejection.message}


@contextmanager
def _into(log: Path) -> Iterator[None]:
    """Append what is printed meanwhile to the trial's log, and what is raised."""
    with log.open("a", encoding="utf-8", buffering=1) as stream, redirect_stdout(stream), redirect_stderr(stream):
        try:
            yield
        except Exception:
            traceback.print_exc()
            raise
    sys.stdout.flush()
