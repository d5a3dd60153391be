"""The figures of each subject, and which of them somebody should look at."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mrisynth.data.preparation.alignment import mutual_information
from mrisynth.data.preparation.intensity import tissue_mask
from mrisynth.data.quality.decisions import Decision, read_decisions
from mrisynth.data.quality.flips import AXES
from mrisynth.data.store.arrays import map_arrays
from mrisynth.data.store.mirror import volumes_at_hand
from mrisynth.data.store.prepared import PreparedSubject, open_cohort

LIMIT = 3.5
"""Robust z-scores beyond it are outliers (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993)."""
FEWEST = 4
"""Subjects from which on a cohort has outliers."""
_BETTER_MIRRORED = 0.1


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure by which subjects are compared.

    Attributes:
        name: its key in the JSON.
        title: in the table.
        meaning: one sentence.
        bad: -1 where small values are bad, 1 where large ones are, 0 where neither is.
        floor: no deviation is taken to be smaller than this, so that a cohort without spread has no outliers.
        digits: after the point.
    """

    name: str
    title: str
    meaning: str
    bad: int
    floor: float
    digits: int = 3


FIGURES = (
    Figure("correlation_before", "correlation before", "of both scans in the tissue, by their headers alone", 0, 1.0),
    Figure("correlation_after", "after", "the same after registration; 1 is best", -1, 0.02),
    Figure("information_before", "mutual information before", "in nats, in the tissue, by the headers alone", 0, 1.0),
    Figure("information_after", "after", "the same after registration; more is better", -1, 0.02),
    Figure("dice", "Dice", "overlap of the tissue found in each of both scans; 1 is best", -1, 0.01),
    Figure("residual_mm", "residual shift, mm", "by which the low scan would still have to move; 0 is best", 1, 0.02),
    Figure("jacobian_min", "least Jacobian", "least ratio of volumes, low by high; 1 is best, 0 folds", -1, 0.05),
    Figure("jacobian_max", "largest Jacobian", "largest such ratio; 1 is best", 1, 0.05),
    Figure("coverage", "coverage", "part of the high scan's tissue that the low scan shows", -1, 0.01),
    Figure("mirrored", "mirrored fit", "gain in correlation if the unbent low scan is mirrored; above 0.1 is alarming",
           1, 0.05),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is known about one subject.

    Attributes:
        subject: the prepared subject.
        values: figure -> value; None where an older preparation did not keep it.
        scores: figure -> robust z-score over the cohort, where the cohort is large enough.
        alarms: what breaks a fixed limit, one sentence each.
        outliers: what is unlike the cohort, one sentence each.
        decision: a person's word on it, if there is one.
        stale: the decision was made on another preparation of it.
    """

    subject: PreparedSubject
    values: dict[str, float | None]
    scores: dict[str, float]
    alarms: list[str]
    outliers: list[str]
    decision: Decision | None
    stale: bool


def assess(store: Path) -> list[Assessment]:
    """Every subject of a store, excluded and test subjects too, the worst first.

    Test volumes are read: looking at inputs scores no model. It is not counted as a read of the test split.
    """
    subjects = open_cohort(store, with_excluded=True).subjects
    values = [measure(subject) for subject in subjects]
    scores = robust_scores(values)
    decisions = read_decisions(store)
    found = []
    for subject, value, score in zip(subjects, values, scores, strict=True):
        decision = decisions.get(subject.name)
        stale = decision is not None and decision.key != subject.key
        outliers = describe_outliers(score, value, len(subjects))
        found.append(Assessment(subject, value, score, _alarms(subject), outliers, decision, stale))
    return sorted(found, key=lambda one: (-len(one.alarms), -len(one.outliers), -_badness(one.scores)))


def read_volumes(subject: PreparedSubject) -> dict[str, NDArray[Any]]:
    """Low, high and mask of any subject, test subjects too, (depth, height, width) each; for quality control only."""
    with volumes_at_hand(subject.path) as path:
        return map_arrays(path)


def measure(subject: PreparedSubject) -> dict[str, float | None]:
    """A subject's figures: from its record, and what its volumes tell."""
    record, arrays = subject.record, read_volumes(subject)
    quality = record.get("quality", {})
    values: dict[str, float | None] = {figure.name: quality.get(figure.name) for figure in FIGURES}
    values["information_after"] = mutual_information(arrays["low"], arrays["high"], arrays["mask"])
    values["dice"] = dice(arrays["low"], arrays["high"])
    shift = quality.get("residual_shift")
    values["residual_mm"] = None if shift is None else math.hypot(*shift)
    flips = record.get("flips")
    values["mirrored"] = max(flips[axis] for axis in AXES) - flips["none"] if flips else None
    return values


def dice(low: NDArray[Any], high: NDArray[Any]) -> float:
    """Dice's coefficient of the tissue in two scans, (depth, height, width), intensity in [0, 1000]; in [0, 1]."""
    images = [sitk.GetImageFromArray(np.asarray(array, np.float32)) for array in (low, high)]
    one, two = (sitk.GetArrayFromImage(tissue_mask(image)) != 0 for image in images)
    both = int(one.sum() + two.sum())
    return float(2 * np.count_nonzero(one & two) / both) if both else 0.0


def robust_scores(values: Sequence[dict[str, float | None]]) -> list[dict[str, float]]:
    """For each subject its distance from the median, in 1.4826 median absolute deviations; bad is positive."""
    scores: list[dict[str, float]] = [{} for _ in values]
    for figure in FIGURES:
        known = {at: value for at, one in enumerate(values) if (value := one[figure.name]) is not None}
        if not figure.bad or len(known) < FEWEST:
            continue
        middle = float(np.median([*known.values()]))
        spread = 1.4826 * float(np.median([abs(value - middle) for value in known.values()]))
        for at, value in known.items():
            scores[at][figure.name] = figure.bad * (value - middle) / max(spread, figure.floor)
    return scores


def describe_outliers(scores: dict[str, float], values: dict[str, float | None], subjects: int) -> list[str]:
    """One sentence for each figure that is worse than the cohort's by more than the limit."""
    return [
        f"{figure.title if figure.title != 'after' else figure.name.replace('_', ' ')} {values[figure.name]:.3f} "
        f"is unlike the others (robust z {scores[figure.name]:.1f}, n = {subjects})"
        for figure in FIGURES
        if scores.get(figure.name, 0) > LIMIT
    ]


def _alarms(subject: PreparedSubject) -> list[str]:
    """What breaks a fixed limit, whatever the cohort looks like."""
    alarms = [*subject.record.get("flags", [])]
    flips = subject.record.get("flips")
    if flips:
        axis = max(AXES, key=lambda name: float(flips[name]))
        if flips[axis] > flips["none"] + _BETTER_MIRRORED:
            alarms.insert(
                0,
                f"the low scan fits better mirrored on the {axis} axis (correlation {flips[axis]:.2f} instead of "
                f"{flips['none']:.2f} before bending): is left and right swapped in one of the files?",
            )
    return alarms


def _badness(scores: dict[str, float]) -> float:
    return sum(max(score, 0) for score in scores.values())
