"""The slices on which every trial is scored: the same few of each subject, and their low scan with a matched histogram.

STORE/slices/<key>/manifest.json       whose slices, and which
STORE/slices/<key>/<subject>.arrow     low, high, mask and matched
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrisynth.data.store import artefacts
from mrisynth.data.store.arrays import map_arrays, write_arrays
from mrisynth.data.store.prepared import PreparedCohort, PreparedSubject, Standard
from mrisynth.data.store.records import FULL_SCALE
from mrisynth.errors import InvalidInputError
from mrisynth.files import digest

VERSION = 1
"""Raise it whenever the same cohort gives other slices than before."""

AXIS = 0
"""Across which axis the slices are cut on which all trials are scored."""

LEAST_TISSUE = 0.1
"""Slices with less than this part of the fullest slice's tissue are left out: scores of the tips mean little."""


@dataclass(frozen=True, slots=True, eq=False)
class SubjectSlices:
    """The evaluation slices of one subject, n of them: read-only views of a mapped file.

    Attributes:
        subject: its name.
        indices: which slices along the axis, shape (n,).
        low, high: the scans, shape (n, height, width), float32 on [0, 1].
        mask: tissue, shape (n, height, width), bool.
        low_standard: mean and deviation of the whole low volume, on [0, 1], by which its patches are standardised.
        matched: the low scan with its histogram matched to that of the training split's high scans: what a mere change
            of contrast achieves. Shape (n, height, width), float32 on [0, 1].
        spacing: from slice to slice, row to row and column to column, in mm.
    """

    subject: str
    indices: NDArray[np.int64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mask: NDArray[np.bool_]
    low_standard: Standard
    matched: NDArray[np.float32]
    spacing: tuple[float, float, float]


def ensure(
    cohort: PreparedCohort, *, split: str = "validation", axis: int = AXIS, count: int = 12
) -> tuple[SubjectSlices, ...]:
    """The evaluation slices of a split, cut first if nobody has; the same for every trial on this cohort.

    They are evenly spaced through the slices that hold tissue; the cohort's seed decides where the first one lies.

    Args:
        cohort: a prepared cohort.
        split: "train", "validation" or "test"; reading the test split is counted every time.
        axis: the axis across which slices are cut: 0 depth, 1 height, 2 width.
        count: slices of each subject; fewer where it has fewer with tissue.

    Raises:
        InvalidInputError: the split has no subject, a subject has no tissue, or the published slices are damaged.
    """
    subjects = cohort.read_test() if split == "test" else cohort.of_split(split)
    if not subjects:
        raise InvalidInputError(f"the store {cohort.store} has no {split} subject; prepare it with at least one")
    content = {
        "version": VERSION,
        "split": split,
        "axis": axis,
        "count": count,
        "seed": cohort.seed,
        "subjects": [{"subject": subject.name, "key": subject.key} for subject in subjects],
        "training": sorted(subject.key for subject in cohort.of_split("train")),
    }
    directory = cohort.store / "slices" / digest(content)

    def build(folder: Path) -> dict[str, Any]:
        high = _pooled_histogram(cohort.of_split("train"))
        for subject in subjects:
            write_arrays(
                folder / f"{subject.name}.arrow", _cut(subject, high, axis=axis, count=count, seed=cohort.seed)
            )
        return {**content, "standards": {subject.name: asdict(subject.standard("low")) for subject in subjects}}

    manifest = artefacts.ensure(directory, build, store=cohort.store)
    return tuple(
        _open(directory, subject, axis, Standard(**manifest["standards"][subject.name])) for subject in subjects
    )


def _open(directory: Path, subject: PreparedSubject, axis: int, low_standard: Standard) -> SubjectSlices:
    """Map one subject's slices."""
    arrays = map_arrays(directory / f"{subject.name}.arrow")
    across, *along = (subject.spacing[axis], *np.delete(subject.spacing, axis).tolist())
    return SubjectSlices(
        subject=subject.name,
        indices=arrays["indices"],
        low=arrays["low"],
        high=arrays["high"],
        mask=arrays["mask"].view(np.bool_),
        low_standard=low_standard,
        matched=arrays["matched"],
        spacing=(across, along[0], along[1]),
    )


def _cut(
    subject: PreparedSubject, high_histogram: NDArray[np.float64], *, axis: int, count: int, seed: int
) -> dict[str, NDArray[Any]]:
    """The columns of one subject's file."""
    low_volume, high_volume, mask_volume = subject.volumes()
    low_slices, high_slices = np.moveaxis(low_volume, axis, 0), np.moveaxis(high_volume, axis, 0)
    mask_slices = np.moveaxis(mask_volume, axis, 0) != 0
    if not mask_slices.any():
        raise InvalidInputError(f"subject {subject.name} has no tissue: its mask is empty; prepare it with another one")
    indices = choose_slices(mask_slices.sum((1, 2)), count=count, seed=seed)
    low = low_slices[indices]
    matched = match_histogram(low, np.asarray(subject.record["histograms"]["low"], np.float64), high_histogram)
    return {
        "indices": indices,
        "low": low / np.float32(FULL_SCALE),
        "high": high_slices[indices] / np.float32(FULL_SCALE),
        "mask": mask_slices[indices].astype(np.uint8),
        "matched": matched / np.float32(FULL_SCALE),
    }


def choose_slices(tissue: NDArray[np.int64], *, count: int, seed: int) -> NDArray[np.int64]:
    """Slices evenly spaced through the tissue.

    Args:
        tissue: tissue voxels in each slice, shape (slices,), not all zero.
        count: how many slices are wanted.
        seed: decides how far into the first interval the first slice lies.

    Returns:
        Their indices, ascending, shape (count,), or fewer where fewer hold tissue.
    """
    eligible = np.flatnonzero(tissue >= max(1, LEAST_TISSUE * tissue.max()))
    count = min(count, len(eligible))
    offset = np.random.default_rng(seed).random()
    return eligible[((np.arange(count) + offset) * len(eligible) / count).astype(np.int64)]


def match_histogram(
    low: NDArray[np.float32], histogram: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Give intensities another histogram by the monotone mapping between the two cumulative distributions.

    Args:
        low: intensities in [0, 1000], any shape.
        histogram: counts in equal bins over [0, 1000] of the volume that `low` is from.
        target: counts in equal bins over [0, 1000] of the distribution wanted.

    Returns:
        Intensities in [0, 1000], the shape of `low`, float32.
    """
    edges, below = _distribution(histogram)
    target_edges, target_below = _distribution(target)
    return np.interp(np.interp(low, edges, below), target_below, target_edges).astype(np.float32)


def _distribution(histogram: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The edges of a histogram's bins, and the part of its voxels below each: from 0 at the least up to 1."""
    edges = np.linspace(0, FULL_SCALE, len(histogram) + 1)
    below = np.concatenate([[0.0], np.cumsum(histogram)])
    filled = np.flatnonzero(histogram)
    # Empty bins beyond the least and the greatest intensity would make the extremes ambiguous.
    span = slice(filled[0], filled[-1] + 2)
    return edges[span], below[span] / below[-1]


def _pooled_histogram(subjects: Sequence[PreparedSubject]) -> NDArray[np.float64]:
    """The histogram of all high scans together, each weighing alike however many voxels it has."""
    histograms = [np.asarray(subject.record["histograms"]["high"], np.float64) for subject in subjects]
    pooled: NDArray[np.float64] = np.sum([histogram / histogram.sum() for histogram in histograms], axis=0)
    return pooled
