"""A named trial as its file has it, in the flat form but perhaps incomplete: what it can have, and setting it."""

from collections.abc import Mapping
from typing import Any

from mrisynth.search.dimensions import parse_conditions
from mrisynth.search.parameters import flattened, nested
from mrisynth.training.config import TrialConfig, parameters


def exists_in(trial: Any, path: str) -> bool:
    """Whether a trial can have a parameter: `unet.filters` only a U-net, `epochs` all but a forest.

    Args:
        trial: in the flat form; what it does not give has its default.
        path: of a parameter that there is.
    """
    return isinstance(trial, Mapping) and _exists(flattened(trial), path)


def with_parameter(trial: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A trial with one parameter set, without what it cannot have any more.

    Args:
        trial: in the flat form.
        path: of a parameter that it has.
        value: not checked.
    """
    flat = flattened(trial)
    if path.startswith("losses.") and not any(other.startswith("losses.") for other in flat):
        # A trial that names one loss names them all: here only this one's weight is to change.
        flat |= {f"losses.{name}": weight for name, weight in TrialConfig.model_fields["losses"].default.items()}
    flat[path] = value
    return nested({other: given for other, given in flat.items() if other not in parameters() or _exists(flat, other)})


def _exists(flat: Mapping[str, Any], path: str) -> bool:
    conditions = parse_conditions(parameters()[path].condition)
    chosen = {
        condition.path: flat.get(condition.path, parameters()[condition.path].default) for condition in conditions
    }
    return all(condition.holds(chosen) for condition in conditions)
