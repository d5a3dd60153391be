"""The U-net generator of pix2pix (Isola et al. 2017), as the paper's models 5 to 11 use it."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mrisynth.models.architecture import GeneratorConfig

_WIDEST = 8  # as in pix2pix: filters double from level to level up to this multiple


class UnetConfig(GeneratorConfig):
    """A U-net; the defaults are the paper's, which are pix2pix's `UnetGenerator(1, 1, num_downs=6, ngf=16)`."""

    name: Literal["unet"] = "unet"
    filters: int = Field(
        16, ge=1, le=256, description="Filters of the first level; they double a level, up to 8 times."
    )
    levels: int = Field(6, ge=3, le=9, description="Number of halvings; the patch size must be a multiple of 2^levels.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Probability of dropout in the inner blocks (pix2pix: 0.5).")

    @property
    def multiple(self) -> int:
        """Two to the number of levels, in px."""
        return 1 << self.levels

    def build(self) -> nn.Module:
        """The network: (n, 1, height, width) to the same shape, height and width multiples of `multiple`."""
        return Unet(self)


class Unet(nn.Module):
    """Strided convolutions down, transposed ones up, and at every level a skip from the one side to the other."""

    def __init__(self, config: UnetConfig) -> None:
        super().__init__()
        widths = [config.filters * min(2**level, _WIDEST) for level in range(config.levels)]
        innermost = config.levels - 1
        # pix2pix drops out in its blocks between the fourth and the innermost; a shallower net in its last such block.
        dropping = range(min(4, innermost - 1), innermost)
        self.downs = nn.ModuleList(
            _down(inputs, outputs, first=level == 0, norm=0 < level < innermost)
            for level, (inputs, outputs) in enumerate(zip([1, *widths[:-1]], widths, strict=True))
        )
        self.ups = nn.ModuleList(
            _up(
                widths[level] * (1 if level == innermost else 2),
                widths[level - 1],
                dropout=config.dropout if level in dropping else 0.0,
            )
            for level in range(innermost, 0, -1)
        )
        self.last = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(2 * widths[0], 1, 4, stride=2, padding=1))

    def forward(self, low: Tensor) -> Tensor:
        """(n, 1, height, width) to the same shape."""
        skips = [low]
        for down in self.downs:
            skips.append(down(skips[-1]))
        features = skips.pop()
        for up in self.ups:
            features = torch.cat([skips.pop(), up(features)], dim=1)
        generated: Tensor = self.last(features)
        return generated


def _down(inputs: int, outputs: int, *, first: bool, norm: bool) -> nn.Sequential:
    """Half the size; no activation before the first."""
    modules: list[nn.Module] = [] if first else [nn.LeakyReLU(0.2)]
    modules.append(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False))
    if norm:
        modules.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*modules)


def _up(inputs: int, outputs: int, *, dropout: float) -> nn.Sequential:
    """Twice the size."""
    modules = [
        nn.ReLU(),
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*modules, *([nn.Dropout(dropout)] if dropout else []))
