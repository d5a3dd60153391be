"""What becomes of a trial after an epoch: it goes on, is pruned on its rung, has diverged, or is complete."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna

from mrisynth.results.store import SweepDirectory, append_event
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
        counts: whether it counts in the budget; a retry does not.
        epoch: the last epoch that was heard of; those that a retry did not train itself are taken for heard.
        seconds: how long its workers trained until then.
        judged: the epochs whose rung was decided.
        failure: why its last attempt failed.
        node: where it ran when it was last heard of; "" before that.
    """

    config: TrialPlan
    rungs: Mapping[int, int]
    whole: bool = False
    counts: bool = True
    epoch: int = 0
    seconds: float = 0.0
    judged: set[int] = field(default_factory=set)
    failure: Failure = field(default_factory=Failure)
    node: str = ""

    def hear(self, record: Mapping[str, Any]) -> None:
        """Count an epoch; a trial that had finished gives its last record again."""
        if record["epoch"] > self.epoch:
            self.epoch = record["epoch"]
            self.seconds += float(record["seconds"])


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
            return completed({name: scores[name] for name in self.plan.objectives})
        if epoch not in live.rungs or epoch in live.judged or scores is None:
            return None
        live.judged.add(epoch)
        metric = next(iter(self.plan.objectives))
        value = float(scores[metric])
        if not math.isfinite(value):
            return Outcome("rejected", f"{metric} is {value} after epoch {epoch}", "diverged")
        if not self._is_pruned(number, live, epoch=epoch, value=value):
            return None
        message = f"after epoch {epoch} its {metric} of {value:.4g} was not among the best {self.plan.keep:.0%}"
        return Outcome("pruned", f"{message} of the {live.config.family} trials", rung=epoch, values={metric: value})

    def judge_missed(self, number: int, live: LiveTrial, records: list[dict[str, Any]]) -> Outcome | None:
        """Judge the rungs whose records were lost with a worker or a driver, and were found in the trial's history."""
        missed = set(live.rungs) - live.judged
        outcomes = (self.judge(number, live, record) for record in records if record["epoch"] in missed)
        return next((outcome for outcome in outcomes if outcome is not None), None)

    def _is_pruned(self, number: int, live: LiveTrial, *, epoch: int, value: float) -> bool:
        """The verdict on a rung: the stored one, or else a new one, which is stored together with the value."""
        rung = live.rungs[epoch]
        stored = find_verdict(self.study, number, rung)
        if stored is not None:
            return stored
        own = Standing(live.config.family, rung, value)
        verdict = False
        if self.plan.keep is not None and not live.whole:
            direction = next(iter(self.plan.objectives.values()))
            others = standings(self.study, rung, but=number)
            verdict = should_prune(others, own, direction=direction, keep=self.plan.keep)
        record_rung(self.study, number, own, epoch=epoch, pruned=verdict)
        append_event(self.sweep, "rung", number=number, epoch=epoch, rung=rung, value=value, pruned=verdict)
        return verdict
