import torch
from torch import nn

from mrisynth.models.discriminators import DenseConfig
from mrisynth.models.initialization import initialize_normal


def test_normal_weights_have_the_deviation_of_pix2pix_and_no_biases() -> None:
    torch.manual_seed(0)
    network = DenseConfig().build(32)
    initialize_normal(network)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            assert module.bias is not None
            assert module.bias.abs().max() == 0
        if isinstance(module, nn.Linear) and module.weight.numel() > 1e5:
            assert abs(module.weight.std().item() - 0.02) < 2e-4
            assert abs(module.weight.mean().item()) < 2e-4
        if isinstance(module, nn.BatchNorm2d):
            assert 0 < (module.weight - 1).abs().max() < 0.1


def test_the_seed_decides() -> None:
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        network = nn.Conv2d(1, 4, 3)
        initialize_normal(network)
        drawn.append(network.weight.detach().clone())
    assert torch.equal(*drawn)
