"""What is wrong with a space as a whole: missing sections, a grid without an end, suggestions that no worker gets."""

from collections.abc import Mapping, Sequence
from typing import Any

from mrisynth.results.constraints import SIZES, Bound
from mrisynth.search.feasibility import Feasibility
from mrisynth.search.grid import MOST_POINTS, count_points, endless
from mrisynth.search.parameters import Parameters
from mrisynth.search.settings import PARAMETER_KEYS, Settings
from mrisynth.search.space_file import Mistakes
from mrisynth.search.yaml_document import Place
from mrisynth.words import nearest

_MOSTLY = 0.9
"""A space that throws more than this share of its suggestions away warns."""


def has_misspelt_section(data: Mapping[str, Any]) -> bool:
    """Whether a section or the budget is only missing because its key is misspelt, which is noted where it stands."""
    unknown = [key for key in data if key not in (*Settings.model_fields, *PARAMETER_KEYS)]
    return any(nearest(key, (*PARAMETER_KEYS, "budget")) for key in unknown)


def check_sections(data: Mapping[str, Any], settings: Settings, *, mistakes: Mistakes) -> None:
    """Note what a space that searches lacks.

    Args:
        data: the space's content.
        settings: what was read of it.
        mistakes: collects what is wrong.
    """
    if not data.get("search"):
        what = "nothing is searched; write parameters under 'search', or configurations under 'trials'"
        mistakes.add(("search",), what)
    if not data.get("budget") and settings.sampler != "grid":
        mistakes.add(("budget",), "budget is missing; write 'budget: {trials: 100}', or hours, gpu_hours, wall")


def check_grid(parameters: Parameters, mistakes: Mistakes) -> None:
    """Note what keeps a grid from having an end."""
    without_end = endless(parameters)
    for dimension in without_end:
        what = f"{dimension.path} is a range {dimension.domain}, of which a grid has no list of values"
        remedy = "write a list of choices, or a step in a range that is not log"
        mistakes.add(("search", dimension.path), f"{what}; {remedy}")
    if not without_end and count_points(parameters) > MOST_POINTS:
        what = f"the grid has more than {MOST_POINTS:,} points; search less, or take another sampler"
        mistakes.add(("sampler",), what)


def check_feasibility(found: Feasibility, bounds: Sequence[Bound], *, mistakes: Mistakes) -> None:
    """Note that a space suggests what no worker gets: a mistake if it suggests nothing else.

    Args:
        found: what became of random suggestions.
        bounds: the constraints of the space.
        mistakes: collects what is wrong.
    """
    bounded: Place = ("constraints", next((bound.name for bound in bounds if bound.name in SIZES), ""))
    if found.nothing_left and found.beyond:
        remedy = "move the bound, or search other networks"
        mistakes.add(bounded, f"{found.bounds_in_words}: {remedy}; for example, {found.example['beyond']}")
    elif found.nothing_left:
        why = f"nothing that this space suggests can be trained; for example, {found.example['untrainable']}"
        mistakes.add(("search",), why)
    elif found.untrainable:
        share = f"{found.untrainable} of {found.drawn} random suggestions cannot be trained"
        mistakes.warn(("search",), f"{share}; for example, {found.example['untrainable']}")
    if _MOSTLY * found.drawn < found.beyond < found.drawn:
        mistakes.warn(bounded, f"{found.bounds_in_words}; the search will spend much of its time on them")
