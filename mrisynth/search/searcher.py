"""What Ray Tune asks: a searcher, a scheduler and a stopper that pass everything on and keep nothing."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from mrisynth.search.conductor import Conductor
from mrisynth.search.failures import Failures, check_session, explain
from mrisynth.search.index_writer import IndexWriter

LOOK_EVERY = 1.0
"""Seconds between two looks whether Ray lives, and for requests to end a trial."""


@dataclass(slots=True)
class Ending:
    """How Tune's loop ends before its time: no trial begins any more, and those that run may end their epoch.

    Attributes:
        should_stop: whether somebody asked for an end.
        grace: how long the running trials may take to end their epoch, in seconds.
        say: called with one sentence when the end begins.
        busy: whether a worker is in the middle of an epoch.
    """

    should_stop: Callable[[], bool]
    grace: float
    say: Callable[[str], None] = lambda _: None
    busy: bool = False
    _deadline: float | None = None

    def has_begun(self) -> bool:
        """Whether an end was asked for."""
        if self._deadline is None and self.should_stop():
            self._deadline = time.monotonic() + self.grace
            if self.busy and self.grace:
                self.say(
                    f"stopping: running trials have {self.grace:.0f} s to end their epoch, which is then kept; "
                    "ask once more to stop at once"
                )
        return self._deadline is not None

    def is_due(self) -> bool:
        """Whether to end now, whatever still runs."""
        return self.has_begun() and (not self.busy or time.monotonic() >= (self._deadline or 0.0))


class StudySearcher(Searcher):  # type: ignore[misc]
    """Hands the conductor's trials to Tune."""

    def __init__(self, conductor: Conductor, ending: Ending) -> None:
        super().__init__()
        self._conductor = conductor
        self._ending = ending
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial; None while there may be one later; FINISHED."""
        if self._ending.has_begun():
            return str(Searcher.FINISHED)  # of this launch; asked again and again without one, Tune would block
        assignment = self._conductor.next_trial()
        if assignment == "wait":
            return None
        if assignment == "finished":
            return str(Searcher.FINISHED)
        self._numbers[trial_id] = assignment.number
        return {"number": assignment.number, "assignment": json.dumps(asdict(assignment))}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended, which the conductor has decided itself; or its workers were lost too often."""
        number = self._numbers.pop(trial_id)
        if error:
            self._conductor.lose(number)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study holds it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the study holds it."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher beside the run; there is nothing in it."""
        return {}


class RecordScheduler(FIFOScheduler):  # type: ignore[misc]
    """Passes the workers' records on, and stops the trials that have ended.

    A worker never says that it is done: Tune would then keep the last record from us.
    """

    def __init__(self, conductor: Conductor, index: IndexWriter, *, ending: Ending, failures: Failures) -> None:
        super().__init__()
        self._conductor = conductor
        self._index = index
        self._ending = ending
        self._failures = failures
        self._look_at = 0.0

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Pass a record on; when the end has begun, a trial rests after it, to go on another time."""
        number, record, memory = trial.config["number"], json.loads(result["record"]), json.loads(result["memory"])
        if memory is not None and record.get("scores") is not None:  # scoring may take more than training
            self._conductor.note_memory(number, *memory)
        ended = self._conductor.hear(number, record)
        return str(TrialScheduler.STOP if ended or self._ending.has_begun() else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker died or raised; Tune will try again, or give the trial up."""
        self._conductor.fail_attempt(trial.config["number"], explain(self._failures.current))

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Called a few times a second: a good moment to write the index, and to end trials on request.

        Raises:
            SessionLostError: Ray has died.
        """
        self._index.write_if_due()
        live = list(tune_controller.get_live_trials())
        self._ending.busy = any(trial.status == Trial.RUNNING for trial in live)
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY
            check_session()
            stopped = self._conductor.stop_trials()
            for trial in [trial for trial in live if trial.config["number"] in stopped]:
                tune_controller.stop_trial(trial)
        return None if self._ending.has_begun() else super().choose_trial_to_run(tune_controller)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler beside the run; there is nothing in it."""
        return {}


class AskedStopper(Stopper):  # type: ignore[misc]
    """Ends Tune's loop when that is due; the trials that still run are left at their last checkpoints."""

    def __init__(self, conductor: Conductor, ending: Ending) -> None:
        self._conductor = conductor
        self._ending = ending

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped here."""
        return False

    def stop_all(self) -> bool:
        """Whether everything shall stop."""
        return self._conductor.failure is not None or self._ending.is_due()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its stopper beside the run; there is nothing in it."""
        return {}
