"""What a trial will cost, from a few of its kind that were measured: fitted to how much each has to compute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrisynth.training.config import TrialConfig
from mrisynth.training.probe import Measured
from mrisynth.training.work import Work, count_work

Clock = Literal["wall", "cpu"]

RECORD_BYTES = 1000
"""What an epoch leaves in history and events, and once more in the checkpoint's own history."""

TRIAL_BYTES = 12_000
"""What a trial leaves besides checkpoint and pictures: its configuration, notes, log, its part of study and index."""


class Course(NamedTuple):
    """How a trial will go, in seconds; `epochs` is how many it has.

    Attributes:
        family: whose rungs it is compared on.
        begin, epoch, scored, saved: before the first epoch; an epoch; scores and pictures; a checkpoint.
        disk: what it leaves, in bytes, without what every epoch adds.
    """

    family: str
    epochs: int
    begin: float
    epoch: float
    scored: float
    saved: float
    disk: float


@dataclass(frozen=True, slots=True)
class Branch:
    """One architecture with one adversary, and what was measured of it.

    Attributes:
        name: "unet + patchgan".
        configs: the configurations that were measured, with their work.
        measured: what each cost.
    """

    name: str
    configs: tuple[tuple[TrialConfig, Work], ...]
    measured: tuple[Measured, ...]

    def course(self, config: TrialConfig, *, clock: Clock) -> Course:
        """How a trial of this branch will go, by the clock or in processor time."""
        work, times = count_work(config), [getattr(each, clock) for each in self.measured]
        patches = self._patches(config)
        epoch = self._predict(lambda c, w, m: _training(w, m.patches), [each["epoch"] for each in times])
        scored = self._predict(lambda c, w, m: _evaluation(w, m.pixels), [each["evaluation"] for each in times])
        saved = self._predict(lambda c, w, m: (1.0, float(w.parameters)), [each["checkpoint"] for each in times])
        kept = self._predict(
            lambda c, w, m: (1.0, float(w.parameters)), [float(each.checkpoint_bytes) for each in self.measured]
        )
        images = float(np.mean([each.image_bytes for each in self.measured]))
        return Course(
            family=config.family,
            epochs=config.epochs,
            begin=float(np.median([each["begin"] for each in times])),
            epoch=epoch(_training(work, patches)),
            scored=scored(_evaluation(work, self.measured[0].pixels))
            + float(np.mean([each["publish"] for each in times])),
            saved=saved((1.0, float(work.parameters))),
            disk=kept((1.0, float(work.parameters))) + images + TRIAL_BYTES,
        )

    def memory(self) -> int:
        """The most that one of them took, in bytes."""
        return max(each.memory for each in self.measured)

    def _patches(self, config: TrialConfig) -> float:
        """How many patches a trial trains on: as those that were measured, by their number a subject."""
        (known, _), measured = self.configs[0], self.measured[0]
        return measured.patches * config.patches.per_subject / known.patches.per_subject

    def _predict(
        self, features: Callable[[TrialConfig, Work, Measured], tuple[float, float]], values: Sequence[float]
    ) -> Callable[[tuple[float, float]], float]:
        rows = [features(c, w, m) for (c, w), m in zip(self.configs, self.measured, strict=False)]
        weights = fit(np.array(rows), np.array(values))
        return lambda row: float(np.dot(weights, row))


def branch_of(config: TrialConfig) -> str:
    """The branch of a configuration: its architectures."""
    return config.generator.name + (f" + {config.adversary.name}" if config.adversary else "")


def fit(rows: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two weights, neither negative, by least squares of the relative errors: rows (n, 2), values (n,), result (2,).

    Of one row alone nothing can be told apart: all of it grows with the second column, the work.
    """
    values = np.maximum(values, 1e-9)
    relative = rows / values[:, None]
    alone = [_one(relative, column) for column in (1, 0)]
    if len(rows) == 1 or not rows[:, 1].any():
        return alone[0] if rows[:, 1].any() else alone[1]
    both, *_ = np.linalg.lstsq(relative, np.ones(len(rows)), rcond=None)
    if (both >= 0).all():
        return np.asarray(both)
    return min(alone, key=lambda weights: float(np.square(relative @ weights - 1).sum()))


def _one(relative: NDArray[np.float64], column: int) -> NDArray[np.float64]:
    """The same with one column only."""
    weights, chosen = np.zeros(2), relative[:, column]
    weights[column] = chosen.sum() / max(float(np.square(chosen).sum()), 1e-300)
    return weights


def _training(work: Work, patches: float) -> tuple[float, float]:
    """Steps of an epoch, and what they compute."""
    return float(np.ceil(patches / work.batch)), patches * work.training


def _evaluation(work: Work, pixels: float) -> tuple[float, float]:
    """Pixels that are scored, and what it takes to generate them."""
    return pixels, pixels * work.evaluation
