"""A space as a tree: what hangs on which choice, and how large each branch is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from pydantic import ValidationError

from mrisynth.models import GENERATORS, generator_size
from mrisynth.models.forest import ForestConfig
from mrisynth.search.dimensions import Condition, Dimension
from mrisynth.search.domains import Constant, Domain, Range, all_values, few_values, show
from mrisynth.search.parameters import Parameters, nested

_MOST_CORNERS = 200
"""Of how many networks of one generator the size is taken."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to search.

    Attributes:
        combinations: how many combinations of the values that can be counted.
        continuous: the fewest and the most dimensions beside them that take any number of a range.
    """

    combinations: int = 1
    continuous: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        least, most = self.continuous
        counted = "1 combination" if self.combinations == 1 else f"{self.combinations:,} combinations"
        if most == 0:
            return counted
        dimensions = f"{most} continuous dimension{'s' * (most > 1)}"
        dimensions = dimensions if least == most else f"{least} to {dimensions}"
        return dimensions if self.combinations == 1 else f"{counted} x {dimensions}"

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {"combinations": self.combinations, "continuous": list(self.continuous)}


@dataclass(frozen=True, slots=True)
class Branch:
    """What exists where a parameter has some of its values.

    Attributes:
        label: these values, in words.
        nodes: the parameters that exist there, and nowhere else.
        size: of them together.
        parameters: of the generator that is chosen here, the fewest and the most trainable parameters.
    """

    label: str
    nodes: tuple["Node", ...]
    size: Size
    parameters: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "value": self.label,
            **self.size.to_dict(),
            "generator_parameters": list(self.parameters) if self.parameters else None,
            "searched": [node.to_dict() for node in self.nodes],
        }


@dataclass(frozen=True, slots=True)
class Node:
    """A searched parameter and what hangs on it.

    Attributes:
        path: its dotted path.
        values: in words.
        needs: what must hold besides for it to exist, in words; mostly nothing.
        size: of it and all that hangs on it.
        branches: what hangs on it, by its values.
    """

    path: str
    values: str
    needs: str
    size: Size
    branches: tuple[Branch, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "parameter": self.path,
            "values": self.values,
            "needs": self.needs,
            **self.size.to_dict(),
            "branches": [branch.to_dict() for branch in self.branches],
        }


def tree(parameters: Parameters) -> tuple[tuple[Node, ...], Size]:
    """What a space searches, each parameter below the one that decides whether it exists; and the size of it all.

    Where a parameter needs several others, it hangs on the last of them, and the sizes count it wherever that holds.
    """
    domains = {dimension.path: dimension.domain for dimension in parameters.dimensions}
    conditions = {dimension.path: dimension.conditions for dimension in parameters.dimensions}
    children: dict[str, list[tuple[Dimension, Condition | None, str]]] = {}
    for dimension in parameters.searched:
        needed = _needed(dimension, domains, conditions)
        last = needed[-1] if needed else None
        others = ", ".join(map(str, needed[:-1]))
        children.setdefault(last.path if last else "", []).append((dimension, last, others))
    builder = _Builder(parameters, children)
    nodes = tuple(builder.node(dimension, others) for dimension, _, others in children.get("", ()))
    return nodes, _together(nodes)


def _needed(
    dimension: Dimension, domains: Mapping[str, Domain], conditions: Mapping[str, Sequence[Condition]]
) -> list[Condition]:
    """What a parameter depends on: not on what always holds, nor on what another of its conditions implies."""

    def decisive(condition: Condition) -> Iterator[Condition]:
        domain = domains.get(condition.path)
        values = few_values(domain) if domain else ()
        if values is not None and all(map(condition.accepts, values)):
            for above in conditions.get(condition.path, ()):
                yield from decisive(above)
        else:
            yield condition

    needed = list(dict.fromkeys(found for condition in dimension.conditions for found in decisive(condition)))
    implied = {
        found for condition in needed for above in conditions.get(condition.path, ()) for found in decisive(above)
    }
    return [condition for condition in needed if condition not in implied]


@dataclass(frozen=True, slots=True)
class _Builder:
    parameters: Parameters
    children: Mapping[str, Sequence[tuple[Dimension, Condition | None, str]]]

    def node(self, dimension: Dimension, needs: str) -> Node:
        below, domain = self.children.get(dimension.path, ()), dimension.domain
        words = in_words(domain)
        values = all_values(domain)
        if values is None:
            below_nodes = tuple(self.node(child, others) for child, _, others in below)
            size = _together(below_nodes)
            continuous = (size.continuous[0] + 1, size.continuous[1] + 1)
            return Node(dimension.path, words, needs, Size(size.combinations, continuous), self._groups(below))
        if not below and dimension.path != "generator":
            return Node(dimension.path, words, needs, Size(len(values)))
        nodes = [(condition, self.node(child, others)) for child, condition, others in below]
        each = [_together([node for condition, node in nodes if _holds(condition, value)]) for value in values]
        least, most = min(size.continuous[0] for size in each), max(size.continuous[1] for size in each)
        size = Size(sum(size.combinations for size in each), (least, most))
        return Node(dimension.path, words, needs, size, self._branches(dimension, values, below))

    def _branches(
        self,
        dimension: Dimension,
        values: Sequence[Any],
        below: Sequence[tuple[Dimension, Condition | None, str]],
    ) -> tuple[Branch, ...]:
        """A branch for each single value of a choice, then one for what several values share."""
        own = {value: [c for c in below if c[1] and _only(c[1], value)] for value in map(show, values)}
        shared = [child for child in below if not any(child in kept for kept in own.values())]
        if isinstance(dimension.domain, Range):  # as many branches as whole numbers would be too many
            own = {label: kept for label, kept in own.items() if kept}
        branches = [
            self._branch(label, kept, generator=label if dimension.path == "generator" else None)
            for label, kept in own.items()
        ]
        return (*branches, *self._groups(shared))

    def _groups(self, below: Sequence[tuple[Dimension, Condition | None, str]]) -> tuple[Branch, ...]:
        """Parameters with the same condition, together."""
        groups: dict[str, list[tuple[Dimension, Condition | None, str]]] = {}
        for child in below:
            groups.setdefault(str(child[1]).partition(": ")[2], []).append(child)
        return tuple(self._branch(label, kept) for label, kept in groups.items())

    def _branch(
        self,
        label: str,
        kept: Sequence[tuple[Dimension, Condition | None, str]],
        *,
        generator: str | None = None,
    ) -> Branch:
        nodes = tuple(self.node(child, others) for child, _, others in kept)
        sizes = generator_sizes(self.parameters, generator) if generator else None
        return Branch(label, nodes, _together(nodes), sizes)


def generator_sizes(parameters: Parameters, generator: str) -> tuple[int, int] | None:
    """The fewest and the most trainable parameters of one generator, over the ends of every range of the space.

    None of a forest, whose size shows when it is grown.
    """
    if GENERATORS[generator] is ForestConfig:
        return None
    own = [dimension for dimension in parameters.dimensions if dimension.path.startswith(f"{generator}.")]
    paths = {"generator"}
    while more := [d for d in parameters.dimensions if d.path in {c.path for o in own for c in o.conditions} - paths]:
        paths |= {dimension.path for dimension in more}
        own += more
    kept = [d for d in parameters.dimensions if d in own and d.path != "generator"]
    chosen = Parameters((Dimension("generator", Constant(generator)), *kept), parameters.defaults)
    sizes = {_count(generator, nested(flat).get(generator, {})) for flat in _corners(chosen)} - {None}
    known = [size for size in sizes if size is not None]
    return (min(known), max(known)) if known else None


def _count(generator: str, block: Mapping[str, Any]) -> int | None:
    try:
        return generator_size(GENERATORS[generator].model_validate({**block, "name": generator}))
    except ValidationError:
        return None


def _corners(parameters: Parameters) -> Iterator[dict[str, Any]]:
    """Configurations with both ends of every range and every choice, as far as there are not too many."""
    trial = _CornerTrial()
    for _ in range(_MOST_CORNERS):
        yield parameters.suggest(trial)
        if not trial.advance():
            return


class _CornerTrial:
    """Answers with the ends of ranges; once it was asked for everything it advances to the next corner."""

    def __init__(self) -> None:
        self._turns: list[tuple[int, int]] = []
        self._asked = 0

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._pick([low, high]))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._pick([low, high]))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._pick(choices)

    def advance(self) -> bool:
        """Go to the next corner; whether there is one."""
        self._asked = 0
        while self._turns and self._turns[-1][0] + 1 == self._turns[-1][1]:
            self._turns.pop()
        if self._turns:
            turn, options = self._turns[-1]
            self._turns[-1] = (turn + 1, options)
        return bool(self._turns)

    def _pick(self, options: Sequence[Any]) -> Any:
        if self._asked == len(self._turns):
            self._turns.append((0, len(options)))
        self._asked += 1
        return options[self._turns[self._asked - 1][0]]


def in_words(domain: Domain) -> str:
    """The values of a parameter as a table shows them."""
    if not isinstance(domain, Range):
        return ", ".join(map(_short, few_values(domain) or ()))
    step = f" in steps of {domain.step:g}" if domain.step else ""
    return f"{_short(domain.low)} to {_short(domain.high)}{step}{' (log)' if domain.log else ''}"


def _short(value: Any) -> str:
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else show(value)


def _holds(condition: Condition | None, value: Any) -> bool:
    return condition is None or condition.accepts(value)


def _only(condition: Condition, value: str) -> bool:
    """Whether a condition names this value and no other."""
    return not condition.negated and [show(each) for each in condition.values] == [value]


def _together(nodes: Sequence[Node]) -> Size:
    continuous = [node.size.continuous for node in nodes]
    return Size(
        prod(node.size.combinations for node in nodes),
        (sum(least for least, _ in continuous), sum(most for _, most in continuous)),
    )
