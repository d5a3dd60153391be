"""Successive halving within each family: a pure function of the rungs that trials have reached.

A rung is a fraction of a trial's own epochs, so that trials of different lengths meet on it. Nothing is kept here:
every decision comes from the values that the study holds, and so survives every restart.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The value with which one trial stood on one rung.

    Attributes:
        family: "cnn", "gan" or "forest"; only trials of one family are compared.
        rung: the rung's place in the list of fractions, 0 for the first.
        value: the first objective there.
    """

    family: str
    rung: int
    value: float


def rung_epochs(fractions: Sequence[float], epochs: int) -> dict[int, int]:
    """After which epochs a trial stands on a rung.

    Args:
        fractions: the rungs, increasing, in (0, 1).
        epochs: how many epochs the trial has.

    Returns:
        Epoch -> rung. A rung is at least epoch 1 and before the last; of two on one epoch the later counts.
    """
    # A fraction such as 0.3 of 10 epochs is 3.0000000000000004 or so: it means epoch 3.
    places = ((max(1, math.ceil(fraction * epochs - 1e-9)), rung) for rung, fraction in enumerate(fractions))
    return {epoch: rung for epoch, rung in places if epoch < epochs}


def should_prune(others: Iterable[Standing], own: Standing, *, direction: Direction, keep: float) -> bool:
    """Whether a trial stops on its rung.

    It goes on if it is among the best `keep` of its family on that rung, itself counted, rounded down but at least one;
    equal values go on together.

    Args:
        others: where all other trials stand, whatever became of them.
        own: where this one stands; a value that is not a number is never among the best.
        direction: which values are better.
        keep: the fraction that goes on, in (0, 1).
    """
    if math.isnan(own.value):
        return True
    rivals = [other.value for other in others if (other.family, other.rung) == (own.family, own.rung)]
    better = sum(value > own.value if direction == "maximize" else value < own.value for value in rivals)
    return better >= max(1, math.floor((len(rivals) + 1) * keep + 1e-9))
