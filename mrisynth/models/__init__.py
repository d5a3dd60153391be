"""The registry of architectures: a new one is one file and one member of `Generator` or `Adversary`."""

from typing import Annotated, Any, get_args

import torch
from pydantic import Field
from torch import nn

from mrisynth.models.architecture import AdversaryConfig, GeneratorConfig
from mrisynth.models.dcgan import DcganConfig
from mrisynth.models.dcsrn import DcsrnConfig
from mrisynth.models.discriminators import DenseConfig, PatchganConfig, PooledConfig
from mrisynth.models.fcn import FcnConfig
from mrisynth.models.forest import ForestConfig
from mrisynth.models.unet import UnetConfig

Generator = Annotated[FcnConfig | DcsrnConfig | DcganConfig | UnetConfig | ForestConfig, Field(discriminator="name")]
Adversary = Annotated[DenseConfig | PooledConfig | PatchganConfig, Field(discriminator="name")]


def _by_name(union: Any) -> dict[str, Any]:
    """The members of a union of configs, by the name that chooses them."""
    return {member.model_fields["name"].default: member for member in get_args(get_args(union)[0])}


GENERATORS: dict[str, type[GeneratorConfig]] = _by_name(Generator)
ADVERSARIES: dict[str, type[AdversaryConfig]] = _by_name(Adversary)


def count_parameters(module: nn.Module) -> int:
    """The number of trainable parameters of a network."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def generator_size(config: GeneratorConfig) -> int:
    """The number of trainable parameters of a generator; its numbers take no memory meanwhile."""
    with torch.device("meta"):
        return count_parameters(config.build())
