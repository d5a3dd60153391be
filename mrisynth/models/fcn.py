"""Fully convolutional networks: the paper's FCN 1 (a plain stack) and FCN 2 (three poolings down, and up again)."""

from typing import Any, Literal

from pydantic import Field, model_validator
from torch import nn

from mrisynth.models.architecture import Activation, Kernel, Width, activate
from mrisynth.models.stack import Layer, StackConfig, convolutions

_POOLED = {"kernels": (5, 3, 3), "filters": (32, 64, 64)}


class FcnConfig(StackConfig):
    """A plain stack as the paper's FCN 1, or with `pool` an encoder and a decoder as its FCN 2."""

    name: Literal["fcn"] = "fcn"
    kernels: tuple[Kernel, ...] | None = Field(
        (7, 7, 5, 3),
        min_length=1,
        max_length=32,
        description="Kernel size of each layer, in px; with pool (the paper's: 5, 3, 3), of each on the way down.",
    )
    filters: tuple[Width, ...] | None = Field(
        (32, 64, 128),
        min_length=1,
        max_length=31,
        description="Filters of each layer but the last, which has one; with pool, of each layer on the way down.",
    )
    pool: bool = Field(
        False, description="Halve the image after each layer, and double it again by transposed convolutions."
    )

    @model_validator(mode="before")
    @classmethod
    def _complete_pool(cls, data: Any) -> Any:
        """The layers of the paper's FCN 2 where pooling is on and no layers are given."""
        if not isinstance(data, dict) or data.get("pool") is not True:
            return data
        if short := [field for field in cls.SHORTHAND if data.get(field) is not None]:
            raise ValueError(f"{short[0]} is given with pool, but the shorthand is for stacks without pooling")
        return {**_POOLED, **{field: value for field, value in data.items() if value is not None}}

    @model_validator(mode="after")
    def _check(self) -> "FcnConfig":
        self.check_lengths(last=0 if self.pool else 1)
        if self.pool and self.filters is not None and len(self.filters) > 8:
            raise ValueError(f"{len(self.filters)} poolings are too many; there may be at most 8")
        self.check_odd()
        return self

    @property
    def multiple(self) -> int:
        """Two to the number of poolings, in px."""
        return 2 ** len(self.filters) if self.pool and self.filters else 1

    @property
    def layers(self) -> list[Layer]:
        """Every convolution; with pool only those on the way down."""
        if not self.pool:
            return super().layers
        kernels, filters = self.kernels or (), self.filters or ()
        return [Layer(*layer) for layer in zip(kernels, (1, *filters[:-1]), filters, strict=True)]

    def build(self) -> nn.Module:
        """The network: (n, 1, height, width) to the same shape."""
        if self.pool:
            return _pooled(self.layers, self.activation)
        return convolutions(self.layers, activation=self.activation)


def _pooled(layers: list[Layer], activation: Activation) -> nn.Sequential:
    """Convolution, BatchNorm, activation and pooling a layer; then transposed convolutions back through the widths."""
    modules: list[nn.Module] = []
    for kernel, inputs, outputs in layers:
        modules += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.BatchNorm2d(outputs)]
        modules += [activate(activation), nn.MaxPool2d(2)]
    for _, outputs, inputs in reversed(layers):
        modules += [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1), nn.BatchNorm2d(outputs)]
        modules.append(activate(activation))
    return nn.Sequential(*modules[:-2])
