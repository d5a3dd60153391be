"""The range of each searched parameter, and where in it a value lies."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mrisynth.results.index import Index
from mrisynth.results.tables import PARAMETER

Floats = NDArray[np.float64]
_FEW = 12


@dataclass(frozen=True, slots=True)
class Domain:
    """The values that a parameter may take.

    Args:
        path: the parameter's dotted path.
        low, high: the bounds, both included; None where there is a choice.
        log: whether it is searched evenly in its logarithm.
        whole: whether only whole numbers are tried.
        step: the distance of the values tried, in the parameter's unit; None where there is no grid.
        choices: the values as the index's column writes them, in the space's order; empty where there is a range.
        declared: whether the space's range is known; else it is that of the values tried, whose edges mean nothing.
    """

    path: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False
    step: float | None = None
    choices: tuple[str, ...] = ()
    declared: bool = True

    @property
    def numeric(self) -> bool:
        """Whether it is a range."""
        return self.low is not None

    @property
    def few(self) -> bool:
        """Whether it is a range of so few whole numbers that each can have a place of its own on an axis."""
        return self.whole and self.low is not None and self.high is not None and self.high - self.low < _FEW

    def place(self, values: Floats) -> Floats:
        """Where values lie: 0 at the lower bound, 1 at the upper one, evenly in the logarithm of a log range."""
        assert self.low is not None
        assert self.high is not None
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        scaled = np.log(values) if self.log else values
        return (scaled - low) / (high - low) if high > low else np.full(len(values), 0.5)

    def value(self, place: float) -> float:
        """The value at a place: the inverse of `place`."""
        assert self.low is not None
        assert self.high is not None
        if self.log:
            return float(self.low * (self.high / self.low) ** place)
        return self.low + place * (self.high - self.low)


def searched_domains(index: Index) -> dict[str, Domain]:
    """The domain of each searched parameter that has a column, in the order of the space.

    An index that carries no ranges (one of an older version) gets those of the values tried, marked as not declared.
    """
    declared = index.manifest.get("domains")
    known = declared if isinstance(declared, dict) else {}
    domains = {}
    for path in index.manifest.get("searched") or []:
        if path in index.parameters:
            found = _declared(path, known.get(path)) or _observed(index, path)
            if found:
                domains[path] = found
    return domains


def column_values(index: Index, domain: Domain) -> NDArray[Any]:
    """A parameter's values by trial: numbers with NaN, or words with None, where a trial does not have it.

    A value outside of the domain counts as none: a loss of weight 0 was not drawn from a range of 0.1 to 300.
    """
    column = index.trials[PARAMETER + domain.path]
    if domain.low is None or domain.high is None:
        words = [None if value is None else word(value) for value in column.to_pylist()]
        return np.array([each if each in domain.choices else None for each in words], object)
    if not pa.types.is_floating(column.type):
        return np.array([_number(value, domain) for value in column.to_pylist()], np.float64)
    values = floats(column)
    values[~((values >= domain.low) & (values <= domain.high))] = np.nan
    return values


def floats(column: pa.ChunkedArray) -> Floats:
    """A column of numbers, NaN where there is none. (Arrow's own way to numpy would import pandas first.)"""
    return np.array([np.nan if value is None else value for value in column.to_pylist()], np.float64)


def word(value: Any) -> str:
    """A choice as people read it: `4`, not `4.0`, whatever the column's type."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, str) else json.dumps(value)
    return f"{value:g}"


def _declared(path: str, spec: Any) -> Domain | None:
    """A domain as a space file writes it; None where it says something that is not known here."""
    if not isinstance(spec, dict):
        return None
    if isinstance(choices := spec.get("choice"), list):
        return Domain(path, choices=tuple(dict.fromkeys(map(word, choices))))
    bounds = spec.get("int", spec.get("float"))
    if not (isinstance(bounds, list) and len(bounds) == 2 and all(isinstance(each, int | float) for each in bounds)):
        return None
    low, high = map(float, bounds)
    return Domain(path, low, high, log=bool(spec.get("log")), whole="int" in spec, step=spec.get("step"))


def _observed(index: Index, path: str) -> Domain | None:
    """The range of what was tried; logarithmic where it spans more than two orders of magnitude."""
    present = [value for value in index.trials[PARAMETER + path].to_pylist() if value is not None]
    if not present:
        return None
    if all(isinstance(value, float) for value in present):
        low, high = min(present), max(present)
        whole = all(value.is_integer() for value in present)
        return Domain(path, low, high, log=low > 0 and high / low > 100, whole=whole, declared=False)
    return Domain(path, choices=tuple(dict.fromkeys(map(word, _sorted(present)))), declared=False)


def _sorted(values: Sequence[Any]) -> list[Any]:
    return sorted(values, key=str)


def _number(value: str | None, domain: Domain) -> float:
    """A value of a column in which words stand beside numbers."""
    try:
        number = float(value or "")
    except ValueError:
        return math.nan
    return number if (domain.low or 0) <= number <= (domain.high or 0) else math.nan
