"""Which suggestions of a space can be trained and keep to its bounds on sizes, and how large a share cannot."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mrisynth.errors import InvalidInputError
from mrisynth.results.constraints import SIZES, Bound, excesses, number
from mrisynth.search.stand_ins import RandomTrial
from mrisynth.training.config import TrialConfig

DRAWS = 50
"""How many random configurations a check tries."""
MOST_DRAWS = 1000
"""How many it tries before it says that a space suggests nothing that is wanted."""


class Infeasible(InvalidInputError, ValueError):  # noqa: N818 - it is no error of the program's, like optuna.TrialPruned
    """A suggestion that no worker gets: legal one by one, but not together, or beyond a bound of the space.

    Args:
        message: why, in one sentence.
        config: what was suggested, in the flat form, without defaults.
        excesses: bound in words -> how far beyond it the suggestion is; empty where it cannot be trained at all.
    """

    def __init__(self, message: str, config: Mapping[str, Any], excesses: Mapping[str, float] | None = None) -> None:
        super().__init__(message)
        self.config = dict(config)
        self.excesses = dict(excesses or {})


@dataclass(frozen=True, slots=True)
class Feasibility:
    """What became of random suggestions.

    Attributes:
        drawn: how many there were.
        untrainable: how many of them cannot be trained.
        broken: bound in words -> how many could, but break it.
        beyond: how many break any bound.
        example: why one of them cannot be trained, or is beyond a bound.
    """

    drawn: int = 0
    untrainable: int = 0
    beyond: int = 0
    broken: Mapping[str, int] = field(default_factory=dict)
    example: Mapping[str, str] = field(default_factory=dict)

    @property
    def nothing_left(self) -> bool:
        """Whether no suggestion was wanted."""
        return self.drawn > 0 and self.untrainable + self.beyond == self.drawn

    @property
    def bounds_in_words(self) -> str:
        """How much the bounds throw away: "34 of 100 random suggestions break generator_parameters <= 2,000,000"."""
        parts = [f"{count} of {self.drawn} random suggestions break {bound}" for bound, count in self.broken.items()]
        return "; ".join(parts)


def check_sizes(config: TrialConfig, wanted: Sequence[Bound], suggested: Mapping[str, Any]) -> None:
    """Refuse a suggestion whose networks are larger or smaller than the space wants.

    Args:
        config: the suggestion.
        wanted: the bounds of the space; those on metrics say nothing yet.
        suggested: what was suggested, in the flat form.

    Raises:
        Infeasible: it breaks a bound.
    """
    on_sizes = [bound for bound in wanted if bound.name in SIZES]
    if not on_sizes:
        return
    sizes = dict(zip(SIZES, config.count_parameters(), strict=True))
    beyond = excesses(sizes, on_sizes)
    if reasons := [
        f"{bound.name} is {sizes[bound.name]:,}; the space wants at "
        f"{'most' if bound.side == 'max' else 'least'} {number(bound.value)}"
        for bound in on_sizes
        if beyond[str(bound)] > 0
    ]:
        raise Infeasible("; ".join(reasons), suggested, beyond)


def try_out(suggest: Callable[[RandomTrial], Any], *, draws: int = DRAWS, most: int = MOST_DRAWS) -> Feasibility:
    """Draw random suggestions and count what becomes of them.

    Args:
        suggest: asks a trial for every parameter; may raise `Infeasible`.
        draws: how many are drawn.
        most: how many are drawn at the most until one is wanted.
    """
    trial, broken, example = RandomTrial(0), Counter[str](), dict[str, str]()
    drawn = untrainable = beyond = 0
    while drawn < draws or (untrainable + beyond == drawn and drawn < most):
        drawn += 1
        try:
            suggest(trial)
        except Infeasible as error:
            beyond += bool(error.excesses)
            untrainable += not error.excesses
            broken.update(bound for bound, excess in error.excesses.items() if excess > 0)
            example.setdefault("beyond" if error.excesses else "untrainable", str(error))
    return Feasibility(drawn, untrainable, beyond, dict(broken), example)
