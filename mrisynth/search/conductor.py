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
from mrisynth.files import publish, read_json, write_json
from mrisynth.results.control import clear_stop, stop_requests
from mrisynth.results.store import SweepDirectory, append_event, read_records, read_yaml, write_yaml
from mrisynth.search.account import Account
from mrisynth.search.assignment import Assignment
from mrisynth.search.attempts import Failure, new_attempt, noted_failure
from mrisynth.search.feasibility import Infeasible
from mrisynth.search.judge import Judge, LiveTrial, node_name
from mrisynth.search.outcome import CUT, Kind, Outcome, write_outcome
from mrisynth.search.packing import WHOLE, Packing
from mrisynth.search.plan import Plan, TrialPlan
from mrisynth.search.pruning import rung_epochs
from mrisynth.search.study import (
    ask,
    counted_trials,
    find_share,
    find_verdict,
    infeasible_in_a_row,
    is_asked_for,
    is_exhausted,
    queue_named,
    queue_retries,
    set_share,
    take_trial,
    tell,
    waiting_trials,
)

LOSSES_IN_A_ROW = 5
"""After so many lost trials without any other outcome the fault is not theirs, and the sweep fails."""

EXCUSED = 10
"""How many failed attempts for which another trial is to blame do not count as one of the trial's own."""

INFEASIBLE_IN_A_ROW = 500
"""After so many infeasible suggestions without any other trial the sweep begins no new one: they cost no worker, and
do not count in the budget."""


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
        account: what the sweep has spent; by default of the plan's budget, without a clock.
        gpu: the share of a GPU that a trial gets; 0 without one.
        retries: how many failed attempts a trial survives.
        gpus: how many GPUs there are, where `packing` decides how trials share them.
        packing: what each kind of trial takes of a GPU; None where every trial gets `gpu`.
        live: the trials that run, by number.
        failure: set when it makes no sense to go on.
    """

    sweep: SweepDirectory
    study: optuna.Study
    plan: Plan
    changed: Callable[[], None] = lambda: None
    progress: Callable[[str], None] = lambda _: None
    check: Callable[[], None] = lambda: None
    account: Account | None = None
    gpu: float = 0.0
    retries: int = 0
    gpus: float = 0.0
    packing: Packing | None = None
    live: dict[int, LiveTrial] = field(default_factory=dict)
    failure: MrisynthError | None = None
    _adopted: deque[int] = field(default_factory=deque)
    _losses: int = 0
    _said_so: bool = False

    def queue_named(self) -> None:
        """Queue the named trials, each once."""
        queue_named(self.study, {name: self.plan.points.get(name, {}) for name in self.plan.named})

    def queue_cut(self) -> None:
        """Queue the trials that ended because the budget was spent, if it is larger now."""
        if not self._is_spent() and (cut := queue_retries(self.study, [CUT])):
            self.progress(f"going on with what was ended when the budget was spent: {', '.join(map(str, cut))}")

    def next_trial(self) -> Assignment | Literal["wait", "finished"]:
        """The trial to run next.

        Returns:
            "wait" while the trials that run would fill the budget: one may be lost and need a successor; or while they
            fill the GPUs. "finished" only when the budget is truly spent.
        """
        self.check()
        if self._adopted:
            return self._assign(self._adopted.popleft())
        if self.live and not self._has_room():
            return "wait"
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
            self._end(number, Outcome("rejected", str(error), "infeasible", excesses=error.excesses))
            return False
        append_event(self.sweep, "suggested", number=number, parameters=trial.params)
        rungs, whole = rung_epochs(self.plan.rungs, config.epochs), name is not None or "whole" in trial.user_attrs
        bounded = not is_asked_for(self.study, trial.user_attrs)
        live = LiveTrial(config, rungs, whole=whole, counts=retry_of is None, bounded=bounded)
        self.live[number] = live
        directory = self.sweep.trial(number)
        if not directory.config.is_file():
            write_yaml(directory.config, config.dump())
        if retry_of is not None:
            self._inherit(number, live, retry_of)
        origin = {"name": name, "retry_of": retry_of, "from_epoch": live.epoch}
        live.share = read_json(directory.origin).get("gpu", 0.0) if directory.origin.is_file() else 0.0
        write_json(directory.origin, origin | ({"gpu": live.share} if live.share else {}))
        return True

    def adopt(self, number: int) -> bool:
        """Take over a trial of an earlier driver, to go on from its checkpoint before any other begins.

        Returns:
            Whether it goes on; it may be infeasible, have reached a rung of which the study never heard, or the budget
            may be spent.
        """
        if not self.begin(number):
            return False
        new_attempt(self.sweep.trial(number))  # a worker that was cut off with its driver may still write
        outcome = self._catch_up(number)
        if outcome is None and self.live[number].bounded and self._is_spent():
            outcome = self._cut(number)
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
        if outcome is None and live.bounded and self._is_spent():
            due = record["epoch"] in live.rungs or self._account.is_overtime_up()
            outcome = self._cut(number) if due else None
        if outcome is None:
            self.changed()
            return False
        self._end(number, outcome)
        return True

    def note_memory(self, number: int, used: int, total: int) -> None:
        """Take in what a trial took of its GPU at its peak; what it shares tells nothing of it alone."""
        self.check()
        live = self.live.get(number)
        if self.packing is None or live is None or live.share < WHOLE:
            return
        if self.packing.note(live.config.dump(), used, total):
            append_event(self.sweep, "measured", number=number, used=used, total=total)

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
        live = self.live[number]
        live.failure, live.node = noted_failure(directory) or failure or Failure(), ""
        if live.failure.excused and live.excused < EXCUSED:
            live.excused += 1
        else:
            live.failures += 1
        append_event(self.sweep, "attempt-failed", number=number, message=live.failure.message)
        new_attempt(directory)
        if failure is not None and failure.everywhere:
            self.failure = ClusterError(failure.message)

    def lose(self, number: int) -> None:
        """A trial is given up: it is lost for reasons that are not its own, or needs too much memory.

        Where it has retries left it goes on instead: Tune gives a trial up at once whose worker, warm from the trial
        before, turns out to be dead.
        """
        self.check()
        if number not in self.live:
            return
        live = self.live[number]
        if live.failures + live.excused > 0 and live.failures <= self.retries:
            self._adopted.append(number)
            return
        failure = live.failure
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
        """End the trials of which somebody asked for an end, or whose time is up since the budget was spent.

        They count as pruned, with the scores that they have.

        Returns:
            Their numbers.
        """
        stopped = []
        for number in stop_requests(self.sweep):
            if number in self.live:
                self.check()
                self._stop(number, self._judge.stop(number, "stopped on request", "stopped"))
                stopped.append(number)
            trials = self.study.get_trials(deepcopy=False)
            if number >= len(trials) or trials[number].state.is_finished():
                clear_stop(self.sweep, number)
        if self._is_spent() and self._account.is_overtime_up(grace=True):
            for number in [number for number, live in self.live.items() if live.bounded]:
                self.check()
                self._stop(number, self._cut(number))
                stopped.append(number)
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

    def settle(self, number: int, outcome: Outcome, *, seconds: float, share: float = 0.0) -> None:
        """Tell the study an outcome that is already written."""
        tell(self.study, number, outcome, seconds=seconds, share=share)
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
        free = [trial for trial in waiting if is_asked_for(self.study, trial.user_attrs)]
        queued = free or [trial for trial in waiting if "retry_of" in trial.user_attrs] or waiting
        number = queued[0].number if queued else ask(self.study, self.plan.grid)
        append_event(self.sweep, "ask", number=number)
        return number

    def _has_room(self) -> bool:
        """Whether the GPUs have room for the smallest trial; always where nothing is packed."""
        taken = sum(live.share for live in self.live.values())
        return self.packing is None or self.gpus - taken >= self.packing.smallest()

    def _can_begin(self) -> bool:
        """Whether a retry waits, or the budget allows for another trial and there is one."""
        waiting = waiting_trials(self.study)
        if any(is_asked_for(self.study, trial.user_attrs) for trial in waiting):
            return True
        if self._is_spent():
            return False
        if any("retry_of" in trial.user_attrs for trial in waiting):
            return True
        searches = self.plan.searches and not is_exhausted(self.study, self.plan.grid) and not self._suggests_nothing()
        return bool(waiting or searches) and self._begun() < (self.plan.budget.trials or math.inf)

    def _suggests_nothing(self) -> bool:
        """Whether the space seems to suggest nothing trainable any more; a grid is worked through."""
        if self.plan.grid is not None or infeasible_in_a_row(self.study) < INFEASIBLE_IN_A_ROW:
            return False
        if not self._said_so:
            self._said_so = True
            self.progress(
                f"no new trial begins: the last {INFEASIBLE_IN_A_ROW} suggestions were all infeasible; "
                "loosen the constraints of the space, or search where they hold"
            )
        return True

    def _begun(self) -> int:
        """How many trials count in the budget of trials: all that were begun and not lost, nor infeasible."""
        finished = counted_trials(self.study)
        return sum("retry_of" not in trial.user_attrs for trial in finished) + sum(
            live.counts for live in self.live.values()
        )

    @property
    def _account(self) -> Account:
        if self.account is None:
            self.account = Account(self.plan.budget, self.plan.cpu)
        return self.account

    def _is_spent(self) -> bool:
        """Whether the budget of time is spent."""
        return self._account.is_spent(self.study, self.live.values(), self.progress)

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
        share = find_share(self.study, number) or self._packed_share(live)
        self._note_share(number, self.gpu if share is None else share)
        return Assignment(
            number=number,
            config=read_yaml(directory.config),
            store=location_of(self.plan.store),
            directory=str(directory.root.resolve()),
            rungs=tuple(sorted(live.rungs)),
            train=self.plan.train,
            gpu=share,
            meter=self.plan.meter,
        )

    def _packed_share(self, live: LiveTrial) -> float | None:
        """What a trial needs of a GPU where they are packed; a forest needs none. None: what every trial gets."""
        if self.packing is None:
            return None
        return 0.0 if live.config.family == "forest" else self.packing.share(live.config.dump())

    def _note_share(self, number: int, share: float) -> None:
        """Note beside a trial what it has of a GPU, for the budget of GPU-hours."""
        live, origin = self.live[number], self.sweep.trial(number).origin
        if share != live.share:
            live.share = share
            write_json(origin, {**read_json(origin), "gpu": share})

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
        share = self.live[number].share
        if not 0 < share < WHOLE:
            return False
        if self.packing is not None:
            self.packing.note_failure(self.live[number].config.dump(), share)
        set_share(self.study, number, WHOLE)
        append_event(self.sweep, "enlarged", number=number, share=share, message=message)
        self.progress(f"trial {number} ran out of memory on {share:g} of a GPU, and goes on with a whole one")
        new_attempt(self.sweep.trial(number))
        self._adopted.append(number)
        return True

    def _stop(self, number: int, outcome: Outcome) -> None:
        """End a trial that a worker may still have."""
        if number in self._adopted:
            self._adopted.remove(number)
        new_attempt(self.sweep.trial(number))
        self._end(number, outcome)

    def _cut(self, number: int) -> Outcome:
        """The outcome of a trial that ends because the budget is spent."""
        return self._judge.stop(number, "stopped when the budget was spent,", "budget")

    def _end(self, number: int, outcome: Outcome) -> None:
        """Write a trial's outcome, tell the study, and only then forget the trial."""
        self.conclude(number, outcome)
        live = self.live.get(number)
        self.settle(number, outcome, seconds=live.seconds if live else 0.0, share=live.share if live else 0.0)
        self.live.pop(number, None)
        if outcome.kind != "lost":
            self._losses = 0
        self.progress(f"trial {number} {outcome.title}: {outcome.message}")
