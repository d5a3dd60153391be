"""What a search shall do: the part of a space, and of what was asked, that conducting it needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import optuna

from mrisynth.results.constraints import Bound
from mrisynth.search.assignment import METER, TRAIN
from mrisynth.search.pruning import Direction
from mrisynth.search.settings import Budget


class TrialPlan(Protocol):
    """What conducting needs of a trial's configuration; `TrialConfig` has it."""

    @property
    def family(self) -> str:
        """Whose rungs it is compared on."""

    @property
    def epochs(self) -> int:
        """How long it trains."""

    def dump(self) -> dict[str, Any]:
        """The whole configuration, as in `config.yaml`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search shall do.

    Attributes:
        objectives: metric -> direction; all of them prune.
        suggest: asks a trial for every parameter of the space; may raise `feasibility.Infeasible`.
        store: the prepared cohort.
        budget: when it has spent enough.
        searches: whether the space has parameters; without, only its named trials run.
        named: the complete configurations that run first, exactly as they are.
        points: name -> what the study learns of a named trial: its parameters, or nothing where they do not fit.
        rungs: fractions of a trial's epochs after which it may be stopped.
        bounds: what is wanted of the scores of a trial that completed, for it to be the best.
        keep: the fraction of a family that goes on at each rung; None: nothing is stopped.
        quota: how many of a family go on from each rung before any is stopped there.
        grid: the points to work through, in this order; None: the sampler suggests.
        train: who trains a trial, as "package.module:function".
        cpu: CPU cores that a trial occupies.
        meter: who measures what a trial takes of a GPU, as "package.module:function".
        forests: whether a trial that is suggested may be a forest, which needs no GPU.
    """

    objectives: Mapping[str, Direction]
    suggest: Callable[[optuna.Trial], TrialPlan]
    store: Path
    budget: Budget = field(default_factory=Budget)
    searches: bool = True
    named: Mapping[str, TrialPlan] = field(default_factory=dict)
    points: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rungs: tuple[float, ...] = ()
    bounds: tuple[Bound, ...] = ()
    keep: float | None = None
    quota: int = 0
    grid: Sequence[Mapping[str, Any]] | None = None
    train: str = TRAIN
    cpu: float = 1.0
    meter: str = METER
    forests: bool = False

    def configure(self, trial: optuna.Trial, name: str | None) -> TrialPlan:
        """The configuration of a trial: a named one, of which the study learns what it can, or what it suggests.

        Raises:
            Infeasible: what it suggests cannot be trained.
        """
        if name is None:
            return self.suggest(trial)
        if self.points.get(name):
            self.suggest(trial)
        return self.named[name]
