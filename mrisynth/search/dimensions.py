"""A parameter of a space: the values it may take, and the conditions under which it exists."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mrisynth.search.domains import Constant, Domain, few_values, same, show


@dataclass(frozen=True, slots=True)
class Condition:
    """A parameter exists only where the one at `path` exists and has one of `values`, or, negated, none of them."""

    path: str
    values: tuple[Any, ...]
    negated: bool = False

    def holds(self, chosen: Mapping[str, Any]) -> bool:
        """Whether it holds where `chosen` (dotted path -> value) was chosen."""
        return self.path in chosen and self.accepts(chosen[self.path])

    def accepts(self, value: Any) -> bool:
        """Whether it holds for this value of its parameter."""
        return any(same(value, known) for known in self.values) != self.negated

    def can_hold(self, domain: Domain) -> bool:
        """Whether it holds for any value that a domain has."""
        values = few_values(domain)
        if values is None:
            return self.negated or any(domain.contains(value) for value in self.values)
        return any(self.accepts(value) for value in values)

    def __str__(self) -> str:
        return f"{self.path}: {'not ' if self.negated else ''}{' or '.join(map(show, self.values))}"

    def to_dict(self) -> dict[str, Any]:
        """The condition as in a space file."""
        values = list(self.values) if len(self.values) > 1 else self.values[0]
        return {self.path: {"not": values} if self.negated else values}


class CircleError(ValueError):
    """Conditions go round in a circle: each of the parameters `paths` depends on the next, the last on the first."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(", ".join(paths))
        self.paths = paths


@dataclass(frozen=True, slots=True)
class Dimension:
    """A parameter: its dotted path, the values it may take, and when it exists."""

    path: str
    domain: Domain
    conditions: tuple[Condition, ...] = ()

    @property
    def searched(self) -> bool:
        """Whether a trial is asked for it."""
        return not isinstance(self.domain, Constant)

    def exists(self, chosen: Mapping[str, Any]) -> bool:
        """Whether the parameter exists where `chosen` (dotted path -> value) was chosen."""
        return all(condition.holds(chosen) for condition in self.conditions)

    def to_dict(self) -> dict[str, Any]:
        """The dimension as in a space file, with its implied conditions spelled out."""
        when: dict[str, Any] = {}
        for condition in self.conditions:
            when |= condition.to_dict()
        return self.domain.to_dict() | ({"when": when} if when else {})


def parse_conditions(when: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The conditions of a `when`: path -> a value, a list of values, or {not: a value or a list}."""
    return tuple(_condition(path, accepted) for path, accepted in when.items())


def in_order(dimensions: Iterable[Dimension]) -> tuple[Dimension, ...]:
    """The dimensions, each after those that its conditions name, otherwise as given.

    Raises:
        CircleError: conditions go round in a circle.
    """
    waiting, ordered = list(dimensions), list[Dimension]()
    while waiting:
        names = {dimension.path for dimension in waiting}
        ready = [d for d in waiting if not names & {condition.path for condition in d.conditions}]
        if not ready:
            raise CircleError(_circle(waiting))
        ordered += ready
        waiting = [dimension for dimension in waiting if dimension not in ready]
    return tuple(ordered)


def _circle(waiting: Sequence[Dimension]) -> tuple[str, ...]:
    """A circle among dimensions of which each waits for another one."""
    waits_for = {
        dimension.path: next(
            condition.path
            for condition in dimension.conditions
            if any(other.path == condition.path for other in waiting)
        )
        for dimension in waiting
    }
    paths = [waiting[0].path]
    while (following := waits_for[paths[-1]]) not in paths:
        paths.append(following)
    return tuple(paths[paths.index(following) :])


def _condition(path: str, accepted: Any) -> Condition:
    negated = isinstance(accepted, Mapping)
    values = accepted["not"] if negated else accepted
    return Condition(path, tuple(values) if isinstance(values, list | tuple) else (values,), negated)
