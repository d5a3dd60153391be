"""What follows a network: residual, tanh and the paper's sharpening."""

import pytest
import torch
from scipy.ndimage import convolve
from torch import nn

from mrisynth.models.output import SHARPENING, OutputConfig


@pytest.fixture
def low() -> torch.Tensor:
    return torch.randn(2, 1, 9, 7, generator=torch.Generator().manual_seed(0))


def test_nothing_follows_by_default() -> None:
    network = nn.Conv2d(1, 1, 3, padding=1)
    assert OutputConfig().finish(network) is network


def test_tanh_confines_the_network_and_not_what_is_added(low: torch.Tensor) -> None:
    network = nn.Conv2d(1, 1, 3, padding=1)
    assert torch.equal(OutputConfig(tanh=True).finish(network)(low), torch.tanh(network(low)))
    both = OutputConfig(tanh=True, residual=True).finish(network)
    assert torch.equal(both(low), torch.tanh(network(low)) + low)


@pytest.mark.parametrize("name", SHARPENING)
@pytest.mark.parametrize(("border", "mode"), [("replicate", "nearest"), ("zero", "constant")])
def test_sharpening_is_the_convolution_that_scipy_computes(
    low: torch.Tensor, name: str, border: str, mode: str
) -> None:
    sharp = OutputConfig.model_validate({"sharpening": name, "border": border}).finish(nn.Identity())(low)
    factor, weights = SHARPENING[name]
    for made, image in zip(sharp, low, strict=True):
        expected = torch.from_numpy(convolve(image[0].double().numpy(), factor * torch.tensor(weights), mode=mode))
        torch.testing.assert_close(made[0].double(), expected, rtol=1e-5, atol=1e-5)


def test_sharpening_an_impulse_shows_the_kernel() -> None:
    impulse = torch.zeros(1, 1, 3, 3)
    impulse[..., 1, 1] = 1.0
    sharp = OutputConfig(sharpening="3x3").finish(nn.Identity())(impulse)
    assert sharp[0, 0].tolist() == [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]


@pytest.mark.parametrize("name", SHARPENING)
def test_flat_areas_stay_flat_unless_zeros_lie_beyond_them(name: str) -> None:
    flat = torch.full((1, 1, 8, 8), 2.0)
    replicated = OutputConfig.model_validate({"sharpening": name}).finish(nn.Identity())(flat)
    torch.testing.assert_close(replicated, flat)
    padded = OutputConfig.model_validate({"sharpening": name, "border": "zero"}).finish(nn.Identity())(flat)
    torch.testing.assert_close(padded[..., 3:5, 3:5], flat[..., 3:5, 3:5])
    assert not torch.allclose(padded[..., 0, :], flat[..., 0, :])


def test_what_follows_has_no_weights_and_leaves_the_network_s_gradients(low: torch.Tensor) -> None:
    network = nn.Conv2d(1, 1, 3, padding=1)
    finished = OutputConfig(sharpening="5x5", residual=True).finish(network)
    assert list(map(id, finished.parameters())) == list(map(id, network.parameters()))
    assert "kernel" not in finished.state_dict()
    finished(low).square().mean().backward()
    assert network.weight.grad is not None
    assert network.weight.grad.abs().sum() > 0
