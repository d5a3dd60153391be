"""Whether two trials really differ: the same subjects scored by both, and an exact test on their differences.

Subjects are the units, never slices: slices of one brain are not independent. With few subjects no test can call a
difference, however large it looks; then the verdict is a refusal that says how many subjects it would take.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
"""A difference is called where p, corrected for the number of comparisons, is at most this."""

TEST = "Wilcoxon signed-rank test, exact, two-sided"


@dataclass(frozen=True, slots=True)
class Paired:
    """One trial against another, subject by subject.

    Attributes:
        subjects: those that both have a finite score of, by name.
        differences: by how much the trial is better on each of them, positive is better whatever the direction.
        mean: their mean; NaN without a subject.
        wins: on how many subjects it is better.
        n: subjects on which they differ at all, which are those that the test counts.
        p: of the test, not corrected; 1 where they differ nowhere.
        corrected: p after Holm's correction for all comparisons made together.
        least: the least corrected p that so few subjects can give at all.
    """

    subjects: tuple[str, ...]
    differences: tuple[float, ...]
    mean: float
    wins: int
    n: int
    p: float
    corrected: float
    least: float

    @property
    def verdict(self) -> str:
        """ "better", "worse", "not shown" (n could have shown it), or "too few subjects"."""
        if self.least > LEVEL:
            return "too few subjects"
        if self.corrected > LEVEL:
            return "not shown"
        return "better" if signed_rank_sum(self.differences) > 0 else "worse"


def compare(scores: Sequence[Mapping[str, float]], reference: Mapping[str, float], *, direction: str) -> list[Paired]:
    """Compare trials with one reference.

    Args:
        scores: subject to score, of each trial; one mapping a trial.
        reference: subject to score, of the trial or baseline that they are compared with.
        direction: "maximize" or "minimize": whether more or less of the metric is better.

    Returns:
        One comparison a trial, in the same order, corrected together (Holm 1979).
    """
    sign = 1 if direction == "maximize" else -1
    paired = [_differences(each, reference, sign) for each in scores]
    values = [signed_rank_p([*each.values()]) for each in paired]
    corrected = holm(values)
    return [_paired(each, p, after, len(scores)) for each, p, after in zip(paired, values, corrected, strict=True)]


def signed_rank_p(differences: Sequence[float]) -> float:
    """The exact two-sided p of Wilcoxon's signed-rank test, ties and all.

    Zeros are dropped (Wilcoxon 1945), ties get their mean rank, and the distribution under the null is that of every
    choice of signs for those ranks, counted exactly.

    Args:
        differences: one a subject, finite.

    Returns:
        p in (0, 1]; 1 where no difference is other than zero.
    """
    ranks = _double_ranks(differences)
    total = int(ranks.sum())
    if not total:
        return 1.0
    counts = np.zeros(total + 1)
    counts[0] = 1.0
    for rank in ranks:  # how likely each sum of the positive ranks is: every sign a toss of a coin
        moved = np.zeros_like(counts)
        moved[rank:] = counts[: total + 1 - rank]
        counts = (counts + moved) / 2
    positive = (total + signed_rank_sum(differences)) // 2
    extreme = min(positive, total - positive)
    return min(1.0, 2 * float(counts[: extreme + 1].sum()))


def signed_rank_sum(differences: Sequence[float]) -> int:
    """Twice the sum of the positive ranks less that of the negative ones; its sign says which way they differ."""
    signs = np.sign([value for value in differences if value != 0])
    return int((_double_ranks(differences) * signs).sum())


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of several p-values (Scandinavian Journal of Statistics 6, 1979, 65-70)."""
    order = sorted(range(len(values)), key=lambda at: values[at])
    corrected, highest = [0.0] * len(values), 0.0
    for place, at in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[at]))
        corrected[at] = highest
    return corrected


def subjects_needed(comparisons: int) -> int:
    """The fewest subjects, differing all one way, with which so many comparisons together can call a difference."""
    return math.ceil(math.log2(2 * comparisons / LEVEL))


def _differences(scores: Mapping[str, float], reference: Mapping[str, float], sign: int) -> dict[str, float]:
    both = [name for name in scores if name in reference]
    found = {name: sign * (scores[name] - reference[name]) for name in sorted(both)}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _paired(differences: Mapping[str, float], p: float, corrected: float, comparisons: int) -> Paired:
    values = tuple(differences.values())
    counted = sum(value != 0 for value in values)
    return Paired(
        subjects=tuple(differences),
        differences=values,
        mean=math.fsum(values) / len(values) if values else math.nan,
        wins=sum(value > 0 for value in values),
        n=counted,
        p=p,
        corrected=corrected,
        least=min(1.0, comparisons * 2.0 ** (1 - len(values))),
    )


def _double_ranks(differences: Sequence[float]) -> NDArray[np.int64]:
    """Twice the rank of each difference's size, zeros dropped; doubled, so that mean ranks of ties are whole."""
    sizes = np.abs([value for value in differences if value != 0])
    below = (sizes[:, None] > sizes).sum(axis=1)
    alike = (sizes[:, None] == sizes).sum(axis=1)
    ranks: NDArray[np.int64] = (2 * below + alike + 1).astype(np.int64)
    return ranks
