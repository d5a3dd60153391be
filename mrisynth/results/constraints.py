"""What a sweep wants of its trials besides a good score: bounds on metrics and on the sizes of networks.

A trial that breaks a bound is a trial like any other, but not the best one while there is another that keeps to all.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

SIZES = {
    "generator_parameters": "Trainable parameters of the generator; a forest has none.",
    "adversary_parameters": "Trainable parameters of the adversary; a trial without one has none.",
}
"""What can be bounded besides metrics: it is known before a trial trains, and does not concern trials without it."""

_UNKNOWN = 1.0
_MOST = 1e6


@dataclass(frozen=True, slots=True)
class Bound:
    """One bound of one quantity.

    Args:
        name: a metric, or one of `SIZES`.
        side: whether the value is the most ("max") or the least ("min") that is wanted.
        value: in the quantity's own unit.
    """

    name: str
    side: Literal["min", "max"]
    value: float

    def __str__(self) -> str:
        return f"{self.name} {'<=' if self.side == 'max' else '>='} {number(self.value)}"

    def excess(self, value: float | None) -> float:
        """How far beyond the bound a value lies, as a share of the bound; 0 or less where it keeps to it.

        A size that there is not keeps to every bound. A metric that is not known breaks it.
        """
        if value is None or math.isnan(value):
            return 0.0 if self.name in SIZES else _UNKNOWN
        beyond = value - self.value if self.side == "max" else self.value - value
        return max(-_MOST, min(_MOST, beyond / (abs(self.value) or 1.0)))


def bounds(constraints: Any) -> tuple[Bound, ...]:
    """The bounds in {"seam": {"max": 1.5}}, as a space, a sweep and an index hold them; what is none is left out."""
    if not isinstance(constraints, Mapping):
        return ()
    return tuple(
        Bound(name, side, float(limit[side]))
        for name, limit in constraints.items()
        for side in ("min", "max")
        if isinstance(limit, Mapping) and isinstance(limit.get(side), int | float)
    )


def excesses(values: Mapping[str, Any], wanted: Iterable[Bound]) -> dict[str, float]:
    """Each bound in words -> how far beyond it the values are; see `Bound.excess`."""
    return {str(bound): bound.excess(values.get(bound.name)) for bound in wanted}


def broken(values: Mapping[str, Any], wanted: Iterable[Bound]) -> list[str]:
    """The bounds that the values break, in words: ["seam <= 1.5"]."""
    return [words for words, excess in excesses(values, wanted).items() if excess > 0]


def number(value: float) -> str:
    """A bound as people read it: 2,000,000 or 1.5."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:g}"
