"""What Ray Tune asks: a searcher, a scheduler and a stopper that pass everything on and keep nothing."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ray.tune import Stopper
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from mrisynth.search.conductor import Conductor
from mrisynth.search.index_writer import IndexWriter


class StudySearcher(Searcher):  # type: ignore[misc]
    """Hands the conductor's trials to Tune."""

    def __init__(self, conductor: Conductor) -> None:
        super().__init__()
        self._conductor = conductor
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial; None while there may be one later; FINISHED."""
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

    def __init__(self, conductor: Conductor, index: IndexWriter) -> None:
        super().__init__()
        self._conductor = conductor
        self._index = index

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Pass a record on."""
        ended = self._conductor.hear(trial.config["number"], json.loads(result["record"]))
        return str(TrialScheduler.STOP if ended else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker died or raised; Tune will try again, or give the trial up."""
        self._conductor.fail_attempt(trial.config["number"])

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Called a few times a second: a good moment to write the index."""
        self._index.write_if_due()
        return super().choose_trial_to_run(tune_controller)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler beside the run; there is nothing in it."""
        return {}


class AskedStopper(Stopper):  # type: ignore[misc]
    """Ends Tune's loop when it is asked to; the trials that run are left as they are."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped here."""
        return False

    def stop_all(self) -> bool:
        """Whether everything shall stop."""
        return self._should_stop()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its stopper beside the run; there is nothing in it."""
        return {}
