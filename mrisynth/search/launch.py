"""What a drive is given, and what it gives back."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mrisynth.results.store import SweepDirectory
from mrisynth.search.engine import Capacity
from mrisynth.search.index_writer import IndexWriter
from mrisynth.search.outcome import Kind
from mrisynth.search.plan import Plan
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.space import Space
from mrisynth.search.storage.database import JOURNAL

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class NewSweep:
    """What a sweep begins with.

    Attributes:
        space: what to search, with what was set on top (the budget too).
        store: the prepared cohort.
        results: the folder of all sweeps.
        name: the sweep's name: a new folder in `results`.
        seed: what the sampler draws by.
        storage: what holds the study: "journal", "sqlite", or "postgresql://USER@HOST/DATABASE".
        forecast: what it will take, if that was asked for; kept with it.
    """

    space: Space
    store: Path
    results: Path
    name: str
    seed: int = 0
    storage: str = JOURNAL
    forecast: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """Where and how a sweep runs this time; nothing of it changes what is searched.

    Attributes:
        address: a running Ray cluster; None: Ray on this machine alone.
        max_concurrent: trials at once; None: what the cluster has room for.
        max_failures: how often a trial is taken up again after its worker died or raised.
        grace: how long running trials may take to end their epoch when the sweep is stopped, in seconds.
    """

    address: str | None = None
    max_concurrent: int | None = None
    max_failures: int = 2
    grace: float = 20.0


@dataclass(frozen=True, slots=True)
class Again:
    """What shall be done in a sweep beyond what it began with.

    Attributes:
        kinds: outcomes of which every trial is tried again, as a new trial that does not count in the budget.
        trials: pruned trials that are tried again and run to their end.
        budget_trials: a larger budget of trials in all.
        budget_hours: a larger budget of core-hours in all.
        budget_gpu_hours: a larger budget of GPU-hours in all.
        budget_wall: a larger budget of wall time in all, in hours.
    """

    kinds: Collection[Kind] = ()
    trials: Collection[int] = ()
    budget_trials: int | None = None
    budget_hours: float | None = None
    budget_gpu_hours: float | None = None
    budget_wall: float | None = None

    @property
    def budget(self) -> dict[str, float]:
        """The limits that are larger from now on, by their names in `Budget`."""
        limits = {name: getattr(self, f"budget_{name}") for name in ("trials", "hours", "gpu_hours", "wall")}
        return {name: limit for name, limit in limits.items() if limit is not None}


NOTHING = Again()
"""Nothing beyond what the sweep began with."""


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """How a drive ended.

    Attributes:
        sweep: the sweep's folder.
        state: "done", or "stopped" where a signal or a request ended it.
        signal: the signal that stopped it, or None.
        trials: outcome -> how many trials ended so, in all drives together.
    """

    sweep: Path
    state: Literal["done", "stopped"]
    signal: int | None
    trials: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Search:
    """All that a drive works with."""

    sweep: SweepDirectory
    plan: Plan
    sampler: SeededSampler
    capacity: Capacity
    address: str | None
    index: IndexWriter
    progress: Progress
    grace: float = 0.0
    storage: str = JOURNAL
