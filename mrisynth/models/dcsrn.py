"""DCSRN, the densely connected super-resolution network (Chen et al. 2018), in two dimensions as in the paper."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mrisynth.models.architecture import Activation, GeneratorConfig, OddKernel, activate


class DcsrnConfig(GeneratorConfig):
    """A densely connected network: each unit sees the outputs of all before it."""

    name: Literal["dcsrn"] = "dcsrn"
    units: int = Field(4, ge=1, le=16, description="Number of densely connected units.")
    growth: int = Field(24, ge=1, le=256, description="Filters of the first layer and of each unit.")
    kernel_size: OddKernel = Field(3, description="Kernel size of every layer, in px; odd.")
    activation: Activation = Field("elu", description="Before every convolution but the first.")

    def build(self) -> nn.Module:
        """The network: (n, 1, height, width) to the same shape."""
        return Dcsrn(self)


class Dcsrn(nn.Module):
    """A convolution, dense units of BatchNorm, activation and convolution, and the same again down to one channel."""

    def __init__(self, config: DcsrnConfig) -> None:
        super().__init__()
        growth, kernel = config.growth, config.kernel_size
        self.first = nn.Conv2d(1, growth, kernel, padding=kernel // 2)
        self.units = nn.ModuleList(_unit(growth * i, growth, config) for i in range(1, config.units + 1))
        self.last = _unit(growth * (config.units + 1), 1, config)

    def forward(self, low: Tensor) -> Tensor:
        """(n, 1, height, width) to the same shape."""
        features = self.first(low)
        for unit in self.units:
            features = torch.cat([features, unit(features)], dim=1)
        generated: Tensor = self.last(features)
        return generated


def _unit(inputs: int, outputs: int, config: DcsrnConfig) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, config.kernel_size, padding=config.kernel_size // 2)
    return nn.Sequential(nn.BatchNorm2d(inputs), activate(config.activation), convolution)
