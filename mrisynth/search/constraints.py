"""The `constraints` of a space: bounds on metrics and on the sizes of networks, read and checked."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, Strict

from mrisynth.config import Config
from mrisynth.results.constraints import SIZES, Bound, number
from mrisynth.search.domains import show
from mrisynth.search.space_file import Mistakes, did_you_mean
from mrisynth.search.yaml_document import Place
from mrisynth.training.metrics import METRICS

_SIDES = ("min", "max")


class Limit(Config):
    """The least and the most that is wanted of a metric or of a network's size, both included."""

    min: Annotated[float, Strict()] | None = Field(None, description="The least that is wanted.")
    max: Annotated[float, Strict()] | None = Field(None, description="The most that is wanted.")


def read_constraints(given: Any, mistakes: Mistakes) -> dict[str, Limit]:
    """The constraints of a space, every mistake in them noted."""
    if not isinstance(given, Mapping):
        mistakes.add(
            ("constraints",), f"constraints is {show(given)}; it must be a mapping, like {{seam: {{max: 1.5}}}}"
        )
        return {}
    limits = {name: _limit(name, limit, mistakes) for name, limit in given.items()}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _limit(name: str, given: Any, mistakes: Mistakes) -> Limit | None:
    place: Place = ("constraints", name)
    known = [*SIZES, *METRICS]
    if name not in known:
        mistakes.add(place, f"'{name}' is neither a metric nor a size{did_you_mean(name, known) or _all(known)}")
        return None
    if not isinstance(given, Mapping):
        mistakes.add(place, f"constraints.{name} is {show(given)}; write {_example(given)}")
        return None
    wrong = [_wrong(name, side, bound, mistakes) for side, bound in given.items()]
    if any(wrong):
        return None
    if not given:
        mistakes.add(place, f"constraints.{name} has no bound; write {_example(given)}")
        return None
    limit = Limit(**{side: float(bound) for side, bound in given.items()})
    if limit.min is not None and limit.max is not None and limit.min > limit.max:
        what = f"constraints.{name} has a min of {number(limit.min)} above its max of {number(limit.max)}"
        mistakes.add(place, f"{what}, so that no trial can keep to both; lower the min, or raise the max")
        return None
    return limit


def _wrong(name: str, side: str, bound: Any, mistakes: Mistakes) -> bool:
    """Whether a bound makes no sense, which is noted."""
    place: Place = ("constraints", name, side)
    if side not in _SIDES:
        mistakes.add(place, f"unknown key 'constraints.{name}.{side}'{did_you_mean(side, _SIDES)}")
    elif isinstance(bound, bool) or not isinstance(bound, int | float) or not abs(bound) < float("inf"):
        mistakes.add(place, f"constraints.{name}.{side} is {show(bound)}; it must be a number, like 1.5 or 2e6")
    elif impossible := _impossible(Bound(name, "max" if side == "max" else "min", bound)):
        mistakes.add(place, impossible)
    else:
        return False
    return True


def _impossible(bound: Bound) -> str | None:
    """Why no trial can keep to a bound, or None."""
    least, most = (0.0, None) if bound.name in SIZES else METRICS[bound.name].range
    if bound.side == "max" and least is not None and bound.value < least:
        return f"no trial can keep to {bound}: {bound.name} is never below {number(least)}"
    if bound.side == "min" and most is not None and bound.value > most:
        return f"no trial can keep to {bound}: {bound.name} is never above {number(most)}"
    return None


def _example(given: Any) -> str:
    """How a bound is written, with the number that was given, if it was one."""
    bound = f"{given:g}" if isinstance(given, int | float) and not isinstance(given, bool) else "1.5"
    return f"{{max: {bound}}} or {{min: {bound}}}"


def _all(known: list[str]) -> str:
    return f"; known: {', '.join(known)}"
