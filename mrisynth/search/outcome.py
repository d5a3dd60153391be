"""How a trial ended: what people see, what is written beside the trial, and what Optuna is told."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.trial import TrialState

from mrisynth.files import read_json, write_json
from mrisynth.results.constraints import Bound
from mrisynth.results.constraints import excesses as excesses_of
from mrisynth.results.store import TrialDirectory, timestamp

Kind = Literal["completed", "pruned", "rejected", "lost"]
REASONS: dict[Kind, tuple[str, ...]] = {
    "completed": (),
    "pruned": ("stopped", "budget"),
    "rejected": ("diverged", "collapsed", "out of memory", "infeasible"),
    "lost": ("worker", "node", "storage"),
}
"""Why a trial ended as it did, where that needs a word; a pruned trial without one fell on a rung."""

CUT = "pruned: budget"
"""The title of a trial that was ended because the budget was spent; a larger budget takes it up again."""

# TPE ignores FAIL: a configuration that diverges must be told PRUNED, or nearly every later suggestion goes there too.
STATES: dict[Kind, TrialState] = {
    "completed": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "rejected": TrialState.PRUNED,
    "lost": TrialState.FAIL,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended.

    Attributes:
        kind: completed, pruned, rejected or lost.
        message: one sentence for people.
        reason: one of `REASONS`.
        rung: the epoch after which a trial was pruned.
        values: objective -> value; complete for a completed trial, else the last known.
        excesses: constraint in words -> how far beyond it the trial is; 0 or less where it keeps to it.
    """

    kind: Kind
    message: str
    reason: str | None = None
    rung: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    excesses: Mapping[str, float] = field(default_factory=dict)

    @property
    def state(self) -> TrialState:
        """What Optuna is told."""
        return STATES[self.kind]

    @property
    def title(self) -> str:
        """The outcome and its reason: "rejected: diverged"."""
        return self.kind if self.reason is None else f"{self.kind}: {self.reason}"


def write_outcome(directory: TrialDirectory, outcome: Outcome) -> None:
    """Write `outcome.json`, at once, and the same sentence at the end of the trial's log."""
    directory.root.mkdir(parents=True, exist_ok=True)
    with directory.log.open("a", encoding="utf-8") as stream:
        stream.write(f"{timestamp()}  {outcome.title}: {outcome.message}\n")
    write_json(
        directory.outcome,
        {
            "schema_version": 1,
            "outcome": outcome.kind,
            "reason": outcome.reason,
            "rung": outcome.rung,
            "message": outcome.message,
            "values": {name: value for name, value in outcome.values.items() if math.isfinite(value)},
            "excesses": dict(outcome.excesses),
            "time": timestamp(),
        },
    )


def read_outcome(directory: TrialDirectory) -> Outcome | None:
    """The outcome that was written, or None."""
    if not directory.outcome.is_file():
        return None
    stored: dict[str, Any] = read_json(directory.outcome)
    values, excesses = stored["values"], stored.get("excesses", {})
    return Outcome(stored["outcome"], stored["message"], stored["reason"], stored["rung"], values, excesses)


def completed(scores: Mapping[str, float], objectives: Iterable[str], bounds: Iterable[Bound] = ()) -> Outcome:
    """The outcome of a trial that ran to its end: completed, unless an objective is not finite.

    Args:
        scores: metric -> value, as the trial scored.
        objectives: the metrics of which the study is told.
        bounds: what is wanted of the scores besides.
    """
    values = {name: scores[name] for name in objectives}
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        return Outcome("rejected", f"{bad[0]} is {values[bad[0]]} at the end", "diverged")
    shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    excesses = excesses_of(scores, bounds)
    beyond = " and ".join(words for words, excess in excesses.items() if excess > 0)
    message = f"{shown}; breaks {beyond}" if beyond else shown
    return Outcome("completed", message, values=values, excesses=excesses)
