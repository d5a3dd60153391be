"""Every loss of the table, against values worked out by hand."""

import math
from functools import partial

import pytest
import torch

from mrisynth.training.config import TrialConfig
from mrisynth.training.losses import discriminator_loss, generator_loss, gradient, make_losses

COMPARING = make_losses(TrialConfig.parse({"generator": "dcgan"}), torch.device("cpu"))
"""What compares images and needs nothing else; `perceptual`, which needs weights, has tests of its own."""


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 1, 8, 9, generator=generator), torch.randn(3, 1, 8, 9, generator=generator)


@pytest.mark.parametrize("name", COMPARING)
def test_equal_images_lose_nothing_and_others_do(name: str) -> None:
    generated, high = _pair()
    assert COMPARING[name](high, high).item() == 0
    assert COMPARING[name](generated, high).item() > 0


@pytest.mark.parametrize("name", [*COMPARING, "adversarial"])
def test_losses_are_scalars_with_finite_gradients_that_show_the_way_down(name: str) -> None:
    start, high = _pair()
    loss = partial(COMPARING[name], high=high) if name in COMPARING else generator_loss
    generated = start.clone().requires_grad_()
    before = loss(generated)
    assert before.shape == ()
    before.backward()
    assert generated.grad is not None
    assert torch.isfinite(generated.grad).all()
    assert loss(start - 0.1 * generated.grad) < before


@pytest.mark.parametrize("name", COMPARING)
def test_gradients_are_finite_where_images_are_equal(name: str) -> None:
    _, high = _pair()
    generated = high.clone().requires_grad_()
    COMPARING[name](generated, high).backward()
    assert generated.grad is not None
    assert torch.isfinite(generated.grad).all()


@pytest.mark.parametrize("name", COMPARING)
def test_losses_are_means_over_the_batch(name: str) -> None:
    generated, high = _pair()
    apart = [COMPARING[name](generated[i : i + 1], high[i : i + 1]) for i in range(3)]
    together = COMPARING[name](generated, high)
    torch.testing.assert_close(together, torch.stack(apart).mean())


def test_l1_and_l2_by_hand() -> None:
    generated, high = torch.tensor([[1.0, -2.0]]), torch.zeros(1, 2)
    assert COMPARING["l1"](generated, high).item() == 1.5
    assert COMPARING["l2"](generated, high).item() == 2.5


def test_gradient_of_flat_patches_counts_their_border_only() -> None:
    # |0 - 3| against |0 - 1| at both ends of 5 rows and 4 columns: (2 * 5 + 2 * 4) * (3 - 1)^2 over 20 pixels
    assert gradient(torch.full((1, 1, 5, 4), 3.0), torch.ones(1, 1, 5, 4)).item() == pytest.approx(18 * 4 / 20)


def test_gradient_by_hand_inside_a_patch() -> None:
    generated = torch.zeros(1, 1, 3, 3)
    generated[0, 0, 1, 1] = 2.0
    # two steps of 2 along each axis, against none: 4 * 2^2 over 9 pixels
    assert gradient(generated, torch.zeros(1, 1, 3, 3)).item() == pytest.approx(16 / 9)


def test_gradient_without_padding_sees_no_border() -> None:
    assert gradient(torch.full((1, 1, 5, 4), 3.0), torch.ones(1, 1, 5, 4), border="valid").item() == 0
    ramp = torch.tensor([[0.0, 2.0, 3.0]]).view(1, 1, 1, 3)
    # steps of 2 and 1 along the row against none: (4 + 1) over 3 pixels
    assert gradient(ramp, torch.zeros_like(ramp), border="valid").item() == pytest.approx(5 / 3)


def test_the_border_of_the_gradient_is_a_setting() -> None:
    config = TrialConfig.parse({"generator": "dcgan", "gradient": {"border": "valid"}})
    flat = torch.full((1, 1, 5, 4), 3.0)
    assert make_losses(config, torch.device("cpu"))["gradient"](flat, torch.ones(1, 1, 5, 4)).item() == 0


def test_gradient_takes_absolute_values() -> None:
    ramp = torch.tensor([[0.0, 1.0, 0.0]]).view(1, 1, 1, 3)
    assert gradient(ramp, -ramp).item() == 0


def test_gradient_as_convolutions_with_the_published_kernels() -> None:
    generated, high = _pair()
    total = torch.zeros(())
    for kernel, padding in ((torch.tensor([[-1.0, 1.0]]), (0, 1)), (torch.tensor([[1.0], [-1.0]]), (1, 0))):
        steps = [
            torch.nn.functional.conv2d(image, kernel[None, None], padding=padding).abs() for image in (generated, high)
        ]
        total += ((steps[0] - steps[1]) ** 2).sum()
    torch.testing.assert_close(gradient(generated, high), total / generated.numel())


def test_an_undecided_adversary_loses_ln_2() -> None:
    logits = torch.zeros(4, 1, 2, 2)
    assert discriminator_loss(logits, logits).item() == pytest.approx(math.log(2))
    assert generator_loss(logits).item() == pytest.approx(math.log(2))


def test_adversarial_losses_by_hand() -> None:
    real, fake = torch.tensor([2.0]), torch.tensor([-1.0])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    assert discriminator_loss(real, fake).item() == pytest.approx(expected)
    assert generator_loss(fake).item() == pytest.approx(math.log(1 + math.exp(1)))


def test_adversarial_losses_stay_finite_for_a_certain_adversary() -> None:
    assert discriminator_loss(torch.tensor([-1e4]), torch.tensor([1e4])).item() == pytest.approx(1e4)
