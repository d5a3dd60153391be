"""Stride-1 stacks of convolutions: what `fcn` and `dcgan` have in common, and the shorthand that both take."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from pydantic import Field, model_validator
from torch import nn

from mrisynth.models.architecture import Activation, GeneratorConfig, Kernel, Width, activate


class Layer(NamedTuple):
    """One convolution: kernel size in px, channels in, channels out."""

    kernel: int
    inputs: int
    outputs: int


class StackConfig(GeneratorConfig):
    """A stack of convolutions, given layer by layer or in the shorthand of one kernel size, a depth and a width."""

    SHORTHAND: ClassVar[dict[str, int]] = {"kernel_size": 3, "depth": 5, "width": 64}

    kernels: tuple[Kernel, ...] | None = Field(
        None, min_length=1, max_length=32, description="Kernel size of each layer, in px."
    )
    filters: tuple[Width, ...] | None = Field(
        None, min_length=1, max_length=31, description="Filters of each layer but the last, which has one."
    )
    kernel_size: Kernel | None = Field(
        None, description="Shorthand: kernel size of every layer, in px (3 where only depth or width are given)."
    )
    depth: int | None = Field(
        None, ge=2, le=32, description="Shorthand: number of layers, the last included (5 where not given)."
    )
    width: Width | None = Field(
        None, description="Shorthand: filters of every layer but the last (64 where not given)."
    )
    activation: Activation = Field("relu", description="After every layer but the last.")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """Spell out the rest of the shorthand where a part of it is given, so that a config is always complete."""
        if not isinstance(data, dict):
            return data
        given = {field: value for field, value in data.items() if value is not None}
        short = [field for field in cls.SHORTHAND if field in given]
        if not short:
            return given
        if long := [field for field in ("kernels", "filters") if field in given]:
            raise ValueError(
                f"{long[0]} and {short[0]} are both given, but layers are given either one by one (kernels and filters)"
                " or in shorthand (kernel_size, depth and width)"
            )
        return {**cls.SHORTHAND, **given, "kernels": None, "filters": None}

    @property
    def layers(self) -> list[Layer]:
        """Every convolution from the input to the output, both of one channel."""
        if self.kernel_size and self.depth and self.width:
            kernels, widths = (self.kernel_size,) * self.depth, (self.width,) * (self.depth - 1)
        else:
            kernels, widths = self.kernels or (), self.filters or ()
        return [Layer(*layer) for layer in zip(kernels, (1, *widths), (*widths, 1), strict=True)]

    def check_lengths(self, *, last: int) -> None:
        """Refuse lists of layers that do not fit together.

        Args:
            last: how many kernels there are beyond the filters.
        """
        kernels, filters = list(self.kernels or ()), list(self.filters or ())
        if kernels and len(kernels) != len(filters) + last:
            due = (
                "one kernel more than filters (the last layer has one filter)" if last else "as many kernels as filters"
            )
            raise ValueError(f"kernels {kernels} and filters {filters} do not fit together; there must be {due}")

    def check_odd(self) -> None:
        """Refuse even kernels, which cannot keep the size of an image with the same padding on both sides."""
        if even := [layer.kernel for layer in self.layers if layer.kernel % 2 == 0]:
            raise ValueError(f"the kernel size {even[0]} is even, but padding that keeps the size needs odd kernels")


def convolutions(
    layers: Sequence[Layer], *, activation: Activation = "relu", padding: int | None = None
) -> nn.Sequential:
    """Convolution, BatchNorm and activation a layer; the last layer is a bare convolution, as in the paper.

    Args:
        layers: at least one.
        activation: after every layer but the last.
        padding: zero padding of every layer in px; half the kernel, which keeps the size, unless given.

    Returns:
        A network (n, inputs, height, width) to (n, outputs, height', width').
    """
    modules: list[nn.Module] = []
    for kernel, inputs, outputs in layers:
        modules.append(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2 if padding is None else padding))
        modules += [nn.BatchNorm2d(outputs), activate(activation)]
    return nn.Sequential(*modules[:-2])
