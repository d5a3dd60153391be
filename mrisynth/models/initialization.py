"""How fresh weights are drawn where torch's own way is not wanted."""

import torch
from torch import nn

_DEVIATION = 0.02


@torch.no_grad()
def initialize_normal(network: nn.Module) -> None:
    """Draw all weights anew, as pix2pix does: N(0, 0.02) for weights, N(1, 0.02) for BatchNorm's scales, 0 for biases.

    Args:
        network: changed in place; the numbers come from torch's random state.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, _DEVIATION)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, _DEVIATION)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
