"""Every point of a space whose parameters have few values each: what the sampler `grid` works through."""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from mrisynth.search.dimensions import Dimension
from mrisynth.search.domains import Domain, Range, all_values, encode
from mrisynth.search.parameters import Parameters

MOST_POINTS = 100_000
"""A grid of more is refused: nobody would see its end."""


def grid_points(parameters: Parameters) -> Iterator[dict[str, Any]]:
    """Every point, once: dotted path -> value of each searched parameter that exists there.

    A parameter is varied only where it exists, so that no point comes twice. The last parameter varies fastest.

    Args:
        parameters: of a space; there must be none that is `endless`.
    """
    yield from _branches(parameters.dimensions, dict(parameters.defaults), {})


def grid_in_order(parameters: Parameters, seed: int) -> tuple[dict[str, Any], ...]:
    """Every point, as a study takes it, in an order drawn by the seed: a part of it is a fair sample of the whole."""
    points = [{path: encode(value) for path, value in point.items()} for point in grid_points(parameters)]
    random.Random(seed).shuffle(points)
    return tuple(points)


def count_points(parameters: Parameters) -> int:
    """How many points there are; at `MOST_POINTS` + 1 it stops counting."""
    return sum(1 for _ in islice(grid_points(parameters), MOST_POINTS + 1))


def endless(parameters: Parameters) -> list[Dimension]:
    """The searched parameters that have no list of values: ranges of any number without a step, and log ranges."""
    return [dimension for dimension in parameters.searched if grid_values(dimension.domain) is None]


def grid_values(domain: Domain) -> Sequence[Any] | None:
    """The values of a domain; None where it has no list of them, or one that is not to be gone through evenly."""
    return None if isinstance(domain, Range) and domain.log else all_values(domain)


def _branches(
    dimensions: Sequence[Dimension], known: Mapping[str, Any], point: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Every point that begins like `point`; `known` has the fixed and the default values too."""
    if not dimensions:
        yield dict(point)
        return
    dimension, *rest = dimensions
    if not dimension.exists(known):
        yield from _branches(rest, known, point)
        return
    for value in grid_values(dimension.domain) or ():
        chosen = {dimension.path: value}
        yield from _branches(rest, {**known, **chosen}, {**point, **chosen} if dimension.searched else point)
