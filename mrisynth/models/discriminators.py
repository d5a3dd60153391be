"""The paper's adversaries. Each sees one channel, the high-field or the generated patch, and gives logits.

Where `conditional` is set they see the low-field patch too, as pix2pix's do and the paper's do not."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mrisynth.models.architecture import AdversaryConfig, OddKernel, Width, activate


class DenseConfig(AdversaryConfig):
    """Convolutions at full size and a dense head: the paper's model 1, and far larger than its generator."""

    name: Literal["dense"] = "dense"
    filters: tuple[Width, ...] = Field((4, 8, 16, 1), min_length=1, max_length=8, description="Filters of each layer.")
    kernel_size: OddKernel = Field(3, description="Kernel size of every layer, in px; odd.")
    hidden: int = Field(256, ge=1, le=4096, description="Width of the dense layer before the last.")

    def check_size(self, size: int) -> None:
        """Every patch size is possible."""

    def build(self, size: int) -> nn.Module:
        """The discriminator: (n, `channels`, size, size) to logits (n, 1)."""
        modules: list[nn.Module] = []
        for inputs, outputs in zip((self.channels, *self.filters[:-1]), self.filters, strict=True):
            modules += _block(nn.Conv2d(inputs, outputs, self.kernel_size, padding=self.kernel_size // 2), self)
        modules += [nn.Flatten(), nn.Linear(self.filters[-1] * size**2, self.hidden), activate(self.activation)]
        return nn.Sequential(*modules, nn.Linear(self.hidden, 1))


class PooledConfig(AdversaryConfig):
    """Convolutions with pooling between them: the paper's models 2 and 5 to 8, and with 64, 128, 128 models 3 and 4."""

    name: Literal["pooled"] = "pooled"
    filters: tuple[Width, ...] = Field((64, 64, 64), min_length=1, max_length=6, description="Filters of each layer.")

    def check_size(self, size: int) -> None:
        """Refuse a patch size that the poolings leave nothing of."""
        if self._remaining(size) < 1:
            raise ValueError(f"the {len(self.filters)} poolings of {self.name} leave nothing of a patch of {size} px")

    def build(self, size: int) -> nn.Module:
        """The discriminator: (n, `channels`, size, size) to logits (n, 1)."""
        modules: list[nn.Module] = []
        for (kernel, padding, pool, stride), inputs, outputs in zip(
            self._windows(), (self.channels, *self.filters[:-1]), self.filters, strict=True
        ):
            modules += _block(nn.Conv2d(inputs, outputs, kernel, padding=padding), self)
            modules.append(nn.MaxPool2d(pool, stride))
        features = self.filters[-1] * self._remaining(size) ** 2
        return nn.Sequential(*modules, nn.Flatten(), nn.Linear(features, 1))

    def _windows(self) -> list[tuple[int, int, int, int]]:
        """Kernel, padding, pool and pool's stride of each layer, in px, as in the paper's figure 13 (d)."""
        last = len(self.filters) - 1
        return [
            (2 if layer == 0 else 3, 1 if layer == 0 else 2, *((4, 4) if layer == last else (3, 2)))
            for layer in range(last + 1)
        ]

    def _remaining(self, size: int) -> int:
        """Height and width after the last pooling, in px."""
        for kernel, padding, pool, stride in self._windows():
            size = (size + 2 * padding - kernel + 1 - pool) // stride + 1
        return size


class PatchganConfig(AdversaryConfig):
    """One logit for each of many overlapping fields: pix2pix's `NLayerDiscriminator`, the paper's models 9 to 11.

    Its receptive field is 16, 34, 70, 142 px for 1, 2, 3, 4 layers: the paper's 4 see more than a whole patch.
    """

    name: Literal["patchgan"] = "patchgan"
    filters: int = Field(8, ge=1, le=256, description="Filters of the first layer; they double a layer, up to 8 times.")
    layers: int = Field(4, ge=1, le=6, description="Number of halvings; fewer make the fields that are judged smaller.")
    averaging: Literal["losses", "probabilities"] = Field(
        "losses", description="What is averaged over the fields: their losses as in pix2pix, or their probabilities."
    )

    def check_size(self, size: int) -> None:
        """Refuse a patch size of which no field is left."""
        if size // 2**self.layers < 3:
            raise ValueError(f"{self.name} with {self.layers} layers takes {3 * 2**self.layers} px or more, not {size}")

    def build(self, size: int) -> nn.Module:
        """The discriminator: (n, `channels`, size, size) to logits (n, 1, fields, fields).

        The loss averages over the fields; where their probabilities are averaged it gives logits (n, 1, 1, 1).
        """
        widths = [self.filters * min(2**layer, 8) for layer in range(self.layers + 1)]
        modules: list[nn.Module] = [nn.Conv2d(self.channels, widths[0], 4, stride=2, padding=1)]
        modules.append(activate(self.activation))
        for layer in range(1, self.layers + 1):
            stride = 2 if layer < self.layers else 1
            convolution = nn.Conv2d(widths[layer - 1], widths[layer], 4, stride=stride, padding=1, bias=False)
            modules += _block(convolution, self)
        modules.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        return nn.Sequential(*modules, *([MeanProbability()] if self.averaging == "probabilities" else []))


class MeanProbability(nn.Module):
    """The logit of the mean probability of all fields: what the arrow to one number in the paper's figure may mean."""

    def forward(self, logits: Tensor) -> Tensor:
        """(n, 1, fields, fields) to (n, 1, 1, 1); in logarithms, so that certain fields do not overflow."""
        real, fake = (torch.logsumexp(F.logsigmoid(sign * logits.float()), (-2, -1), keepdim=True) for sign in (1, -1))
        return real - fake


def _block(convolution: nn.Conv2d, config: AdversaryConfig) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), activate(config.activation)]
