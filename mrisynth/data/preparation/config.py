"""The settings of a preparation, as a preparation.yaml holds them."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mrisynth.config import Config
from mrisynth.data.cohort import Pair
from mrisynth.data.preparation.bias import BiasConfig
from mrisynth.data.preparation.intensity import IntensityConfig
from mrisynth.data.preparation.methods import FAST, CorrelationConfig, GivenConfig, RegistrationConfig
from mrisynth.errors import InvalidInputError, NotFoundError


class PreparationConfig(Config):
    """How both scans of every subject are prepared: the paper's order, with settings that were measured."""

    bias: BiasConfig = Field(BiasConfig(), description="N4 bias correction of both scans")
    intensity: IntensityConfig = Field(IntensityConfig(), description="clipping and scaling to [0, 1000]")
    registration: RegistrationConfig = Field(CorrelationConfig(), description="low-field scan onto high-field scan")

    @field_validator("registration", mode="before")
    @classmethod
    def _complete_method(cls, value: Any) -> Any:
        """Let `method` be left out (correlation), and `fast` stand for correlation in fewer steps."""
        if not isinstance(value, Mapping):
            return value
        method = value.get("method", "correlation")
        return {**FAST, **value, "method": FAST["method"]} if method == "fast" else {**value, "method": method}

    def for_pair(self, pair: Pair) -> "PreparationConfig":
        """The settings as they hold for one pair: a transform that is given with it takes the place of registration."""
        if pair.low_to_high is None:
            return self
        return self.model_copy(update={"registration": GivenConfig(interpolation=self.registration.interpolation)})


def load_config(path: Path) -> PreparationConfig:
    """The settings in a preparation.yaml; what it leaves out has its default.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is not YAML, or settings are unknown or out of bounds: each is named by its dotted path.
    """
    try:
        values = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except YAMLError as error:
        raise InvalidInputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    try:
        return PreparationConfig.model_validate({} if values is None else values)
    except ValidationError as error:
        problems = [_explain(problem["loc"], problem) for problem in error.errors()]
        raise InvalidInputError("\n".join(f"{path}: {problem}" for problem in problems)) from None


def _explain(location: tuple[int | str, ...], problem: Mapping[str, Any]) -> str:
    """One problem in a sentence: the dotted path, what stands there, and what would be legal."""
    # The second part of a path into the registration block is pydantic's tag, not a key of the file.
    parts = [str(part) for part in (location[:1] + location[2:] if location[:1] == ("registration",) else location)]
    name = ".".join(parts) or "the file"
    if problem["type"] == "extra_forbidden":
        known = _fields(location)
        close = difflib.get_close_matches(parts[-1], known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        return f"unknown setting {name!r}; {hint}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]} (it is {problem['input']!r})"


def _fields(location: tuple[int | str, ...]) -> list[str]:
    """The settings that exist where an unknown one was found."""
    config: type[Config] = PreparationConfig
    for part in location[:-1]:
        config = _METHODS[str(part)] if part in _METHODS else _BLOCKS.get(str(part), config)
    return list(config.model_fields)


_BLOCKS: dict[str, type[Config]] = {"bias": BiasConfig, "intensity": IntensityConfig}
_METHODS: dict[str, type[Config]] = {
    str(member.model_fields["method"].default): member
    for member in RegistrationConfig.__origin__.__args__  # type: ignore[attr-defined]
}
