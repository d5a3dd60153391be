"""The weights that a perceptual loss needs, looked for before anything starts: a sweep cannot make them itself."""

from collections.abc import Collection, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from mrisynth.errors import InvalidInputError
from mrisynth.files import read_json
from mrisynth.results.store import SweepDirectory
from mrisynth.search.dimensions import Dimension
from mrisynth.search.domains import Range, few_values
from mrisynth.search.space import Space
from mrisynth.training import perceptual
from mrisynth.training.perceptual import PerceptualConfig

_LOSS, _BLOCK = "losses.perceptual", "perceptual."
_SEARCH = "the search"


def check_weights(space: Space, begun: SweepDirectory | None = None) -> None:
    """Refuse a space in which a trial minimises the perceptual loss with weights that are not there.

    Args:
        space: with what was set on top.
        begun: the sweep that goes on, whose ended trials need nothing any more.

    Raises:
        InvalidInputError: they are missing; it names the trials and the ways out.
    """
    found = list(_wanted(space, _ended(begun) if begun else ()))
    for config in dict.fromkeys(config for _, config in found):
        names = [name for name, other in found if other == config]
        try:
            _find(config)
        except InvalidInputError as error:
            ways = _ways_out(space, names) if begun is None else "put the file back where it was when the sweep began"
            raise InvalidInputError(f"{', '.join(names)}: {error}; or {ways}") from None


def _wanted(space: Space, ended: Collection[str]) -> Iterator[tuple[str, PerceptualConfig]]:
    """Who needs which weights."""
    for name in space.published:
        if name not in ended and space.trials[name].losses.get("perceptual"):
            yield name, space.trials[name].perceptual
    dimensions = {dimension.path: dimension for dimension in space.parameters.dimensions}
    if _LOSS in dimensions and _may_be_positive(dimensions[_LOSS]):
        settings = {path: _values(d) for path, d in dimensions.items() if path.startswith(_BLOCK)}
        for values in product(*settings.values()):
            given = {path.removeprefix(_BLOCK): value for path, value in zip(settings, values, strict=True)}
            yield _SEARCH, PerceptualConfig(**given)


def _ended(sweep: SweepDirectory) -> set[str]:
    """The named trials that have ended."""
    ended = [directory for directory in sweep.trial_directories() if directory.outcome.is_file()]
    return {str(read_json(directory.origin)["name"]) for directory in ended if directory.origin.is_file()}


def _find(config: PerceptualConfig) -> None:
    if config.weights is not None and not Path(config.weights).expanduser().is_absolute():
        raise InvalidInputError(
            f"perceptual.weights is {config.weights}; write the whole path, because trials run in other folders"
        )
    perceptual.find_weights(config)


def _ways_out(space: Space, names: list[str]) -> str:
    """What to do where weights are missing."""
    if _SEARCH in names:
        return "search without: --set losses.perceptual=0"
    others = [name for name in space.published if name not in names]
    return f"run only the others: --set 'published=[{', '.join(others)}]'" if others else "take another space"


def _may_be_positive(dimension: Dimension) -> bool:
    domain = dimension.domain
    return domain.high > 0 if isinstance(domain, Range) else any(value > 0 for value in few_values(domain) or ())


def _values(dimension: Dimension) -> list[Any]:
    """The values of a word, a path or a switch."""
    return list(few_values(dimension.domain) or ())
