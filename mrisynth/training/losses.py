"""What training minimises: differentiable, on patches (n, 1, height, width), weighted and summed by the trial's config.

A new loss is one function and one line in `LOSSES`. None of them reads a value back from the device.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mrisynth.config import Config
from mrisynth.training.perceptual import PerceptualConfig, load_perceptual

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(generated, high), each (n, 1, height, width), to a scalar."""


class GradientConfig(Config):
    """How the gradient difference loss treats the border of a patch."""

    border: Literal["zero", "valid"] = Field(
        "zero",
        description="Pad patches with zeros, as medSynthesisV1 and so the paper, or compare pixels only.",
    )


class LossSettings(Protocol):
    """What a trial's config says of its losses besides their weights."""

    @property
    def losses(self) -> Mapping[str, float]:
        """Weight of each loss; absent is 0."""

    @property
    def gradient(self) -> GradientConfig:
        """Of the loss of that name."""

    @property
    def perceptual(self) -> PerceptualConfig:
        """Of the loss of that name."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A term of the generator's objective.

    Args:
        make: the function for a trial's settings on a device; an adversarial loss has none, since what it takes are the
            logits of the generated patches (see `generator_loss`).
        description: what it rewards, in one sentence.
        costly: whether it is measured only where it is minimised, for its time or for the weights that it needs.
    """

    make: Callable[[LossSettings, torch.device], LossFunction] | None
    description: str
    costly: bool = False

    @property
    def adversarial(self) -> bool:
        """Whether it needs an adversary."""
        return self.make is None


def l1(generated: Tensor, high: Tensor) -> Tensor:
    """The mean absolute difference."""
    return F.l1_loss(generated, high)


def l2(generated: Tensor, high: Tensor) -> Tensor:
    """The mean squared difference."""
    return F.mse_loss(generated, high)


def gradient(generated: Tensor, high: Tensor, border: Literal["zero", "valid"] = "zero") -> Tensor:
    """The gradient difference loss, as medSynthesisV1 computes it and the paper used it (p = 2).

    Args:
        generated, high: (n, 1, height, width).
        border: "zero" pads both with zeros by one pixel at both ends of an axis before the differences along that axis
            are taken, as medSynthesisV1 does: on the border, and only there, the differences are then the intensities
            themselves. "valid" takes differences between pixels only.

    Returns:
        The squared differences of absolute gradients, summed over both axes, divided by the number of pixels.
    """
    across, down = (
        ((_gradient(generated, axis, border) - _gradient(high, axis, border)) ** 2).sum() for axis in (-1, -2)
    )
    return (across + down) / generated.numel()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """How far the adversary is from taking the generated patches for real: BCE of its logits against 1."""
    return F.binary_cross_entropy_with_logits(fake_logits, torch.ones_like(fake_logits))


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """What the adversary minimises: the paper's equation 1.

    Args:
        real_logits: the adversary's logits of high-field patches.
        fake_logits: its logits of generated patches, which the caller has detached from the generator.

    Returns:
        Half the sum of BCE of the real logits against 1 and of the generated ones against 0; ln 2 when it is undecided.
    """
    real = F.binary_cross_entropy_with_logits(real_logits, torch.ones_like(real_logits))
    fake = F.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))
    return (real + fake) / 2


def weighted(settings: LossSettings) -> dict[str, float]:
    """The losses that count; a weight of 0 is a loss left out."""
    return {name: weight for name, weight in settings.losses.items() if weight > 0}


def make_losses(settings: LossSettings, device: torch.device) -> dict[str, LossFunction]:
    """Every loss of the table that a trial measures and that needs no adversary.

    Raises:
        InvalidInputError: a loss that counts needs weights that are not there.
    """
    counting = weighted(settings)
    return {
        name: loss.make(settings, device)
        for name, loss in LOSSES.items()
        if loss.make is not None and (name in counting or not loss.costly)
    }


def _gradient(image: Tensor, axis: int, border: str) -> Tensor:
    """Absolute differences between neighbours along an axis; zeros stand at both ends if asked."""
    image = image.float()
    if border == "zero":
        image = F.pad(image, (1, 1) if axis == -1 else (0, 0, 1, 1))
    return image.diff(dim=axis).abs()


LOSSES: Mapping[str, Loss] = {
    "adversarial": Loss(None, "Cross-entropy of the adversary's verdict on generated patches."),
    "l1": Loss(lambda settings, device: l1, "Mean absolute difference from the high-field patch."),
    "l2": Loss(lambda settings, device: l2, "Mean squared difference from the high-field patch."),
    "gradient": Loss(
        lambda settings, device: partial(gradient, border=settings.gradient.border),
        "Squared difference of absolute gradients from the high-field patch's.",
    ),
    "perceptual": Loss(
        lambda settings, device: load_perceptual(settings.perceptual, device),
        "Mean absolute difference of VGG16's features from the high-field patch's, summed over four layers.",
        costly=True,
    ),
}
