"""`TrialConfig`, the one description of a trial, and its flat form on disk."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from torch import nn

from mrisynth.config import Config
from mrisynth.data.patches import PatchConfig, StitchConfig
from mrisynth.models import ADVERSARIES, GENERATORS, Adversary, Generator, count_parameters
from mrisynth.models.forest import ForestConfig, count_batches
from mrisynth.models.output import OutputConfig
from mrisynth.results.store import read_yaml
from mrisynth.training.augmentation import AugmentationConfig
from mrisynth.training.losses import LOSSES, GradientConfig
from mrisynth.training.parameters import (
    NONE,
    InvalidConfigError,
    Parameter,
    check_values,
    closest,
    flat_parameters,
    flat_schema,
    word,
)
from mrisynth.training.perceptual import PerceptualConfig

Weight = Annotated[float, Field(ge=0, le=1e6)]
DISCRIMINATOR_LR = 2e-4

_CHOICES: dict[str, Mapping[str, type[Config]]] = {"generator": GENERATORS, "adversary": ADVERSARIES}
_NEEDS_ADVERSARY = {"condition": {"adversary": {"not": NONE}}}
FOREST = "forest"
_OF_NETWORKS: Any = {"condition": {"generator": {"not": FOREST}}}
"""Marks the fields that a forest does not have: its epochs are batches of trees, and it makes whole slices."""
_WEIGHTS_SCHEMA: Any = {
    **_OF_NETWORKS,
    "properties": {
        name: {
            "type": "number",
            "minimum": 0,
            "maximum": 1e6,
            "description": loss.description,
            **(_NEEDS_ADVERSARY if loss.adversarial else {}),
        }
        for name, loss in LOSSES.items()
    },
    "additionalProperties": False,
}


class OptimizerConfig(Config):
    """Adam, one for each network; the defaults are the paper's for its CNNs."""

    generator_lr: float = Field(1e-3, gt=0, le=1, description="Learning rate of the generator.")
    discriminator_lr: float | None = Field(
        None,
        gt=0,
        le=1,
        description=f"Learning rate of the discriminator; {DISCRIMINATOR_LR} where there is an adversary.",
        json_schema_extra=_NEEDS_ADVERSARY,  # type: ignore[arg-type]
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the mean of gradients.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's decay of the mean of squared gradients.")
    batch_size: int = Field(32, ge=1, le=4096, description="Patches a step.")


class TrialConfig(Config):
    """One configuration, to be trained and scored: any generator, alone or against any adversary, with any weights."""

    generator: Generator = Field(description="What turns low-field into high-field patches: a network, or a forest.")
    output: OutputConfig = Field(
        OutputConfig(), description="What follows the generator's network.", json_schema_extra=_OF_NETWORKS
    )
    adversary: Adversary | None = Field(
        None,
        description="The discriminator that the generator trains against, if any.",
        json_schema_extra=_OF_NETWORKS,
    )
    losses: dict[str, Weight] = Field(
        {"l1": 1.0}, description="Weight of each loss; absent is 0.", json_schema_extra=_WEIGHTS_SCHEMA
    )
    gradient: GradientConfig = Field(
        GradientConfig(), description="How losses.gradient is taken.", json_schema_extra=_OF_NETWORKS
    )
    perceptual: PerceptualConfig = Field(
        PerceptualConfig(), description="What losses.perceptual compares features of.", json_schema_extra=_OF_NETWORKS
    )
    optimizer: OptimizerConfig = Field(
        OptimizerConfig(), description="How the weights are updated.", json_schema_extra=_OF_NETWORKS
    )
    initialization: Literal["default", "normal"] = Field(
        "default",
        description="Fresh weights: torch's own, or pix2pix's normal ones of deviation 0.02.",
        json_schema_extra=_OF_NETWORKS,
    )
    patches: PatchConfig = Field(PatchConfig(), description="What is cut from the training subjects.")
    augmentation: AugmentationConfig = Field(
        AugmentationConfig(),
        description="What is done to training patches at random.",
        json_schema_extra=_OF_NETWORKS,
    )
    stitching: StitchConfig = Field(
        StitchConfig(), description="How images are put together from patches.", json_schema_extra=_OF_NETWORKS
    )
    epochs: int = Field(
        30, ge=1, le=100_000, description="Passes over the training patches.", json_schema_extra=_OF_NETWORKS
    )
    select: Literal["last", "best"] = Field(
        "last",
        description="Which epoch is kept: the last as in the paper, or the best by validation loss.",
        json_schema_extra=_OF_NETWORKS,
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="Arithmetic of the networks.", json_schema_extra=_OF_NETWORKS
    )
    deterministic: bool = Field(
        True, description="Give up some speed on a GPU for the same bits in every run.", json_schema_extra=_OF_NETWORKS
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Of the weights, the order of patches and everything random.")

    @property
    def family(self) -> Literal["forest", "cnn", "gan"]:
        """Trials are compared with others of their family while they run: "gan" where there is an adversary."""
        if self.generator.name == FOREST:
            return "forest"
        return "gan" if self.adversary else "cnn"

    def build_generator(self) -> nn.Module:
        """The generator with what follows it, with fresh weights: (n, 1, height, width) to the same shape."""
        return self.output.finish(self.generator.build())

    def build_discriminator(self) -> nn.Module | None:
        """The adversary with fresh weights, if there is one: (n, channels, size, size) to logits (n, ...)."""
        return self.adversary.build(self.patches.size) if self.adversary else None

    def count_parameters(self) -> tuple[int | None, int | None]:
        """Trainable parameters of the generator and of the adversary.

        None where there is no adversary, and of a forest, whose size shows when it is grown.
        """
        with torch.device("meta"):  # shapes without numbers: even a large network costs nothing
            generator = None if self.family == "forest" else count_parameters(self.build_generator())
            discriminator = self.build_discriminator()
        return generator, count_parameters(discriminator) if discriminator else None

    def is_same_trial(self, other: Self) -> bool:
        """Whether both give the same results: where a file of weights lies does not matter, what it holds does."""
        mine, theirs = (
            each.model_copy(update={"perceptual": each.perceptual.model_copy(update={"weights": None})})
            for each in (self, other)
        )
        return mine == theirs

    @classmethod
    def parse(cls, mapping: Any) -> Self:
        """The config that a mapping in the flat form describes.

        Args:
            mapping: as read from YAML or JSON; what it leaves out takes its default, `generator` excepted.

        Raises:
            InvalidConfigError: one sentence with the dotted path, its value and what would be legal.
        """
        nested = _nested(mapping)
        try:
            return cls.model_validate(nested)
        except ValidationError as error:
            raise _explained(error.errors()[0]) from None

    def dump(self) -> dict[str, Any]:
        """The flat form, complete: every parameter that this trial uses is spelled out, defaults too."""
        dumped = self.model_dump(mode="json", exclude_none=True)
        flat: dict[str, Any] = {}
        for field in type(self).model_fields:
            if self.family == "forest" and field in network_fields():
                continue
            if field not in _CHOICES:
                flat[field] = dumped[field]
            elif block := dumped.get(field):
                flat[field] = block.pop("name")
                flat[flat[field]] = block
            else:
                flat[field] = NONE
        return flat

    @model_validator(mode="before")
    @classmethod
    def _check_forest(cls, data: Any) -> Any:
        """Refuse what a forest does not have, and set what the rest of the program asks of every trial."""
        generator = data.get("generator") if isinstance(data, dict) else None
        name = generator.get("name") if isinstance(generator, dict) else getattr(generator, "name", None)
        if name != FOREST:
            return data
        for field in network_fields():
            if data.get(field) is not None:
                raise _fault(field, f"{field} is given, but generator is {FOREST}, which has none; remove it")
        given = generator if isinstance(generator, dict) else dict(generator or {})
        method, trees = given.get("method", "faithful"), given.get("trees", ForestConfig().trees)
        epochs = count_batches(method, trees) if isinstance(trees, int) and trees > 0 else 1  # else refused right after
        return {**data, "epochs": epochs, "losses": {}}

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """Spell out the discriminator's learning rate where there is a discriminator."""
        if not isinstance(data, dict) or data.get("adversary") is None:
            return data
        optimizer = data.get("optimizer", {})
        if isinstance(optimizer, OptimizerConfig):
            optimizer = optimizer.model_dump(exclude_none=True)
        if not isinstance(optimizer, dict) or optimizer.get("discriminator_lr") is not None:
            return data
        return {**data, "optimizer": {**optimizer, "discriminator_lr": DISCRIMINATOR_LR}}

    @field_validator("losses")
    @classmethod
    def _known(cls, losses: dict[str, float]) -> dict[str, float]:
        """Refuse unknown losses, and put the known into the order of their table: one trial, one text."""
        for name in losses:
            if name not in LOSSES:
                hint = closest(f"losses.{name}", [f"losses.{known}" for known in LOSSES])
                raise _fault(f"losses.{name}", f"unknown parameter 'losses.{name}'; {hint}")
        return {name: losses[name] for name in LOSSES if name in losses}

    @model_validator(mode="after")
    def _check_losses(self) -> Self:
        if self.family == "forest":
            return self
        if not any(self.losses.values()):
            raise _fault("losses", f"losses is {self.losses}; at least one weight must be greater than 0")
        adversarial = {name: weight for name, weight in self.losses.items() if LOSSES[name].adversarial and weight}
        if self.adversary and not adversarial:
            raise _fault(
                "losses.adversarial",
                f"adversary is {self.adversary.name}, but losses.adversarial is 0 or not given; give it a weight",
            )
        if adversarial and not self.adversary:
            name, weight = next(iter(adversarial.items()))
            raise _fault(
                f"losses.{name}",
                f"losses.{name} is {weight}, but adversary is {NONE}; choose one of {', '.join(ADVERSARIES)}",
            )
        if self.optimizer.discriminator_lr is not None and not self.adversary:
            raise _fault(
                "optimizer.discriminator_lr",
                f"optimizer.discriminator_lr is {self.optimizer.discriminator_lr}, but adversary is {NONE};"
                f" choose one of {', '.join(ADVERSARIES)}",
            )
        return self

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        size = self.patches.size
        for network in (self.generator, *((self.adversary,) if self.adversary else ())):
            try:
                network.check_size(size)
            except ValueError as error:
                raise _fault("patches.size", f"patches.size is {size}; {error}") from None
        if self.family == "forest":
            return self
        try:
            self.stitching.check_size(size)
        except ValueError as error:
            raise _fault("stitching", f"stitching: {error}") from None
        return self


@cache
def network_fields() -> tuple[str, ...]:
    """The fields that only trials of networks have."""
    wanted = _OF_NETWORKS["condition"].items()
    extras = {name: field.json_schema_extra for name, field in TrialConfig.model_fields.items()}
    return tuple(
        name
        for name, extra in extras.items()
        if isinstance(extra, dict) and wanted <= dict(extra.get("condition", {})).items()  # type: ignore[arg-type]
    )


@cache
def parameters() -> dict[str, Parameter]:
    """Every parameter of a trial by its dotted path in the flat form ("unet.filters", "losses.l1", "epochs")."""
    return flat_parameters(TrialConfig)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a trial's flat form."""
    return flat_schema(TrialConfig)


def load_config(path: Path) -> TrialConfig:
    """The config in a YAML file.

    Raises:
        NotFoundError: there is no such file.
        InvalidConfigError: as `TrialConfig.parse`, with the file's name.
    """
    try:
        return TrialConfig.parse(read_yaml(path))
    except InvalidConfigError as error:
        raise InvalidConfigError(error.path, f"{path}: {error}") from None


def _nested(mapping: Any) -> dict[str, Any]:
    """The flat form as the models nest it, checked for all that can be wrong with a single value."""
    if not isinstance(mapping, Mapping):
        what = f"a trial's config is {word(mapping)}"
        raise InvalidConfigError("", f"{what}; it must be a mapping, like {{generator: unet}}")
    nested = _renamed(mapping)
    for field, members in _CHOICES.items():
        if field not in nested and TrialConfig.model_fields[field].is_required():
            raise InvalidConfigError(field, f"{field} is not given; it must be {parameters()[field].legal}")
        if reason := parameters()[field].why_illegal(chosen := nested.get(field, NONE)):
            raise InvalidConfigError(field, f"{field} is {word(chosen)}; {reason}")
        for name in members:
            if name in nested and name != chosen:
                raise InvalidConfigError(name, f"{name} is given, but {field} is {chosen}; remove it, or choose {name}")
    check_values(nested, parameters())
    nested = {name: value for name, value in nested.items() if value is not None}  # blocks left empty
    for field in _CHOICES:
        chosen = nested.pop(field, NONE)
        nested[field] = None if chosen == NONE else {**nested.pop(chosen, {}), "name": chosen}
    return nested


def _renamed(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The flat form of an earlier version as this one has it: `unet.tanh` is `output.tanh` now."""
    renamed = dict(mapping)
    if isinstance(unet := renamed.get("unet"), Mapping) and "tanh" in unet:
        renamed["unet"] = {name: value for name, value in unet.items() if name != "tanh"}
        renamed["output"] = {"tanh": unet["tanh"], **(renamed.get("output") or {})}
    return renamed


def _fault(path: str, sentence: str) -> PydanticCustomError:
    """A fault between parameters, with its whole sentence."""
    return PydanticCustomError("mrisynth", "{sentence}", {"path": path, "sentence": sentence})


def _explained(error: ErrorDetails) -> InvalidConfigError:
    """What pydantic still refuses after the values have passed one by one, as one sentence about the flat form."""
    if error["type"] == "mrisynth":
        return InvalidConfigError(error["ctx"]["path"], error["msg"])
    location = error["loc"][1:] if error["loc"][0] in _CHOICES else error["loc"]
    path = ".".join(part for part in location if isinstance(part, str))
    reason = error.get("ctx", {}).get("error", error["msg"])
    if path not in parameters():
        return InvalidConfigError(path, f"{path}: {reason}")
    return InvalidConfigError(path, f"{path} is {word(error['input'])}; {reason}")
