"""A generator judged where people look: on whole slices, stitched from patches, subject by subject."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mrisynth.data.patches import PatchConfig, StitchConfig
from mrisynth.data.slices import AXIS, SubjectSlices
from mrisynth.data.stitching import StitchPlan, plan_stitch
from mrisynth.data.store.prepared import Standard
from mrisynth.results.seams import Lines
from mrisynth.results.store import ShownSlices
from mrisynth.training.config import FOREST, TrialConfig
from mrisynth.training.loop import infer
from mrisynth.training.metrics import METRICS, Scored

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
    """Generate every subject's slices and score them, its seams where this trial's patches meet.

    Args:
        generator: on `device` (a forest on the CPU, wherever that is); left in eval mode, unchanged.
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

    return _score(slices, generate_subject, partial(lines_of, config))


def baselines(slices: Sequence[SubjectSlices]) -> dict[str, Evaluation]:
    """What comes without training: low-field slices as they are (`identity`), or with their histogram `matched`.

    Nothing of them is stitched: their seams are those of patches of the default size and stitching, and so show what
    the measure is of images that have none (close to 1).
    """

    def lines(height: int, width: int) -> Lines:
        stitching = StitchConfig()
        return plan_stitch(height, width, size=PatchConfig().size, **stitching.model_dump()).seams

    return {
        "identity": _score(slices, lambda subject: subject.low, lines),
        "matched": _score(slices, lambda subject: subject.matched, lines),
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

    A forest sees a few pixels around each, so it takes whole images, which neither need cutting nor stitching.

    Args:
        generator: on `device` (a forest on the CPU, wherever that is); left in eval mode.
        low: (n, height, width), intensity on [0, 1].
        low_standard: mean and deviation of the low-field volume that they come from, on [0, 1].
        high_standard: mean and deviation of the training split's high-field volumes, on [0, 1].
        config: patch size, stitching and precision.
        device: where to compute.

    Returns:
        (n, height, width), float32, intensity on [0, 1]; not clipped.
    """
    standardised = torch.from_numpy((low - np.float32(low_standard.mean)) / np.float32(low_standard.std))
    plan = _plan(config, *low.shape[1:])
    if plan is None:
        made = infer(generator, standardised[:, None], batch_size=1, precision=config.precision)[:, 0]
    else:
        stitched = []
        for image in torch.split(standardised.to(device), 1):
            batches = plan.batches(image, _BATCH)
            patches = [infer(generator, batch, batch_size=_BATCH, precision=config.precision) for batch in batches]
            stitched.append(plan.stitch(torch.cat(patches)))
        made = torch.cat(stitched)
    generated: Images = (made * high_standard.std + high_standard.mean).cpu().numpy()
    return generated


def lines_of(config: TrialConfig, height: int, width: int) -> Lines:
    """Where patches meet in an image of that size; nowhere in a forest's."""
    plan = _plan(config, height, width)
    return plan.seams if plan else ((), ())


def _plan(config: TrialConfig, height: int, width: int) -> StitchPlan | None:
    """How images of one shape are cut and stitched; None for a forest."""
    if config.generator.name == FOREST:
        return None
    return plan_stitch(height, width, size=config.patches.size, **config.stitching.model_dump())


def _score(
    slices: Sequence[SubjectSlices],
    generate_subject: Callable[[SubjectSlices], Images],
    lines: Callable[[int, int], Lines],
) -> Evaluation:
    """Score subject by subject, then average: subjects are the units of every comparison, never slices."""
    generated = {subject.subject: generate_subject(subject) for subject in slices}
    subjects = {}
    for subject in slices:
        rows, columns = lines(*subject.high.shape[1:])
        scored = Scored(generated[subject.subject], subject.high, subject.mask, rows, columns)
        subjects[subject.subject] = {name: float(metric.function(scored)) for name, metric in METRICS.items()}
    values = {name: fmean(scores[name] for scores in subjects.values()) for name in METRICS}
    return Evaluation(values, subjects, generated)


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
