"""How much a configuration has to compute, counted without computing it: what its time and memory grow with."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mrisynth.models.forest import ForestConfig
from mrisynth.training.config import TrialConfig

_OF_GENERATOR = 3  # forward once, and backward for its input and for its weights
_OF_DISCRIMINATOR = 8  # forward and backward on real and on generated patches, and both for the generator's gradient


class Work(NamedTuple):
    """The work of a trial.

    Attributes:
        training: floating-point operations to train on one patch once, in millions; of a forest, pixels a tree sees.
        evaluation: floating-point operations to generate one pixel of a stitched image.
        batch: patches a step.
        parameters: trainable ones of all networks; 0 of a forest, whose size shows when it is grown.
    """

    training: float
    evaluation: float
    batch: int
    parameters: int


def count_work(config: TrialConfig) -> Work:
    """The work of a configuration; its networks are built without numbers, which takes a tenth of a second.

    Raises:
        ValueError: they cannot be built for its patches.
    """
    if isinstance(config.generator, ForestConfig):
        forest = config.generator
        return Work(forest.pixels * config.patches.size**2, float(forest.trees * forest.depth), 1, 0)
    size = config.patches.size
    with torch.device("meta"):
        generator, discriminator = config.build_generator(), config.build_discriminator()
        low = torch.empty(1, 1, size, size)
        high = torch.empty(1, 2 if config.adversary and config.adversary.conditional else 1, size, size)
    made = _count(generator, low)
    judged = _count(discriminator, high) if discriminator else 0.0
    # Stitched, every pixel is generated as often as patches overlap there.
    evaluation = made / config.stitching.stride**2
    parameters = sum(value.numel() for net in (generator, discriminator) if net for value in net.parameters())
    training = (_OF_GENERATOR * made + _OF_DISCRIMINATOR * judged) / 1e6
    return Work(training, evaluation, config.optimizer.batch_size, parameters)


def _count(network: nn.Module, image: Tensor) -> float:
    """Floating-point operations of one forward pass."""
    network.eval()  # a single patch has no statistics for BatchNorm to learn
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return float(counter.get_total_flops())
