"""The conductor decides which trial runs next and what becomes of those that run.

It knows nothing of Ray: whoever executes the trials asks for the next one and passes every record on. All that it
decides is in the study and in the run directories before it goes on, so that it may be killed at any moment.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna

from mrisynth.data.store.mirror import location_of
from mrisynth.errors import ClusterError, MrisynthError
from mrisynth.files import read_json, write_json
from mrisynth.results.control import clear_stop, stop_requests
from mrisynth.results.store import SweepDirectory, append_event, read_records, read_yaml, write_yaml
from mrisynth.search.account import Account
from mrisynth.search.assignment import Assignment
from mrisynth.search.attempts import Failure, new_attempt, noted_failure
from mrisynth.search.feasibility import Infeasible
from mrisynth.search.judge import Judge, LiveTrial, node_name
from mrisynth.search.outcome import CUT, Kind, Outcome, write_outcome
from mrisynth.search.packing import WHOLE
from mrisynth.search.plan import Plan
from mrisynth.search.pruning import rung_epochs, scored_epochs
from mrisynth.search.queue import Queue
from mrisynth.search.slots import Slots
from mrisynth.search.study import (
    find_share,
    is_asked_for,
    judged_rungs,
    queue_named,
    queue_retries,
    set_share,
    take_trial,
    tell,
)

LOSSES_IN_A_ROW = 5
"""After so many lost trials without any other outcome the fault is not theirs, and the sweep fails."""

EXCUSED = 10
"""How many failed attempts for which another trial is to blame do not count as one of the trial's own."""


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
        slots: where trials may begin.
        retries: how many failed attempts a trial survives.
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
    slots: Slots = field(default_factory=Slots)
    retries: int = 0
    live: dict[int, LiveTrial] = field(default_factory=dict)
    failure: MrisynthError | None = None
    _queue: Queue = field(init=False)
    _waiting: deque[int] = field(default_factory=deque)
    _losses: int = 0

    def __post_init__(self) -> None:
        self._queue = Queue(self.study, self.plan)

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
            "wait" while the trials that run would fill the budget: one may be lost and need a successor; or while
            there is no place for another. "finished" only when the budget is truly spent.
        """
        self.check()
        self._cut_what_has_not_begun()
        for waiting in self._waiting:
            if self.slots.take(waiting, self.live[waiting]):
                self._waiting.remove(waiting)
                return self._assign(waiting)
        while (number := self._next_number()) is not None:
            if not self.begin(number):
                continue
            if self.slots.take(number, self.live[number]):
                return self._assign(number)
            self._waiting.append(number)
        return "wait" if self.live else "finished"

    def has_work(self) -> bool:
        """Whether there is any trial to run, now or later."""
        if self.live or self.failure is not None:
            return bool(self.live)
        return self._queue.may_begin([], self._account, self.progress)

    def begin(self, number: int) -> bool:
        """Give a trial its configuration, drawn or completed by the space, and count it among the live ones.

        Returns:
            Whether it can run; one that is infeasible has its outcome now.
        """
        trial = take_trial(self.study, number)
        name, retry_of = trial.user_attrs.get("name"), trial.user_attrs.get("retry_of")
        try:
            config = self.plan.configure(trial, name)
        except Infeasible as error:
            write_yaml(self.sweep.trial(number).config, error.config)
            self._end(number, Outcome("rejected", str(error), "infeasible", excesses=error.excesses))
            return False
        append_event(self.sweep, "suggested", number=number, parameters=trial.params)
        rungs, whole = rung_epochs(self.plan.rungs, config.epochs), name is not None or "whole" in trial.user_attrs
        bounded = not is_asked_for(self.study, trial.user_attrs)
        needs, counts = find_share(self.study, number), retry_of is None
        self.live[number] = live = LiveTrial(config, rungs, whole=whole, counts=counts, bounded=bounded, needs=needs)
        directory = self.sweep.trial(number)
        if not directory.config.is_file():
            write_yaml(directory.config, config.dump())
        if retry_of is not None:
            judged = judged_rungs(self.study, retry_of)
            live.inherit(self.sweep.trial(retry_of), directory, [epoch for epoch in rungs if rungs[epoch] in judged])
        if "promoted" in trial.user_attrs:
            self.progress(f"trial {number} goes on with trial {retry_of}, which is among the best of its rung by now")
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
        self._waiting.append(number)
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
        if live is not None and self.slots.note_memory(live, used=used, total=total):
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
            self._wait_again(number)
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
        room = self.slots.may_fit(waiting=len(self._waiting), forests=self.plan.forests)
        if self.failure or not room:
            return None
        number = self._queue.next_number(self.live.values(), self._account, self.progress)
        if number is not None:
            append_event(self.sweep, "ask", number=number)
        return number

    @property
    def _account(self) -> Account:
        if self.account is None:
            self.account = Account(self.plan.budget, self.plan.cpu)
        return self.account

    def _is_spent(self) -> bool:
        """Whether the budget of time is spent."""
        return self._account.is_spent(self.study, self.live.values(), self.progress)

    def _assign(self, number: int) -> Assignment:
        live, directory = self.live[number], self.sweep.trial(number)
        new_attempt(directory)
        append_event(self.sweep, "launched", number=number)
        slot, share = self.slots.taken[number], self.slots.share(number)
        if share != live.share:
            live.share = share
            write_json(directory.origin, {**read_json(directory.origin), "gpu": share})
        return Assignment(
            number=number,
            config=read_yaml(directory.config),
            store=location_of(self.plan.store),
            directory=str(directory.root.resolve()),
            rungs=scored_epochs(live.rungs),
            train=self.plan.train,
            gpu=slot.gpu,
            node=slot.node,
            meter=self.plan.meter,
        )

    def _catch_up(self, number: int, *, before: float = math.inf) -> Outcome | None:
        """Hear what was lost with a worker or a driver and stands in the history; an outcome may follow from it."""
        records = [record for record in read_records(self.sweep.trial(number).history) if record["epoch"] < before]
        for record in records:
            self.live[number].hear(record)
        return self._judge.judge_missed(number, self.live[number], records)

    def _enlarge(self, number: int, message: str) -> bool:
        """Let a trial that had too little of a GPU's memory go on once with a whole one; whether it may."""
        live = self.live[number]
        share = live.share
        if not 0 < share < WHOLE:
            return False
        live.needs = WHOLE
        self.slots.note_failure(live)
        set_share(self.study, number, WHOLE)
        append_event(self.sweep, "enlarged", number=number, share=share, message=message)
        self.progress(f"trial {number} ran out of memory on {share:g} of a GPU, and goes on with a whole one")
        new_attempt(self.sweep.trial(number))
        self._wait_again(number)
        return True

    def _wait_again(self, number: int) -> None:
        """Let a trial whose worker is gone wait for another place."""
        self.slots.free(number)
        self._waiting.append(number)

    def _stop(self, number: int, outcome: Outcome) -> None:
        """End a trial that a worker may still have."""
        if number in self._waiting:
            self._waiting.remove(number)
        new_attempt(self.sweep.trial(number))
        self._end(number, outcome)

    def _cut_what_has_not_begun(self) -> None:
        """End the trials that wait, once the budget of time is spent: none begins after that."""
        if self._waiting and self._is_spent():
            for number in [n for n in self._waiting if self.live[n].bounded and not self.live[n].seconds]:
                self._stop(number, self._cut(number))

    def _cut(self, number: int) -> Outcome:
        """The outcome of a trial that ends because the budget is spent."""
        return self._judge.stop(number, "stopped when the budget was spent,", "budget")

    def _end(self, number: int, outcome: Outcome) -> None:
        """Write a trial's outcome, tell the study, and only then forget the trial."""
        self.conclude(number, outcome)
        live = self.live.get(number)
        self.settle(number, outcome, seconds=live.seconds if live else 0.0, share=live.share if live else 0.0)
        self.live.pop(number, None)
        self.slots.free(number)
        if outcome.kind != "lost":
            self._losses = 0
        self.progress(f"trial {number} {outcome.title}: {outcome.message}")
