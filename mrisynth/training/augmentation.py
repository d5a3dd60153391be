"""Training patches as they might have been: mirrored at random, anew in every epoch, on the device that holds them."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mrisynth.config import Config

Flips = Literal["none", "rows", "columns", "both"]

_AXES: dict[Flips, tuple[int, ...]] = {"none": (), "rows": (-2,), "columns": (-1,), "both": (-2, -1)}


class AugmentationConfig(Config):
    """What is done to training patches at random; validation patches and evaluation slices stay as they are."""

    flips: Flips = Field(
        "none",
        description=(
            "How training pairs are mirrored, each way in half of the cases: rows (top to bottom), columns (left to "
            "right), or both. Assumes that mirrored tissue, shading and artefacts could be real ones."
        ),
    )


def draw_flips(shape: torch.Size, config: AugmentationConfig, order: torch.Generator) -> Tensor:
    """Which patches to mirror.

    Args:
        shape: of the batches of one epoch, (steps, batch size).
        config: along which sides.
        order: decides it, on its own device. Nothing is drawn from it where nothing is mirrored.

    Returns:
        (steps, sides, batch size), bool: true where a patch is mirrored along a side, with a probability of 1/2.
    """
    steps, batch_size = shape
    size = (steps, len(_AXES[config.flips]), batch_size)
    return torch.randint(2, size, generator=order, device=order.device, dtype=torch.bool)


def flip(patches: Tensor, flips: Tensor, config: AugmentationConfig) -> Tensor:
    """Mirror some of a batch's patches.

    Args:
        patches: (n, 1, size, size).
        flips: (sides, n), of `draw_flips`; the same for low and high, which stay pairs.
        config: along which sides.
    """
    for axis, chosen in zip(_AXES[config.flips], flips, strict=True):
        patches = torch.where(chosen[:, None, None, None], patches.flip(axis), patches)
    return patches
