"""What training minimises: differentiable, on patches (n, 1, height, width), weighted and summed by the trial's config.

A new loss is one function and one line in `LOSSES`. None of them reads a value back from the device.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Loss:
    """A term of the generator's objective.

    Args:
        function: (generated, high) to a scalar; of an adversarial loss (logits of the generated patches) to a scalar.
        description: what it rewards, in one sentence.
        adversarial: whether it needs an adversary.
    """

    function: Callable[..., Tensor]
    description: str
    adversarial: bool = False


def l1(generated: Tensor, high: Tensor) -> Tensor:
    """The mean absolute difference."""
    return F.l1_loss(generated, high)


def l2(generated: Tensor, high: Tensor) -> Tensor:
    """The mean squared difference."""
    return F.mse_loss(generated, high)


def gradient(generated: Tensor, high: Tensor) -> Tensor:
    """The gradient difference loss, as medSynthesisV1 computes it and the paper used it (p = 2).

    Both are zero-padded by one pixel at both ends of an axis before the differences along that axis are taken. On the
    border, and only there, the differences are thus the intensities themselves.

    Returns:
        The squared differences of absolute gradients, summed over both axes, divided by the number of pixels.
    """
    total = sum(((_gradient(generated, axis) - _gradient(high, axis)) ** 2).sum() for axis in (-1, -2))
    assert isinstance(total, Tensor)
    return total / generated.numel()


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


def _gradient(image: Tensor, axis: int) -> Tensor:
    """Absolute differences between neighbours along an axis, with a zero before the first and after the last."""
    padding = (1, 1) if axis == -1 else (0, 0, 1, 1)
    return F.pad(image.float(), padding).diff(dim=axis).abs()


LOSSES: Mapping[str, Loss] = {
    "adversarial": Loss(
        generator_loss, "Cross-entropy of the adversary's verdict on generated patches.", adversarial=True
    ),
    "l1": Loss(l1, "Mean absolute difference from the high-field patch."),
    "l2": Loss(l2, "Mean squared difference from the high-field patch."),
    "gradient": Loss(gradient, "Squared difference of absolute gradients from the high-field patch's, zero border."),
}
