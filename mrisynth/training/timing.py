"""How long an epoch takes, from a part of one."""

import time
from typing import NamedTuple

import torch

from mrisynth.training.config import TrialConfig
from mrisynth.training.loop import Patches, TrainingState, start, train

_WARM = 2
_EPOCHS = 3


class Timed(NamedTuple):
    """One epoch, losses measured.

    Attributes:
        state: what was trained.
        wall: seconds by the clock, extrapolated where `share` is less than 1.
        cpu: the same in this process's processor time.
        share: of the training patches, how many were trained on.
    """

    state: TrainingState
    wall: float
    cpu: float
    share: float


def time_epoch(config: TrialConfig, training: Patches, validation: Patches, *, seconds: float) -> Timed:
    """Train for about so many seconds, or for an epoch if that is less; a forest grows one batch of trees.

    Args:
        config: what to train; `prepare_torch` was called for it.
        training, validation: on the device where it shall train.
        seconds: how long to train, after a few steps that are not counted.
    """
    forest, device = config.family == "forest", training.low.device
    config = config if forest else config.model_copy(update={"epochs": _EPOCHS})
    state = start(config, device)
    total, batch = len(training.low), config.optimizer.batch_size
    count = min(total, _WARM * batch)
    if not forest:
        _one_epoch(state, config, training, validation, count=count)  # the first steps take longer
    wall, _ = _one_epoch(state, config, training, validation, count=count)
    count = min(total, max(count, batch * int(seconds / max(wall, 1e-6) * count / batch)))
    state = start(config, device) if forest else state  # its epochs are batches of trees, and may be as few as one
    wall, cpu = _one_epoch(state, config, training, validation, count=count)
    return Timed(state, wall * total / count, cpu * total / count, count / total)


def _one_epoch(
    state: TrainingState, config: TrialConfig, training: Patches, validation: Patches, *, count: int
) -> tuple[float, float]:
    """Train on so many patches and measure losses on the same share of the others; seconds by the clock and the CPU."""
    share = min(1.0, count / len(training.low))
    some = Patches(*(side[:count] for side in training))
    others = Patches(*(side[: max(1, round(share * len(side)))] for side in validation))
    began, spent = time.perf_counter(), time.process_time()
    next(train(state, config, training=some, validation=others))
    if state.device.type == "cuda":
        torch.cuda.synchronize(state.device)
    return time.perf_counter() - began, time.process_time() - spent
