"""The conductor decides which trial runs next and what becomes of those that run.

It knows nothing of Ray: whoever executes the trials asks for the next one and passes every record on. All that it
decides is in the study and in the run directories before it goes on, so that it may be killed at any moment.
"""

import math
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna

from mrisynth.data.store.mirror import location_of
from mrisynth.errors import ClusterError, MrisynthError
from mrisynth.files import publish, write_json
from mrisynth.results.control import clear_stop, stop_requests
from mrisynth.results.store import SweepDirectory, append_event, read_records, read_yaml, write_yaml
from mrisynth.search.assignment import Assignment
from mrisynth.search.attempts import Failure, new_attempt, noted_failure
from mrisynth.search.judge import Judge, LiveTrial, node_name
from mrisynth.search.outcome import Kind, Outcome, write_outcome
from mrisynth.search.plan import Plan, TrialPlan
from mrisynth.search.pruning import rung_epochs
from mrisynth.search.space import Infeasible
from mrisynth.search.study import (
    COUNTED,
    find_share,
    find_verdict,
    queue_named,
    seconds_spent,
    set_share,
    take_trial,
    tell,
    waiting_trials,
)

LOSSES_IN_A_ROW = 5
"""After so many lost trials without any other outcome the fault is not theirs, and the sweep fails."""

WHOLE_GPU = 1.0
"""The share that a trial gets for which a smaller one had too little memory."""


@dataclass(slots=True)
class Conductor:
    """Conducts one sweep, for as long as one driver holds it.

    Attributes:
        sweep: the sweep's folder.
        study: its study.
        plan: what to do.
        changed: called after whatever the index shows has changed.
        progress: called with one sentence whenever a trial has ended.
        check: called before anything is written; raises where the sweep is not ours any more.
        gpu: the share of a GPU that a trial gets; 0 without one.
        live: the trials that run, by number.
        failure: set when it makes no sense to go on.
    """

    sweep: SweepDirectory
    study: optuna.Study
    plan: Plan
    changed: Callable[[], None] = lambda: None
    progress: Callable[[str], None] = lambda _: None
    check: Callable[[], None] = lambda: None
    gpu: float = 0.0
    live: dict[int, LiveTrial] = field(default_factory=dict)
    failure: MrisynthError | None = None
    _adopted: deque[int] = field(default_factory=deque)
    _losses: int = 0

    def queue_named(self) -> None:
        """Queue the named trials, each once."""
        queue_named(self.study, {name: self.plan.points.get(name, {}) for name in self.plan.named})

    def next_trial(self) -> Assignment | Literal["wait", "finished"]:
        """The trial to run next.

        Returns:
            "wait" while the trials that run would fill the budget: one may be lost and need a successor. "finished"
            only when the budget is truly spent.
        """
        self.check()
        if self._adopted:
            return self._assign(self._adopted.popleft())
        while (number := self._next_number()) is not None:
            if self.begin(number):
                return self._assign(number)
        return "wait" if self.live else "finished"

    def has_work(self) -> bool:
        """Whether there is any trial to run, now or later."""
        return bool(self._adopted or self.live) or (self.failure is None and self._can_begin())

    def begin(self, number: int) -> bool:
        """Give a trial its configuration, drawn or completed by the space, and count it among the live ones.

        Returns:
            Whether it can run; one that is infeasible has its outcome now.
        """
        trial = take_trial(self.study, number)
        name, retry_of = trial.user_attrs.get("name"), trial.user_attrs.get("retry_of")
        try:
            config = self._configure(trial, name)
        except Infeasible as error:
            write_yaml(self.sweep.trial(number).config, error.config)
            self._end(number, Outcome("rejected", str(error), "infeasible"))
            return False
        append_event(self.sweep, "suggested", number=number, parameters=trial.params)
        rungs, whole = rung_epochs(self.plan.rungs, config.epochs), name is not None or "whole" in trial.user_attrs
        live = self.live[number] = LiveTrial(config, rungs, whole=whole, counts=retry_of is None)
        directory = self.sweep.trial(number)
        if not directory.config.is_file():
            write_yaml(directory.config, config.dump())
        if retry_of is not None:
            self._inherit(number, live, retry_of)
        write_json(directory.origin, {"name": name, "retry_of": retry_of, "from_epoch": live.epoch})
        return True

    def adopt(self, number: int) -> bool:
        """Take over a trial of an earlier driver, to go on from its checkpoint before any other begins.

        Returns:
            Whether it goes on; it may be infeasible, or have reached a rung of which the study never heard.
        """
        if not self.begin(number):
            return False
        new_attempt(self.sweep.trial(number))  # a worker that was cut off with its driver may still write
        outcome = self._catch_up(number)
        if outcome is not None:
            self._end(number, outcome)
            return False
        self._adopted.append(number)
        return True

    def hear(self, number: int, record: Mapping[str, Any]) -> bool:
        """Take in what a worker reports after an epoch.

        Args:
            number: the trial.
            record: as `training.trial.run` yields it, or {"rejected": reason, "message": sentence}.

        Returns:
            Whether its worker is free: the trial is completed, pruned or rejected, or begins again with more memory.
        """
        self.check()
        if number not in self.live:  # it was stopped on request meanwhile
            return True
        if "rejected" in record:
            if record["rejected"] != "out of memory" or not self._enlarge(number, record["message"]):
                rejected = Outcome("rejected", record["message"], record["rejected"])
                self._end(number, self._catch_up(number) or rejected)
            return True
        where = {name: record[name] for name in ("pid", "host", "address") if name in record}
        append_event(self.sweep, "epoch", number=number, epoch=record["epoch"], **where)
        live = self.live[number]
        live.node = node_name(record)
        missed = self._catch_up(number, before=record["epoch"]) if record["epoch"] > live.epoch + 1 else None
        live.hear(record)
        outcome = missed or self._judge.judge(number, live, record)
        if outcome is None:
            self.changed()
            return False
        self._end(number, outcome)
        return True

    def fail_attempt(self, number: int, failure: Failure | None = None) -> None:
        """A worker died, or raised: whatever it may still write belongs to nobody from now on.

        Args:
            number: the trial.
            failure: why, as far as whoever executes it knows; what the worker itself noted says more.
        """
        self.check()
        if number not in self.live:
            return
        directory = self.sweep.trial(number)
        self.live[number].failure = noted_failure(directory) or failure or Failure()
        message, self.live[number].node = self.live[number].failure.message, ""
        append_event(self.sweep, "attempt-failed", number=number, message=message)
        new_attempt(directory)
        if failure is not None and failure.everywhere:
            self.failure = ClusterError(failure.message)

    def lose(self, number: int) -> None:
        """A trial's retries are used up: it is lost for reasons that are not its own, or needs too much memory."""
        self.check()
        if number not in self.live:
            return
        failure = self.live[number].failure
        kind: Kind = "rejected" if failure.reason == "out of memory" else "lost"
        outcome = self._catch_up(number) or Outcome(kind, failure.message, failure.reason)
        self._losses += outcome.kind == "lost"
        self._end(number, outcome)
        if self._losses >= LOSSES_IN_A_ROW:
            self.failure = MrisynthError(
                f"{self._losses} trials in a row were lost, the last one ({number}) because: {failure.message}; see "
                f"{self.sweep.trial(number).log}"
            )

    def stop_trials(self) -> list[int]:
        """End the trials of which somebody asked for an end; they count as pruned, with the scores that they have.

        Returns:
            Their numbers.
        """
        stopped = []
        for number in stop_requests(self.sweep):
            if number in self.live:
                self.check()
                self._stop(number)
                stopped.append(number)
            trials = self.study.get_trials(deepcopy=False)
            if number >= len(trials) or trials[number].state.is_finished():
                clear_stop(self.sweep, number)
        return stopped

    def nodes(self) -> dict[str, list[int]]:
        """Node -> the trials that run there, as far as they have ended an epoch; may be asked from another thread."""
        running: dict[str, list[int]] = {}
        for number, live in list(self.live.items()):
            if live.node:
                running.setdefault(live.node, []).append(number)
        return running

    def conclude(self, number: int, outcome: Outcome) -> None:
        """Write a trial's outcome beside it, before anyone is told."""
        write_outcome(self.sweep.trial(number), outcome)
        why = {"reason": outcome.reason, "message": outcome.message}
        append_event(self.sweep, "outcome", number=number, outcome=outcome.kind, **why)

    def settle(self, number: int, outcome: Outcome, *, seconds: float) -> None:
        """Tell the study an outcome that is already written."""
        tell(self.study, number, outcome, seconds=seconds)
        append_event(self.sweep, "told", number=number, outcome=outcome.kind)
        self.changed()

    @property
    def _judge(self) -> Judge:
        return Judge(self.sweep, self.study, self.plan)

    def _next_number(self) -> int | None:
        """The number of a queued or a new trial, or None where nothing new may begin."""
        if self.failure or not self._can_begin():
            return None
        waiting = waiting_trials(self.study)
        queued = [trial for trial in waiting if "retry_of" in trial.user_attrs] or waiting
        number = queued[0].number if queued else self.study.ask().number
        append_event(self.sweep, "ask", number=number)
        return number

    def _can_begin(self) -> bool:
        """Whether a retry waits, or the budget allows for another trial and there is one."""
        waiting = waiting_trials(self.study)
        if any("retry_of" in trial.user_attrs for trial in waiting):
            return True
        return bool(waiting or self.plan.searches) and self._has_budget()

    def _has_budget(self) -> bool:
        budget, finished = self.plan.budget, self.study.get_trials(deepcopy=False, states=COUNTED)
        begun = sum("retry_of" not in trial.user_attrs for trial in finished) + sum(
            live.counts for live in self.live.values()
        )
        if begun >= (budget.trials or math.inf):
            return False
        return budget.hours is None or self._seconds() < 3600 * budget.hours

    def _seconds(self) -> float:
        """How long workers trained until now."""
        return seconds_spent(self.study) + sum(live.seconds for live in self.live.values())

    def _configure(self, trial: optuna.Trial, name: str | None) -> TrialPlan:
        if name is None:
            return self.plan.suggest(trial)
        if self.plan.points.get(name):
            self.plan.suggest(trial)
        return self.plan.named[name]

    def _assign(self, number: int) -> Assignment:
        live, directory = self.live[number], self.sweep.trial(number)
        new_attempt(directory)
        append_event(self.sweep, "launched", number=number)
        return Assignment(
            number=number,
            config=read_yaml(directory.config),
            store=location_of(self.plan.store),
            directory=str(directory.root.resolve()),
            rungs=tuple(sorted(live.rungs)),
            train=self.plan.train,
            gpu=find_share(self.study, number),
        )

    def _catch_up(self, number: int, *, before: float = math.inf) -> Outcome | None:
        """Hear what was lost with a worker or a driver and stands in the history; an outcome may follow from it."""
        records = [record for record in read_records(self.sweep.trial(number).history) if record["epoch"] < before]
        for record in records:
            self.live[number].hear(record)
        return self._judge.judge_missed(number, self.live[number], records)

    def _inherit(self, number: int, live: LiveTrial, old: int) -> None:
        """Let a retry start where the trial that it repeats was, with the rungs that this one had passed."""
        source, target = self.sweep.trial(old), self.sweep.trial(number)
        live.epoch = max((record["epoch"] for record in read_records(source.history)), default=0)
        passed = (epoch for epoch, rung in live.rungs.items() if find_verdict(self.study, old, rung) is not None)
        live.judged.update(passed)
        if source.checkpoint.is_dir() and not target.checkpoint.exists():
            with publish(target.checkpoint) as folder:
                shutil.copytree(source.checkpoint, folder, dirs_exist_ok=True)

    def _enlarge(self, number: int, message: str) -> bool:
        """Let a trial that had too little of a GPU's memory go on once with a whole one; whether it may."""
        share = find_share(self.study, number) or self.gpu
        if not 0 < share < WHOLE_GPU:
            return False
        set_share(self.study, number, WHOLE_GPU)
        append_event(self.sweep, "enlarged", number=number, share=share, message=message)
        self.progress(f"trial {number} ran out of memory on {share:g} of a GPU, and goes on with a whole one")
        new_attempt(self.sweep.trial(number))
        self._adopted.append(number)
        return True

    def _stop(self, number: int) -> None:
        """End a trial on request."""
        directory = self.sweep.trial(number)
        if number in self._adopted:
            self._adopted.remove(number)
        new_attempt(directory)
        records = read_records(directory.history)
        scored = [record["scores"] for record in records if record["scores"] is not None]
        values = {name: scored[-1][name] for name in self.plan.objectives} if scored else {}
        after = f"after epoch {records[-1]['epoch']}" if records else "before its first epoch had ended"
        self._end(number, Outcome("pruned", f"stopped on request {after}", "stopped", values=values))

    def _end(self, number: int, outcome: Outcome) -> None:
        """Write a trial's outcome, tell the study, and only then forget the trial."""
        self.conclude(number, outcome)
        live = self.live.get(number)
        self.settle(number, outcome, seconds=live.seconds if live else 0.0)
        self.live.pop(number, None)
        if outcome.kind != "lost":
            self._losses = 0
        self.progress(f"trial {number} {outcome.title}: {outcome.message}")
