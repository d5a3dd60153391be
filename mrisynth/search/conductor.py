"""The conductor decides which trial runs next and what becomes of those that run.

It knows nothing of Ray: whoever executes the trials asks for the next one and passes every record on. All that it
decides is in the study and in the run directories before it goes on, so that it may be killed at any moment.
"""

import math
import secrets
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna

from mrisynth.data.store.mirror import location_of
from mrisynth.errors import MrisynthError
from mrisynth.files import publish, read_json, write_bytes, write_json
from mrisynth.results.store import SweepDirectory, append_event, read_records, read_yaml, write_yaml
from mrisynth.search.assignment import FENCE, Assignment
from mrisynth.search.outcome import Outcome, completed, write_outcome
from mrisynth.search.plan import Plan, TrialPlan
from mrisynth.search.pruning import Standing, rung_epochs, should_prune
from mrisynth.search.space import Infeasible
from mrisynth.search.study import (
    COUNTED,
    find_verdict,
    queue_named,
    record_rung,
    seconds_spent,
    standings,
    take_trial,
    tell,
    waiting_trials,
)

LOSSES_IN_A_ROW = 5
"""After so many lost trials without any other outcome the fault is not theirs, and the sweep fails."""

_DIED = "its worker died"


@dataclass(slots=True)
class LiveTrial:
    """A trial that a worker has, or is about to get.

    Attributes:
        config: its configuration.
        named: whether it is a named trial: these run to their end.
        rungs: epoch -> rung.
        counts: whether it counts in the budget; a retry does not.
        epoch: the last epoch that was heard of.
        seconds: how long its workers trained until then.
        judged: the epochs whose rung was decided.
        failure: why its last attempt failed.
    """

    config: TrialPlan
    named: bool
    rungs: Mapping[int, int]
    counts: bool = True
    epoch: int = 0
    seconds: float = 0.0
    judged: set[int] = field(default_factory=set)
    failure: str = _DIED

    def hear(self, record: Mapping[str, Any]) -> None:
        """Count an epoch; a trial that had finished gives its last record again."""
        if record["epoch"] > self.epoch:
            self.epoch = record["epoch"]
            self.seconds += float(record["seconds"])


@dataclass(slots=True)
class Conductor:
    """Conducts one sweep, for as long as one driver holds it.

    Attributes:
        sweep: the sweep's folder.
        study: its study.
        plan: what to do.
        changed: called after whatever the index shows has changed.
        progress: called with one sentence whenever a trial has ended.
        live: the trials that run, by number.
        failure: set when it makes no sense to go on.
    """

    sweep: SweepDirectory
    study: optuna.Study
    plan: Plan
    changed: Callable[[], None] = lambda: None
    progress: Callable[[str], None] = lambda _: None
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
        rungs = rung_epochs(self.plan.rungs, config.epochs)
        self.live[number] = LiveTrial(config, name is not None, rungs, counts=retry_of is None)
        directory = self.sweep.trial(number)
        if not directory.config.is_file():
            write_yaml(directory.config, config.dump())
        if retry_of is not None and not directory.checkpoint.exists():
            self._copy_checkpoint(retry_of, number)
        write_json(directory.origin, {"name": name, "retry_of": retry_of})
        return True

    def adopt(self, number: int) -> bool:
        """Take over a trial of an earlier driver, to go on from its checkpoint before any other begins.

        Returns:
            Whether it goes on; it may be infeasible, or have reached a rung of which the study never heard.
        """
        if not self.begin(number):
            return False
        for record in read_records(self.sweep.trial(number).history):
            self.live[number].hear(record)
        outcome = self._judge_missed(number, math.inf)
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
            Whether the trial has ended: completed, pruned or rejected.
        """
        if "rejected" in record:
            self._end(number, Outcome("rejected", record["message"], record["rejected"]))
            return True
        append_event(self.sweep, "epoch", number=number, epoch=record["epoch"], pid=record["pid"], host=record["host"])
        self.live[number].hear(record)
        outcome = self._judge_missed(number, record["epoch"]) or self._judge(number, record)
        if outcome is None:
            self.changed()
            return False
        self._end(number, outcome)
        return True

    def fail_attempt(self, number: int) -> None:
        """A worker died, or raised: whatever it may still write belongs to nobody from now on."""
        self.live[number].failure = self._why(number)
        append_event(self.sweep, "attempt-failed", number=number, message=self.live[number].failure)
        self._fence(number)

    def lose(self, number: int) -> None:
        """A trial was lost with its workers, for reasons that are not its own, and its retries are used up."""
        self._losses += 1
        message = self.live[number].failure
        self._end(number, Outcome("lost", message))
        if self._losses >= LOSSES_IN_A_ROW:
            self.failure = MrisynthError(
                f"{self._losses} trials in a row were lost, the last one ({number}) because: {message}; see "
                f"{self.sweep.trial(number).log}"
            )

    def settle(self, number: int, outcome: Outcome, *, seconds: float) -> None:
        """Tell the study an outcome that is already written."""
        tell(self.study, number, outcome, seconds=seconds)
        append_event(self.sweep, "told", number=number, outcome=outcome.kind)
        self.changed()

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
        seconds = seconds_spent(self.study) + sum(live.seconds for live in self.live.values())
        return begun < (budget.trials or math.inf) and seconds < 3600 * (budget.hours or math.inf)

    def _configure(self, trial: optuna.Trial, name: str | None) -> TrialPlan:
        if name is None:
            return self.plan.suggest(trial)
        if self.plan.points.get(name):
            self.plan.suggest(trial)
        return self.plan.named[name]

    def _assign(self, number: int) -> Assignment:
        live, directory = self.live[number], self.sweep.trial(number)
        self._fence(number)
        append_event(self.sweep, "launched", number=number)
        return Assignment(
            number=number,
            config=read_yaml(directory.config),
            store=location_of(self.plan.store),
            directory=str(directory.root.resolve()),
            rungs=tuple(sorted(live.rungs)),
            train=self.plan.train,
        )

    def _fence(self, number: int) -> None:
        """Name a new valid attempt; whoever holds the token before it must not write any more."""
        write_bytes(self.sweep.trial(number).root / FENCE, secrets.token_hex(8).encode())

    def _copy_checkpoint(self, old: int, new: int) -> None:
        """Let a retry start where the trial that it repeats was."""
        source, target = self.sweep.trial(old).checkpoint, self.sweep.trial(new).checkpoint
        if source.is_dir():
            with publish(target) as folder:
                shutil.copytree(source, folder, dirs_exist_ok=True)

    def _judge_missed(self, number: int, before: float) -> Outcome | None:
        """Judge the rungs before an epoch whose records were lost with a worker or a driver; its history has them."""
        live = self.live[number]
        missed = {epoch for epoch in live.rungs if epoch < before} - live.judged
        records = read_records(self.sweep.trial(number).history) if missed else []
        outcomes = (self._judge(number, record) for record in records if record["epoch"] in missed)
        return next((outcome for outcome in outcomes if outcome is not None), None)

    def _judge(self, number: int, record: Mapping[str, Any]) -> Outcome | None:
        """What follows from one epoch's record; None: the trial goes on."""
        live, epoch, scores = self.live[number], record["epoch"], record["scores"]
        if record["final"]:
            return completed({name: scores[name] for name in self.plan.objectives})
        if epoch not in live.rungs or scores is None:
            return None
        live.judged.add(epoch)
        metric = next(iter(self.plan.objectives))
        value = float(scores[metric])
        if not math.isfinite(value):
            return Outcome("rejected", f"{metric} is {value} after epoch {epoch}", "diverged")
        if not self._is_pruned(number, epoch, value):
            return None
        message = f"after epoch {epoch} its {metric} of {value:.4g} was not among the best {self.plan.keep:.0%}"
        return Outcome("pruned", f"{message} of the {live.config.family} trials", rung=epoch, values={metric: value})

    def _is_pruned(self, number: int, epoch: int, value: float) -> bool:
        """The verdict on a rung: the stored one, or else a new one, which is stored together with the value."""
        live = self.live[number]
        rung = live.rungs[epoch]
        stored = find_verdict(self.study, number, rung)
        if stored is not None:
            return stored
        own = Standing(live.config.family, rung, value)
        verdict = False
        if self.plan.keep is not None and not live.named:
            direction = next(iter(self.plan.objectives.values()))
            verdict = should_prune(standings(self.study, but=number), own, direction=direction, keep=self.plan.keep)
        record_rung(self.study, number, own, epoch=epoch, pruned=verdict)
        append_event(self.sweep, "rung", number=number, epoch=epoch, rung=rung, value=value, pruned=verdict)
        return verdict

    def _why(self, number: int) -> str:
        """Why the valid attempt failed, as its worker noted it; a worker that is killed notes nothing."""
        directory = self.sweep.trial(number)
        note = directory.attempts / f"{(directory.root / FENCE).read_text(encoding='utf-8')}.json"
        return str(read_json(note).get("error", _DIED)) if note.is_file() else _DIED

    def _end(self, number: int, outcome: Outcome) -> None:
        """Write a trial's outcome, tell the study, and only then forget the trial."""
        write_outcome(self.sweep.trial(number), outcome)
        append_event(self.sweep, "outcome", number=number, outcome=outcome.kind, reason=outcome.reason)
        live = self.live.get(number)
        self.settle(number, outcome, seconds=live.seconds if live else 0.0)
        self.live.pop(number, None)
        if outcome.kind != "lost":
            self._losses = 0
        self.progress(f"trial {number} {outcome.kind}: {outcome.message.removeprefix(f'{outcome.kind}: ')}")
