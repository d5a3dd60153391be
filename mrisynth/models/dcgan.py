"""The generators of the paper's DCGAN models: stride-1 stacks of convolutions, here of any kernels and filters."""

from typing import Literal

from pydantic import Field, model_validator
from torch import nn

from mrisynth.models.architecture import Kernel, Width
from mrisynth.models.stack import StackConfig, convolutions


class DcganConfig(StackConfig):
    """A stack of convolutions; the defaults are the generator of the paper's model 2."""

    name: Literal["dcgan"] = "dcgan"
    kernels: tuple[Kernel, ...] | None = Field(
        (7, 5, 5, 3, 1), min_length=1, max_length=32, description="Kernel size of each layer, in px."
    )
    filters: tuple[Width, ...] | None = Field(
        (16, 64, 128, 196),
        min_length=1,
        max_length=31,
        description="Filters of each layer but the last, which has one.",
    )
    padding: Literal["same", 1] = Field(
        "same",
        description="Zero padding: what keeps the size at each layer, or 1 px at every layer (the paper's model 1).",
    )

    @model_validator(mode="after")
    def _check(self) -> "DcganConfig":
        self.check_lengths(last=1)
        if self.padding == "same":
            self.check_odd()
        elif change := sum(3 - layer.kernel for layer in self.layers):
            kernels = [layer.kernel for layer in self.layers]
            raise ValueError(
                f"with padding 1 the kernels {kernels} change the size by {change:+d} px; they must be 3 on average,"
                " so that the output is as large as the input"
            )
        return self

    def check_size(self, size: int) -> None:
        """Refuse a patch size that padding 1 shrinks to nothing on the way."""
        if self.padding == "same":
            return
        remaining = size
        for kernel, _, _ in self.layers:
            remaining += 3 - kernel
            if remaining < 1:
                raise ValueError(f"the layers of {self.name} shrink a patch of {size} px to nothing")

    def build(self) -> nn.Module:
        """The network: (n, 1, height, width) to the same shape."""
        padding = None if self.padding == "same" else self.padding
        return convolutions(self.layers, activation=self.activation, padding=padding)
