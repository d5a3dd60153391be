"""What a space says besides its parameters: objectives, budget, sampler, pruner, resources."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, ValidationError, field_validator

from mrisynth.config import Config
from mrisynth.search.constraints import Limit, read_constraints
from mrisynth.search.domains import show
from mrisynth.search.space_file import Mistakes, did_you_mean
from mrisynth.search.yaml_document import Place
from mrisynth.training.metrics import METRICS

Count = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
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

    rungs: tuple[Number, ...] = Field(
        min_length=1, description="Fractions of a trial's epochs after which it may be stopped."
    )
    keep: Number = Field(gt=0, lt=1, description="The fraction of a family's trials that goes on from each rung.")
    quota: Count = Field(0, ge=0, description="How many of a family go on from each rung before any is stopped there.")

    @field_validator("rungs")
    @classmethod
    def _increase(cls, rungs: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < rung < 1 for rung in rungs) or any(low >= high for low, high in pairwise(rungs)):
            raise ValueError("rungs are fractions between 0 and 1, each larger than the one before")
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
    "halving": "{rungs: [0.1, 0.3], keep: 0.33}",
    "objectives": "{psnr: maximize}",
}
_NOUNS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "one line of text",
    "tuple_type": "a list of fractions, like [0.1, 0.3]",
}
"""What should stand there, by pydantic's name of the error."""
_UNITS: dict[Any, str] = dict.fromkeys(("hours", "gpu_hours", "wall"), "a number of hours, like 1.5")


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
        if names != ["halving"] or not isinstance(pruner, dict):
            unknown = [name for name in names if name != "halving"]
            begin = f"unknown pruner '{unknown[0]}'" if unknown else "it needs settings"
            raise ValueError(f"{begin}; write {{halving: {{rungs: [0.1, 0.3], keep: 0.33}}}} or none")
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
        for detail in error.errors():
            place = tuple(part for part in detail["loc"] if part not in ("float", "int", "literal['auto']"))
            if place[0] == "pruner" and len(place) > 1:
                place = ("pruner", "halving", *place[1:])
            mistakes.add(place, _sentence(detail, place))
        return Settings()


def _known_objectives(objectives: dict[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    """The objectives, without those that are noted as mistakes."""
    known: dict[str, Any] = {}
    for name, direction in objectives.items():
        if name not in METRICS:
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
    name, given, kind = ".".join(map(str, place)), detail["input"], detail["type"]
    if kind == "extra_forbidden":
        remedy = "; write a space after ':'" if ":" in name else did_you_mean(place[-1], _siblings(place))
        return f"unknown key '{name}'{remedy}"
    if kind == "missing":
        return f"{name} is missing"
    if kind == "literal_error":
        return f"{name} is {show(given)}; it must be {detail['ctx']['expected'].replace(chr(39), '')}"
    if kind in ("model_type", "dict_type"):
        return f"{name} is {show(given)}; it must be a mapping, like {_EXAMPLES[place[-1]]}"
    if noun := _NOUNS.get(kind):
        return f"{name} is {show(given)}; it must be {_UNITS.get(place[-1], noun)}"
    reason = str(detail["msg"]).removeprefix("Value error, ").replace("Input should", "it must")
    return f"{name} is {show(given)}; {reason}"


def _siblings(place: Place) -> list[str]:
    """The keys that are legal where an unknown one stands."""
    if len(place) > 1:
        return list(_BLOCKS[place[-2]].model_fields)
    return [*Settings.model_fields, *PARAMETER_KEYS]
