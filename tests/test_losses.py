"""Every loss of the table, against values worked out by hand."""

import math

import pytest
import torch

from mrisynth.training.losses import LOSSES, discriminator_loss, generator_loss, gradient

COMPARING = [name for name, loss in LOSSES.items() if not loss.adversarial]


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 1, 8, 9, generator=generator), torch.randn(3, 1, 8, 9, generator=generator)


@pytest.mark.parametrize("name", COMPARING)
def test_equal_images_lose_nothing_and_others_do(name: str) -> None:
    generated, high = _pair()
    assert LOSSES[name].function(high, high).item() == 0
    assert LOSSES[name].function(generated, high).item() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_scalars_with_finite_gradients_that_show_the_way_down(name: str) -> None:
    loss = LOSSES[name]
    start, high = _pair()
    arguments = () if loss.adversarial else (high,)
    generated = start.clone().requires_grad_()
    before = loss.function(generated, *arguments)
    assert before.shape == ()
    before.backward()
    assert generated.grad is not None
    assert torch.isfinite(generated.grad).all()
    assert loss.function(start - 0.1 * generated.grad, *arguments) < before


@pytest.mark.parametrize("name", COMPARING)
def test_gradients_are_finite_where_images_are_equal(name: str) -> None:
    _, high = _pair()
    generated = high.clone().requires_grad_()
    LOSSES[name].function(generated, high).backward()
    assert generated.grad is not None
    assert torch.isfinite(generated.grad).all()


@pytest.mark.parametrize("name", COMPARING)
def test_losses_are_means_over_the_batch(name: str) -> None:
    generated, high = _pair()
    apart = [LOSSES[name].function(generated[i : i + 1], high[i : i + 1]) for i in range(3)]
    together = LOSSES[name].function(generated, high)
    torch.testing.assert_close(together, torch.stack(apart).mean())


def test_l1_and_l2_by_hand() -> None:
    generated, high = torch.tensor([[1.0, -2.0]]), torch.zeros(1, 2)
    assert LOSSES["l1"].function(generated, high).item() == 1.5
    assert LOSSES["l2"].function(generated, high).item() == 2.5


def test_gradient_of_flat_patches_counts_their_border_only() -> None:
    # |0 - 3| against |0 - 1| at both ends of 5 rows and 4 columns: (2 * 5 + 2 * 4) * (3 - 1)^2 over 20 pixels
    assert gradient(torch.full((1, 1, 5, 4), 3.0), torch.ones(1, 1, 5, 4)).item() == pytest.approx(18 * 4 / 20)


def test_gradient_by_hand_inside_a_patch() -> None:
    generated = torch.zeros(1, 1, 3, 3)
    generated[0, 0, 1, 1] = 2.0
    # two steps of 2 along each axis, against none: 4 * 2^2 over 9 pixels
    assert gradient(generated, torch.zeros(1, 1, 3, 3)).item() == pytest.approx(16 / 9)


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
