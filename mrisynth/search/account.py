"""What a sweep has spent of the time that it may take, and how its running trials end when that is spent.

In the last tenth of it the best of each family that a rung stopped go on before new trials begin. Once it is spent no
trial begins. Those that run go on to their next rung or to their end, whichever comes first, and for at most a tenth as
long as the sweep has run until then; after that they end after the epoch in which they are, for which they have the
same grace as when a sweep is stopped.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import optuna

from mrisynth.search.judge import LiveTrial
from mrisynth.search.settings import Budget
from mrisynth.search.study import gpu_seconds_spent, seconds_spent
from mrisynth.words import hours_in_words

CLOSING = 0.9
"""The part of a limit of time after which the sweep sees to it that each family has a completed trial."""

OVERTIME = 0.1
"""How much longer running trials may take to reach a rung once it is spent, as a share of the time until then."""


@dataclass(slots=True)
class Account:
    """The account of one sweep, for as long as one driver holds it.

    Attributes:
        budget: what it may spend; of trials the conductor keeps count.
        cpu: CPU cores that a trial occupies.
        ran: for how long drivers have driven the sweep, all of them together, in seconds.
        grace: how long an epoch may take to end after the overtime, in seconds.
        closed: what `ran` was when the budget was first seen to be spent; None before that.
    """

    budget: Budget
    cpu: float = 1.0
    ran: Callable[[], float] = lambda: 0.0
    grace: float = 0.0
    closed: float | None = None

    def is_counting(self) -> bool:
        """Whether there is a limit of anything but trials."""
        return any(limit is not None for limit in (self.budget.hours, self.budget.gpu_hours, self.budget.wall))

    def is_spent(self, study: optuna.Study, live: Collection[LiveTrial], say: Callable[[str], None]) -> bool:
        """Whether a limit of time is reached, by what the study and the running trials say; said where any runs."""
        limit = self._reached(study, live)
        if limit is not None and self.closed is None:
            overtime = self.close()
            if live:
                say(
                    f"the budget of {limit} is spent: running trials go on to their next rung, {overtime:.0f} s at most"
                )
        return limit is not None

    def is_closing(self, study: optuna.Study, live: Collection[LiveTrial]) -> bool:
        """Whether little is left of a limit of time."""
        return self._reached(study, live, part=CLOSING) is not None

    def _reached(self, study: optuna.Study, live: Collection[LiveTrial], *, part: float = 1.0) -> str | None:
        """Which limit of time is reached, or so much of it, by what the study and the running trials say."""
        if not self.is_counting():
            return None
        seconds = seconds_spent(study) + sum(trial.seconds for trial in live)
        shared = gpu_seconds_spent(study) + sum(trial.share * trial.seconds for trial in live)
        return self.spent(seconds=seconds, gpu_seconds=shared, part=part)

    def spent(self, *, seconds: float, gpu_seconds: float, part: float = 1.0) -> str | None:
        """Which limit is reached, in words; None while there is none.

        Args:
            seconds: how long workers trained, all of them together.
            gpu_seconds: the same, each weighted by its share of a GPU.
            part: so much of a limit counts as all of it.
        """
        limits = (
            (self.budget.hours, self.cpu * seconds, "core-"),
            (self.budget.gpu_hours, gpu_seconds, "GPU-"),
            (self.budget.wall, self.ran(), ""),
        )
        known = ((limit, used, kind) for limit, used, kind in limits if limit is not None)
        return next((hours_in_words(limit, kind) for limit, used, kind in known if used >= part * 3600 * limit), None)

    def close(self) -> float:
        """Begin the overtime; how long it lasts, in seconds."""
        self.closed = self.ran() if self.closed is None else self.closed
        return OVERTIME * self.closed

    def is_overtime_up(self, *, grace: bool = False) -> bool:
        """Whether running trials have had their overtime, and with `grace` the time to end their epoch too."""
        return self.closed is not None and self.ran() >= self.closed + self.close() + self.grace * grace
