"""What becomes of a trial after an epoch: it goes on, is pruned on its rung, has diverged, or is complete."""

import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna

from mrisynth.files import publish
from mrisynth.results.store import SweepDirectory, TrialDirectory, append_event, read_records
from mrisynth.search.attempts import Failure
from mrisynth.search.outcome import Outcome, completed
from mrisynth.search.plan import Plan, TrialPlan
from mrisynth.search.pruning import Standing, should_prune
from mrisynth.search.study import find_verdict, record_rung, standings


@dataclass(slots=True)
class LiveTrial:
    """A trial that a worker has, or is about to get.

    Attributes:
        config: its configuration.
        rungs: epoch -> rung.
        whole: whether it runs to its end, whatever its rungs say; named trials do.
        counts: whether it counts in the budget of trials; a retry does not.
        bounded: whether it ends when the budget is spent; what somebody asked to try again does not.
        share: its share of a GPU; 0 without one.
        needs: the share that it must have, since a smaller one was too little; None where that is not known.
        epoch: the last epoch that was heard of; those that a retry did not train itself are taken for heard.
        seconds: how long its workers trained until then.
        judged: the epochs whose rung was decided.
        failure: why its last attempt failed.
        failures: how many of its attempts failed in this launch, for which no other trial is to blame.
        excused: how many failed because of another trial.
        node: where it ran when it was last heard of; "" before that.
    """

    config: TrialPlan
    rungs: Mapping[int, int]
    whole: bool = False
    counts: bool = True
    bounded: bool = True
    share: float = 0.0
    needs: float | None = None
    epoch: int = 0
    seconds: float = 0.0
    judged: set[int] = field(default_factory=set)
    failure: Failure = field(default_factory=Failure)
    failures: int = 0
    excused: int = 0
    node: str = ""

    def hear(self, record: Mapping[str, Any]) -> None:
        """Count an epoch; a trial that had finished gives its last record again."""
        if record["epoch"] > self.epoch:
            self.epoch = record["epoch"]
            self.seconds += float(record["seconds"])

    def inherit(self, source: TrialDirectory, target: TrialDirectory, passed: Iterable[int]) -> None:
        """Start where the trial that this one repeats was, with the rungs that it had passed.

        Args:
            source: the folder of that trial.
            target: the folder of this one.
            passed: the epochs whose rung was decided there.
        """
        self.epoch = max((record["epoch"] for record in read_records(source.history)), default=0)
        self.judged.update(passed)
        if source.checkpoint.is_dir() and not target.checkpoint.exists():
            with publish(target.checkpoint) as folder:
                shutil.copytree(source.checkpoint, folder, dirs_exist_ok=True)


def node_name(record: Mapping[str, Any]) -> str:
    """Where an epoch was trained: "HOST", or "HOST (ADDRESS)" on a cluster."""
    host, address = str(record.get("host", "")), record.get("address")
    return f"{host} ({address})" if address else host


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges the trials of one sweep; whatever it decides on a rung is in the study before anyone acts on it."""

    sweep: SweepDirectory
    study: optuna.Study
    plan: Plan

    def judge(self, number: int, live: LiveTrial, record: Mapping[str, Any]) -> Outcome | None:
        """What follows from one epoch's record; None: the trial goes on."""
        epoch, scores = record["epoch"], record["scores"]
        if record["final"]:
            return completed(scores, self.plan.objectives, self.plan.bounds)
        if epoch not in live.rungs or epoch in live.judged or scores is None:
            return None
        live.judged.add(epoch)
        for name in self.plan.objectives:
            if not math.isfinite(scores[name]):
                return Outcome("rejected", f"{name} is {scores[name]} after epoch {epoch}", "diverged")
        values = self._best_until(number, epoch, scores)
        if not self._is_pruned(number, live, epoch=epoch, values=values):
            return None
        return Outcome("pruned", self._why(live.config.family, epoch, values), rung=epoch, values=values)

    def judge_missed(self, number: int, live: LiveTrial, records: list[dict[str, Any]]) -> Outcome | None:
        """Judge the rungs whose records were lost with a worker or a driver, and were found in the trial's history."""
        missed = set(live.rungs) - live.judged
        outcomes = (self.judge(number, live, record) for record in records if record["epoch"] in missed)
        return next((outcome for outcome in outcomes if outcome is not None), None)

    def stop(self, number: int, why: str, reason: str) -> Outcome:
        """The outcome of a trial that ends before its time, with the scores that it has."""
        records = read_records(self.sweep.trial(number).history)
        scored = [record["scores"] for record in records if record["scores"] is not None]
        values = {name: scored[-1][name] for name in self.plan.objectives} if scored else {}
        after = f"after epoch {records[-1]['epoch']}" if records else "before its first epoch had ended"
        return Outcome("pruned", f"{why} {after}", reason, values=values)

    def _best_until(self, number: int, epoch: int, scores: Mapping[str, float]) -> dict[str, float]:
        """The best of each objective until an epoch: they swing from one to the next."""
        records = read_records(self.sweep.trial(number).history)
        scored = [record["scores"] for record in records if record["epoch"] < epoch and record["scores"] is not None]
        best = {"maximize": max, "minimize": min}
        return {
            name: best[direction](float(each[name]) for each in [*scored, scores])
            for name, direction in self.plan.objectives.items()
        }

    def _why(self, family: str, epoch: int, values: Mapping[str, float]) -> str:
        """Why a trial was pruned, in one sentence."""
        reached = " and ".join(f"{name} of {value:.4g}" for name, value in values.items())
        were, rank = ("was", "") if len(values) == 1 else ("were", " by non-dominated rank")
        best = f"among the best {self.plan.keep:.0%} of the {family} trials"
        return f"after epoch {epoch} its {reached} {were} not {best}{rank} so far; it goes on if it is later"

    def _is_pruned(self, number: int, live: LiveTrial, *, epoch: int, values: Mapping[str, float]) -> bool:
        """The verdict on a rung: the stored one, or else a new one, which is stored together with the value."""
        rung = live.rungs[epoch]
        stored = find_verdict(self.study, number, rung)
        if stored is not None:
            return stored
        own = Standing(live.config.family, rung, tuple(values.values()))
        verdict = False
        if self.plan.keep is not None and not live.whole:
            others = standings(self.study, rung, but=number)
            directions = tuple(self.plan.objectives.values())
            verdict = should_prune(others, own, directions=directions, keep=self.plan.keep, quota=self.plan.quota)
        record_rung(self.study, number, own, epoch=epoch, pruned=verdict)
        append_event(self.sweep, "rung", number=number, epoch=epoch, rung=rung, values=values, pruned=verdict)
        return verdict
