"""What a sweep would do, value by value, and where each value comes from."""

from collections.abc import Iterator, Sequence
from typing import Any

from mrisynth.search.domains import show
from mrisynth.search.parameters import flattened
from mrisynth.search.settings import Budget
from mrisynth.search.space import Space
from mrisynth.search.space_file import Place
from mrisynth.training.config import TrialConfig

DEFAULT = "default"


def resolve(space: Space, drawn: Sequence[TrialConfig]) -> list[tuple[str, str, str]]:
    """Every setting and parameter of a sweep.

    Args:
        space: what is searched, with what was set on top.
        drawn: some of its trials; they tell which parameters exist.

    Returns:
        (name, value, origin): the origin is "default", the line of the space's file, "--set KEY", or "named trial".
    """
    return [*_settings(space), *_named(space), *_parameters(space, drawn)]


def _settings(space: Space) -> Iterator[tuple[str, str, str]]:
    rule = space.pruner
    pruner = f"halving: rungs {show(list(rule.rungs))}, keep {rule.keep:g}, quota {rule.quota}" if rule else "none"
    values: dict[Place, Any] = {("objectives",): ", ".join(f"{name}: {to}" for name, to in space.objectives.items())}
    values |= {("budget", name): getattr(space.budget, name) for name in Budget.model_fields}
    values |= {("sampler",): space.sampler, ("pruner",): pruner}
    values |= {("resources", name): value for name, value in space.resources.model_dump().items()}
    for place, value in values.items():
        if value is not None:
            yield ".".join(map(str, place)), _words(value), _origin(space, place)


def _named(space: Space) -> Iterator[tuple[str, str, str]]:
    for name in space.published:
        yield f"trials.{name}", "runs first, as it is written", _origin(space, ("trials", name))


def _parameters(space: Space, drawn: Sequence[TrialConfig]) -> Iterator[tuple[str, str, str]]:
    """Searched and fixed ones, then the defaults of all that exist in a drawn trial."""
    if not space.search:
        return
    given = {dimension.path: dimension for dimension in space.parameters.dimensions}
    for path, dimension in given.items():
        when = ", ".join(map(str, dimension.conditions)) if dimension.searched else ""
        section = "search" if dimension.searched else "fixed"
        place: Place = (section, path)
        if place not in space.file.positions and section == "fixed":
            place = (section, *path.split("."))
        yield path, str(dimension.domain) + (f" (when {when})" if when else ""), _origin(space, place)
    found: dict[str, set[str]] = {}
    for config in drawn:
        for path, value in flattened(config.dump()).items():
            found.setdefault(path, set()).add(_words(value))
    for path, values in sorted(found.items()):
        if path not in given:
            yield path, " or ".join(sorted(values)), DEFAULT


def _origin(space: Space, place: Place) -> str:
    """Where the value at a place comes from."""
    if key := space.file.override(place):
        return f"--set {key}"
    data: Any = space.file.data
    for part in place:
        data = data.get(part) if isinstance(data, dict) else None
    stands = data is not None or place in space.file.positions
    return space.file.where(place).removeprefix("space ") if stands else DEFAULT


def _words(value: Any) -> str:
    return value if isinstance(value, str) else show(value)
