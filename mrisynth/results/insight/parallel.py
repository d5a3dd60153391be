"""Trials as lines across one axis a parameter: the data of a parallel-coordinates plot."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrisynth.results.index import Index
from mrisynth.results.insight.domains import Domain, column_values, searched_domains
from mrisynth.results.insight.judged import judge

MOST = 1500
"""More lines than this cannot be told apart, and take a browser long to draw."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Trials as lines.

    Args:
        axes: one a parameter, in the order asked for; each says its range, whether it is logarithmic, its choices.
        trials: the trials' numbers, the worst first, so that the best are drawn last.
        values: by trial the value on each axis; None where the trial does not have the parameter.
        scores: by trial the metric.
        of: how many trials there are; the best and the rest, evenly, are kept where there are more than asked for.
    """

    axes: tuple[Domain, ...]
    trials: tuple[int, ...]
    values: tuple[tuple[float | str | None, ...], ...]
    scores: tuple[float, ...]
    of: int

    def best(self, share: float) -> "Lines":
        """Only the best share of all `of` trials, at least one."""
        count = min(len(self.trials), max(1, math.ceil(share * self.of)))
        return replace(self, trials=self.trials[-count:], values=self.values[-count:], scores=self.scores[-count:])


def parallel_lines(
    index: Index, metric: str, paths: tuple[str, ...], *, family: str | None = None, most: int = MOST
) -> Lines:
    """The completed trials as lines over some parameters.

    Args:
        index: the sweep's index.
        metric: what a line's colour means.
        paths: searched parameters, an axis each; those that are not known are left out.
        family: only the trials of this family (default: all).
        most: how many lines: the better half of them are the best trials, the others stand for the rest.
    """
    judged, domains = judge(index, metric, family=family), searched_domains(index)
    axes = tuple(domains[path] for path in paths if path in domains)
    order = np.argsort(judged.quality[judged.completed], kind="stable")
    kept = order[evenly_kept(len(order), most)]
    rows, scores = judged.rows[judged.completed][kept], judged.values[judged.completed][kept]
    columns = [column_values(index, domain)[rows].tolist() for domain in axes]
    lines = tuple(tuple(_known(value) for value in line) for line in zip(*columns, strict=True))
    numbers = index.trials["trial"].to_numpy()[rows].tolist()
    return Lines(axes, tuple(numbers), lines or ((),) * len(rows), tuple(scores.tolist()), len(order))


def evenly_kept(count: int, most: int) -> NDArray[np.int64]:
    """Which of `count` trials, worst first, are kept: the last `most` / 2, and evenly many of those before them."""
    if count <= most:
        return np.arange(count)
    best = most // 2
    rest = np.linspace(0, count - best - 1, most - best).astype(np.int64)
    return np.concatenate([rest, np.arange(count - best, count)])


def _known(value: float | str | None) -> float | str | None:
    return None if isinstance(value, float) and np.isnan(value) else value
