"""The queue of a sweep: which trial begins or goes on next, as far as its budget allows for another one."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial

from mrisynth.search.account import Account
from mrisynth.search.judge import LiveTrial
from mrisynth.search.plan import Plan
from mrisynth.search.pruning import Promotions
from mrisynth.search.study import (
    ask,
    counted_trials,
    find_promotion,
    infeasible_in_a_row,
    is_asked_for,
    is_exhausted,
    promote,
    waiting_trials,
)

INFEASIBLE_IN_A_ROW = 500
"""After so many infeasible suggestions without any other trial the sweep begins no new one: they cost no worker, and
do not count in the budget."""


@dataclass(slots=True)
class Queue:
    """What of one sweep has not begun yet.

    What was asked for comes before retries, those before trials that a rung stopped and that are among the best by now,
    and those before what is new.

    Attributes:
        study: its study.
        plan: what to do.
    """

    study: optuna.Study
    plan: Plan
    _said_so: bool = False
    _promotions: Promotions | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.plan.keep is not None:
            self._promotions = Promotions(tuple(self.plan.objectives.values()), self.plan.keep)

    def may_begin(self, live: Collection[LiveTrial], account: Account, say: Callable[[str], None]) -> bool:
        """Whether a retry waits, a stopped trial may go on, or the budget allows for another trial and there is one.

        Args:
            live: the trials that run.
            account: what of the budget of time is spent.
            say: called with a sentence when the budget of time is spent, or the space seems to suggest nothing
                trainable any more.
        """
        return self._may_begin(self._read(), live, account, say)

    def next_number(self, live: Collection[LiveTrial], account: Account, say: Callable[[str], None]) -> int | None:
        """The number of the trial to begin, a queued or a new one; None where none may, for which see `may_begin`."""
        trials = self._read()
        if not self._may_begin(trials, live, account, say):
            return None
        waiting = waiting_trials(trials)
        asked_for = [trial for trial in waiting if is_asked_for(self.study, trial.user_attrs)]
        retries = [trial for trial in waiting if "retry_of" in trial.user_attrs]
        if not (asked_for or retries) and (stopped := self._promotable(trials, live, account, say)) is not None:
            return promote(self.study, stopped)
        queued = asked_for or retries or waiting
        return queued[0].number if queued else ask(self.study, self.plan.grid)

    def _read(self) -> list[FrozenTrial]:
        """All trials of the study, read once for a decision: a database takes its time."""
        return self.study.get_trials(deepcopy=False)

    def _may_begin(
        self,
        trials: list[FrozenTrial],
        live: Collection[LiveTrial],
        account: Account,
        say: Callable[[str], None],
    ) -> bool:
        waiting = waiting_trials(trials)
        if any(is_asked_for(self.study, trial.user_attrs) for trial in waiting):
            return True
        if account.is_spent(self.study, live, say):
            return False
        if any("retry_of" in trial.user_attrs for trial in waiting):
            return True
        return self._is_new_left(trials, live, say) or self._promotable(trials, live, account, say) is not None

    def _is_new_left(self, trials: list[FrozenTrial], live: Collection[LiveTrial], say: Callable[[str], None]) -> bool:
        """Whether the budget of trials allows for another one, and there is one."""
        exhausted = is_exhausted(trials, self.plan.grid)
        searches = self.plan.searches and not exhausted and not self._suggests_nothing(trials, say)
        # Trials that were begun and not lost, nor infeasible.
        begun = sum("retry_of" not in trial.user_attrs for trial in counted_trials(trials))
        begun += sum(trial.counts for trial in live)
        return bool(waiting_trials(trials) or searches) and begun < (self.plan.budget.trials or math.inf)

    def _promotable(
        self, trials: list[FrozenTrial], live: Collection[LiveTrial], account: Account, say: Callable[[str], None]
    ) -> int | None:
        """The trial that a rung stopped and that may go on by now; towards the end one of each family at least."""
        if self._promotions is None:
            return None
        ends = account.is_closing(self.study, live) or not self._is_new_left(trials, live, say)
        return find_promotion(self._promotions, trials, least=int(ends))

    def _suggests_nothing(self, trials: list[FrozenTrial], say: Callable[[str], None]) -> bool:
        """Whether the space seems to suggest nothing trainable any more; a grid is worked through."""
        if self.plan.grid is not None or infeasible_in_a_row(trials) < INFEASIBLE_IN_A_ROW:
            return False
        if not self._said_so:
            self._said_so = True
            say(
                f"no new trial begins: the last {INFEASIBLE_IN_A_ROW} suggestions were all infeasible; "
                "loosen the constraints of the space, or search where they hold"
            )
        return True
