"""What a space says besides its parameters: objectives, budget, sampler, pruner, resources."""

import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, ValidationError, field_validator

from mrisynth.config import Config
from mrisynth.results.constraints import SIZES
from mrisynth.search.constraints import Limit, read_constraints
from mrisynth.search.domains import show
from mrisynth.search.space_file import Mistakes, did_you_mean
from mrisynth.search.yaml_document import Place
from mrisynth.training.config import parameters
from mrisynth.training.metrics import METRICS
from mrisynth.words import nearest

Count = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Fraction = Annotated[float, Strict(), Field(gt=0, lt=1)]
Direction = Literal["maximize", "minimize"]
SamplerName = Literal["tpe", "nsga2", "random", "grid"]

PARAMETER_KEYS = ("fixed", "search", "trials", "published")
"""The top-level keys of a space that are not settings."""


class Budget(Config):
    """How much a sweep may spend; it ends when the first of them is spent."""

    trials: Count | None = Field(None, ge=1, description="Trials that end as completed, pruned or rejected.")
    hours: Number | None = Field(None, gt=0, description="Core-hours: the time of all trials times their CPU cores.")
    gpu_hours: Number | None = Field(None, gt=0, description="GPU-hours: the time of all trials times their GPU share.")
    wall: Number | None = Field(None, gt=0, description="Hours that the sweep runs, over all its launches.")


class Halving(Config):
    """Successive halving within each family."""

    rungs: tuple[Fraction, ...] = Field(
        min_length=1, description="Fractions of a trial's epochs after which it may be stopped."
    )
    keep: Fraction = Field(description="The fraction of a family's trials that goes on from each rung.")
    quota: Count = Field(0, ge=0, description="How many of a family go on from each rung before any is stopped there.")

    @field_validator("rungs")
    @classmethod
    def _increase(cls, rungs: tuple[float, ...]) -> tuple[float, ...]:
        if any(low >= high for low, high in pairwise(rungs)):
            raise ValueError(f"each must be larger than the one before: write {sorted(set(rungs))}")
        return rungs


class Resources(Config):
    """What one trial occupies."""

    cpu: Number = Field(1.0, gt=0, description="CPU cores.")
    gpu: float | Literal["auto"] = Field(
        "auto", description="GPUs, or a fraction of one; auto: what each trial needs, measured, where there is any."
    )

    @field_validator("gpu", mode="before")
    @classmethod
    def _sensible(cls, gpu: Any) -> Any:
        number = isinstance(gpu, int | float) and not isinstance(gpu, bool)
        if gpu != "auto" and not (number and (0 <= gpu <= 1 or (gpu > 0 and float(gpu).is_integer()))):
            raise ValueError("it must be auto, a number from 0 to 1, or a whole number")
        return gpu


_BLOCKS: dict[Any, type[Config]] = {"budget": Budget, "resources": Resources, "halving": Halving}
"""The mappings among the settings, by the key that they stand under."""
_EXAMPLES: dict[Any, str] = {
    "budget": "{trials: 100}",
    "resources": "{cpu: 1, gpu: auto}",
    "halving": "{rungs: [0.05, 0.15], keep: 0.4}",
    "objectives": "{psnr: maximize}",
}
_NOUNS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "one line of text",
    "tuple_type": "a list of fractions, like [0.05, 0.15]",
    "too_short": "a list of fractions, like [0.05, 0.15]",
}
"""What should stand there, by pydantic's name of the error."""
_UNITS: dict[Any, str] = {
    **dict.fromkeys(("hours", "gpu_hours", "wall"), "a number of hours, like 1.5"),
    **dict.fromkeys(("rungs", "keep"), "a fraction between 0 and 1, like 0.3"),
}
"""What a number should be, by its key."""


class Settings(Config):
    """The settings of a space: all but its parameters and trials."""

    description: Annotated[str, Strict()] = Field("", description="One line that says what the space is for.")
    objectives: dict[str, Direction] = Field(
        {"psnr": "maximize"}, description="Metric: direction; the first one leads, all of them decide in the pruner."
    )
    constraints: dict[str, Limit] = Field(
        {}, description="Bounds on metrics and on the sizes of networks: {seam: {max: 1.5}}; see docs/spaces.md."
    )
    budget: Budget = Field(Budget(), description="When the sweep has spent enough.")
    sampler: SamplerName = Field("tpe", description="Who suggests the next trial.")
    pruner: Halving | None = Field(
        None, description="Who stops hopeless trials: {halving: {rungs, keep, quota}} or none."
    )
    resources: Resources = Field(Resources(cpu=1.0, gpu="auto"), description="What one trial occupies.")

    @field_validator("pruner", mode="before")
    @classmethod
    def _by_name(cls, pruner: Any) -> Any:
        """The halving in `{halving: {...}}`."""
        if pruner is None or pruner == "none" or isinstance(pruner, Halving):
            return None if pruner == "none" else pruner
        names = list(pruner) if isinstance(pruner, dict) else [pruner]
        if names != ["halving"] or not isinstance(pruner, dict) or pruner["halving"] is None:
            unknown = [name for name in names if name != "halving"]
            begin = f"unknown pruner '{unknown[0]}'" if unknown else "it needs settings"
            raise ValueError(f"{begin}; write {{halving: {{rungs: [0.05, 0.15], keep: 0.4}}}} or none")
        return pruner["halving"]


def read_settings(data: dict[str, Any], mistakes: Mistakes) -> Settings:
    """The settings at a space's top level, every mistake in them noted."""
    given = {key: value for key, value in data.items() if key not in PARAMETER_KEYS}
    if isinstance(given.get("objectives"), dict):
        given["objectives"] = _known_objectives(given["objectives"], mistakes)
    if "constraints" in given:
        given["constraints"] = read_constraints(given["constraints"], mistakes)
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        details = error.errors()
        for detail in details:
            inside = [other for other in details if other["loc"][:-1] == detail["loc"]]
            if detail["type"] == "too_short" and inside:  # pydantic counts the entries that are right
                continue
            place = _place(detail)
            mistakes.add(place, _sentence(detail, place))
        return Settings()


def _place(detail: Any) -> Place:
    """Where in the file one of pydantic's errors is: it knows the pruner as its halving."""
    place: Place = detail["loc"]
    if place[0] == "pruner" and (len(place) > 1 or detail["type"] == "model_type"):
        return ("pruner", "halving", *place[1:])
    return place


def _known_objectives(objectives: dict[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    """The objectives, without those that are noted as mistakes."""
    known: dict[str, Any] = {}
    for name, direction in objectives.items():
        if name in SIZES:
            what = f"{name} is a size, which is no objective"
            mistakes.add(("objectives", name), f"{what}; bound it instead: 'constraints: {{{name}: {{max: 2e6}}}}'")
        elif name not in METRICS:
            mistakes.add(("objectives", name), f"unknown metric '{name}'{did_you_mean(name, METRICS)}")
        elif direction != METRICS[name].direction:
            due = f"write '{name}: {METRICS[name].direction}'"
            mistakes.add(("objectives", name), f"objectives.{name} is {show(direction)}; {due}")
        else:
            known[name] = direction
    if not objectives:
        mistakes.add(("objectives",), "objectives is empty; name at least one metric, like {psnr: maximize}")
    return known


def _sentence(detail: Any, place: Place) -> str:
    """One of pydantic's errors as a sentence of ours."""
    key: Any = place[-1]
    name, verb, given, kind = ".".join(map(str, place)), "is", detail["input"], detail["type"]
    if isinstance(key, int):  # an entry of a list
        key, name, verb = place[-2], ".".join(map(str, place[:-1])), "has"
    if kind == "extra_forbidden":
        return f"unknown key '{name}'{_meant_by_key(place)}"
    if kind == "missing":
        return f"{name} is missing"
    if kind == "literal_error":
        legal = detail["ctx"]["expected"]
        near = nearest(given, re.findall("'(.*?)'", legal))
        meant = f"; did you mean '{near}'?" if near else ""
        return f"{name} is {show(given)}; it must be {legal.replace(chr(39), '')}{meant}"
    if kind in ("model_type", "dict_type"):
        return f"{name} is {show(given)}; it must be a mapping, like {_EXAMPLES[key]}"
    noun = _UNITS.get(key) if kind in ("float_type", "greater_than", "less_than") else None
    if noun := noun or _NOUNS.get(kind):
        return f"{name} {verb} {show(given)}; it must be {noun}"
    reason = str(detail["msg"]).removeprefix("Value error, ").replace("Input should", "it must")
    return f"{name} {verb} {show(given)}; {reason}"


def _meant_by_key(place: Place) -> str:
    """The end of a sentence about an unknown key."""
    key = str(place[-1])
    if ":" in key:
        return "; write a space after ':'"
    if "{" in key or "[" in key:
        return "; write ': ' (colon and space) behind a key"
    block = key.partition(".")[0]
    if len(place) == 1 and any(path.partition(".")[0] == block for path in parameters()):
        return "; it is a parameter: write it under 'fixed' or 'search'"
    return did_you_mean(key, _siblings(place))


def _siblings(place: Place) -> list[str]:
    """The keys that are legal where an unknown one stands."""
    if len(place) > 1:
        return list(_BLOCKS[place[-2]].model_fields)
    return [*Settings.model_fields, *PARAMETER_KEYS]
