"""What may follow any network: the low-field patch added back, tanh, and the paper's sharpening."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mrisynth.config import Config

SHARPENING: dict[str, tuple[float, tuple[tuple[int, ...], ...]]] = {
    "3x3": (1.0, ((0, -1, 0), (-1, 5, -1), (0, -1, 0))),
    "5x5": (-1 / 256, ((1, 4, 6, 4, 1), (4, 16, 24, 16, 4), (6, 24, -476, 24, 6), (4, 16, 24, 16, 4), (1, 4, 6, 4, 1))),
}
"""The paper's kernels: a factor and the weights that it multiplies. Each sums to 1, so flat areas stay as they are."""


class OutputConfig(Config):
    """What becomes of the network's output before losses, adversary and images see it; by default nothing."""

    residual: bool = Field(
        False,
        description="Add the low-field patch to what the network gives (tried and dropped by the paper).",
    )
    tanh: bool = Field(False, description="End the network with tanh as pix2pix does, which confines it to -1 to 1.")
    sharpening: Literal["none", "3x3", "5x5"] = Field(
        "none", description="Convolve what is generated with the paper's sharpening kernel (its model 6)."
    )
    border: Literal["replicate", "zero"] = Field(
        "replicate", description="What sharpening sees beyond a patch; zero darkens and brightens its edges."
    )

    def finish(self, network: nn.Module) -> nn.Module:
        """The network with what is set here behind it; itself where nothing is."""
        return Finished(network, self) if self.residual or self.tanh or self.sharpening != "none" else network


class Finished(nn.Module):
    """A network, then tanh, then the low-field patch added, then sharpening, each where it is set."""

    kernel: Tensor

    def __init__(self, network: nn.Module, config: OutputConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        if config.sharpening != "none":
            factor, weights = SHARPENING[config.sharpening]
            kernel = torch.tensor([[[[factor * weight for weight in row] for row in weights]]])
            self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, low: Tensor) -> Tensor:
        """(n, 1, height, width) to the same shape."""
        generated: Tensor = self.network(low)
        if self.config.tanh:
            generated = torch.tanh(generated)
        if self.config.residual:
            generated = generated + low
        return generated if self.config.sharpening == "none" else self._sharpen(generated)

    def _sharpen(self, image: Tensor) -> Tensor:
        reach = self.kernel.shape[-1] // 2
        mode = "replicate" if self.config.border == "replicate" else "constant"
        return F.conv2d(F.pad(image, (reach,) * 4, mode=mode), self.kernel)
