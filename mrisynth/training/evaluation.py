"""A generator judged where people look: on whole slices, stitched from patches, subject by subject."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mrisynth.data.slices import AXIS, SubjectSlices
from mrisynth.data.stitching import plan_stitch
from mrisynth.data.store import Standard
from mrisynth.results.store import ShownSlices
from mrisynth.training.config import TrialConfig
from mrisynth.training.loop import infer
from mrisynth.training.metrics import METRICS

Images = NDArray[np.float32]

_BATCH = 64  # patches at a time: enough to fill a GPU, few enough to stay in a CPU's cache


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a generator scored, and what it generated.

    Args:
        values: every metric, as the mean over the subjects.
        subjects: the metrics of each subject.
        generated: the slices of each subject, (n, height, width), float32, intensity on [0, 1].
    """

    values: dict[str, float]
    subjects: dict[str, dict[str, float]]
    generated: dict[str, Images]


def evaluate(
    generator: nn.Module,
    slices: Sequence[SubjectSlices],
    *,
    config: TrialConfig,
    high_standard: Standard,
    device: torch.device,
) -> Evaluation:
    """Generate every subject's slices and score them.

    Args:
        generator: on `device`; left in eval mode, unchanged.
        slices: where to score, the same for every trial.
        config: patch size, stitching and precision.
        high_standard: mean and deviation on [0, 1] by which the high-field patches of the training were standardised.
        device: where to compute.
    """

    def generate_subject(subject: SubjectSlices) -> Images:
        return generate(
            generator,
            subject.low,
            low_standard=subject.low_standard,
            high_standard=high_standard,
            config=config,
            device=device,
        )

    return _score(slices, generate_subject)


def baselines(slices: Sequence[SubjectSlices]) -> dict[str, Evaluation]:
    """What comes without training: low-field slices as they are (`identity`), or with their histogram `matched`."""
    return {
        "identity": _score(slices, lambda subject: subject.low),
        "matched": _score(slices, lambda subject: subject.matched),
    }


def generate(
    generator: nn.Module,
    low: Images,
    *,
    low_standard: Standard,
    high_standard: Standard,
    config: TrialConfig,
    device: torch.device,
) -> Images:
    """Synthetic high-field images from low-field ones: standardise, cut, generate, stitch, undo the standardisation.

    Args:
        generator: on `device`; left in eval mode.
        low: (n, height, width), intensity on [0, 1].
        low_standard: mean and deviation of the low-field volume that they come from, on [0, 1].
        high_standard: mean and deviation of the training split's high-field volumes, on [0, 1].
        config: patch size, stitching and precision.
        device: where to compute.

    Returns:
        (n, height, width), float32, intensity on [0, 1]; not clipped.
    """
    stitching = config.stitching
    plan = plan_stitch(
        *low.shape[1:], size=config.patches.size, stride=stitching.stride, crop=stitching.crop, blend=stitching.blend
    )
    standardised = (low - np.float32(low_standard.mean)) / np.float32(low_standard.std)
    images = torch.from_numpy(standardised).to(device)
    stitched = [
        plan.stitch(infer(generator, plan.cut(image), batch_size=_BATCH, precision=config.precision))
        for image in torch.split(images, 1)
    ]
    generated: Images = (torch.cat(stitched) * high_standard.std + high_standard.mean).cpu().numpy()
    return generated


def _score(slices: Sequence[SubjectSlices], generate_subject: Callable[[SubjectSlices], Images]) -> Evaluation:
    """Score subject by subject, then average: subjects are the units of every comparison, never slices."""
    generated = {subject.subject: generate_subject(subject) for subject in slices}
    subjects = {subject.subject: _scores(generated[subject.subject], subject) for subject in slices}
    values = {name: fmean(scores[name] for scores in subjects.values()) for name in METRICS}
    return Evaluation(values, subjects, generated)


def _scores(generated: Images, subject: SubjectSlices) -> dict[str, float]:
    return {name: float(metric.function(generated, subject.high, subject.mask)) for name, metric in METRICS.items()}


def shown(slices: SubjectSlices) -> ShownSlices:
    """What pictures and the dashboard show of a subject's evaluation slices."""
    return ShownSlices(
        subject=slices.subject,
        low=slices.low,
        high=slices.high,
        matched=slices.matched,
        mask=slices.mask,
        indices=tuple(int(index) for index in slices.indices),
        axis=AXIS,
        spacing=slices.spacing[1:],
    )
