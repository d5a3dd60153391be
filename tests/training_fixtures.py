"""Small trials and patches that the tests of training share."""

from typing import Any

import numpy as np
import torch

from mrisynth.training.config import TrialConfig
from mrisynth.training.loop import EpochLosses, Patches, TrainingState, prepare_torch, start, to_device, train

CPU = torch.device("cpu")
SIZE = 32


def gan(**changes: Any) -> TrialConfig:
    """A GAN with everything that has state: BatchNorm in both networks, dropout, and four losses."""
    unet = {"filters": 2, "levels": 5, "dropout": 0.5}
    base: dict[str, Any] = {
        "generator": "unet",
        "unet": unet,
        "adversary": "pooled",
        "pooled": {"filters": [4, 4]},
        "losses": {"adversarial": 1.0, "l1": 1.5, "l2": 0.5, "gradient": 2.0},
        "optimizer": {"generator_lr": 2e-3, "discriminator_lr": 2e-4, "batch_size": 8},
        "patches": {"size": SIZE},
        "epochs": 3,
        "seed": 5,
    }
    return TrialConfig.parse({**base, **changes})


def cnn(**changes: Any) -> TrialConfig:
    """A small network alone, without dropout."""
    base: dict[str, Any] = {
        "generator": "dcsrn",
        "dcsrn": {"growth": 2, "units": 2},
        "losses": {"l1": 1.0},
        "optimizer": {"batch_size": 8},
        "patches": {"size": SIZE},
        "epochs": 3,
    }
    return TrialConfig.parse({**base, **changes})


def arrays(count: int = 20, size: int = SIZE, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Standardised low patches and high ones that are a sharper, brighter version of them: (count, 1, size, size)."""
    generator = np.random.default_rng(seed)
    high = generator.normal(size=(count, 1, size, size)).astype(np.float32)
    low = (high + np.roll(high, 1, axis=-1) + np.roll(high, 1, axis=-2)) / 3
    return low, high


def fresh(config: TrialConfig) -> TrainingState:
    """A state as `run` makes it."""
    prepare_torch(config, CPU)
    return start(config, CPU)


def patches(count: int = 20, seed: int = 1) -> Patches:
    """`arrays`, as the loop takes them."""
    return to_device(*arrays(count, seed=seed), CPU)


def trained(config: TrialConfig, *, count: int = 20) -> tuple[TrainingState, list[EpochLosses]]:
    """A trial trained to its end, and its losses."""
    state = fresh(config)
    return state, list(train(state, config, training=patches(count), validation=patches(6, seed=2)))


def assert_same_weights(left: torch.nn.Module | None, right: torch.nn.Module | None) -> None:
    """Bit by bit."""
    assert left is not None
    assert right is not None
    ours, theirs = left.state_dict(), right.state_dict()
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not different
