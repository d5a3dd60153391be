"""What the search had reached after so many core-hours: the best so far, or the hypervolume of several objectives."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrisynth.results.index import Index
from mrisynth.results.tables import VALUE

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Progress:
    """A stair: what was reached once so much was spent.

    Args:
        hours: core-hours spent when a trial completed, (n,); those of every trial that ended before it are counted,
            those of trials still running are not.
        trials: the trials that completed, by number, (n,).
        reached: the best value so far, or the hypervolume so far, (n,).
        objectives: the metrics that count; one gives the best so far, several the hypervolume.
        reference: the point that the hypervolume is measured from: metric to value; empty for one objective.
    """

    hours: Floats
    trials: NDArray[np.int64]
    reached: Floats
    objectives: tuple[str, ...]
    reference: Mapping[str, float]


def progress(
    index: Index, objectives: tuple[str, ...] = (), *, reference: Mapping[str, float] | None = None
) -> Progress:
    """The best so far by cost (one objective), or the hypervolume by cost (several).

    Args:
        index: the sweep's index.
        objectives: metrics (default: the sweep's own).
        reference: for several objectives the point from which the volume is measured (default: the worst value of
            each among the completed trials, so that curves of two sweeps can be compared only with a point given).
    """
    names = objectives or tuple(index.objectives)
    order, hours = _spent(index)
    signs = np.array([1.0 if index.direction(name) == "maximize" else -1.0 for name in names])
    columns = [_column(index, VALUE + name) for name in names]
    points = np.stack(columns, axis=1)[order] * signs if columns else np.empty((len(order), 0))
    outcomes = np.array(index.trials["outcome"].to_pylist(), object)[order]
    kept = (outcomes == "completed") & np.isfinite(points).all(axis=1)
    points, trials = points[kept], index.trials["trial"].to_numpy()[order][kept]
    if len(names) < 2:
        best = np.maximum.accumulate(points[:, 0]) * signs[0] if points.size else np.array([])
        return Progress(hours[kept], trials, best, names, {})
    if reference is not None:
        corner = np.array([reference[name] for name in names]) * signs
    else:
        corner = points.min(axis=0) if len(points) else np.zeros(len(names))
    given = {name: float(value) for name, value in zip(names, corner * signs, strict=True)} if len(points) else {}
    return Progress(hours[kept], trials, _volumes(points, corner), names, given)


def hypervolume(points: Floats, corner: Floats) -> float:
    """The volume between a corner and the points that dominate it, more being better in every coordinate.

    Slice by slice along the last coordinate (E. Zitzler, L. Thiele, *Multiobjective evolutionary algorithms*, IEEE
    Transactions on Evolutionary Computation 3 (1999)); meant for fronts of some hundred points in two or three
    dimensions.

    Args:
        points: (n, objectives).
        corner: the reference point, (objectives,).
    """
    points = points[(points > corner).all(axis=1)]
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(points.max() - corner[0])
    points = points[np.argsort(-points[:, -1], kind="stable")]
    volume = 0.0
    for at in range(len(points)):
        below = points[at + 1, -1] if at + 1 < len(points) else corner[-1]
        if thickness := float(points[at, -1] - below):
            volume += thickness * hypervolume(_front(points[: at + 1, :-1]), corner[:-1])
    return volume


def _volumes(points: Floats, corner: Floats) -> Floats:
    """The hypervolume after each point; computed anew only where the point is not beaten by an earlier one."""
    volumes, front, volume = np.zeros(len(points)), np.empty((0, len(corner))), 0.0
    for at, point in enumerate(points):
        if not (front >= point).all(axis=1).any():
            front = np.vstack([front[~(point >= front).all(axis=1)], point])
            volume = hypervolume(front, corner)
        volumes[at] = volume
    return volumes


def _front(points: Floats) -> Floats:
    """The points that no other beats: fewer to slice; in one dimension the largest."""
    if points.shape[1] == 1:
        return np.array([[points.max()]])
    kept: list[Floats] = []
    for point in points[np.lexsort(points.T[::-1])[::-1]]:
        if not any((other >= point).all() for other in kept):
            kept.append(point)
    return np.array(kept)


def _spent(index: Index) -> tuple[NDArray[np.int64], Floats]:
    """The trials that ended, in the order in which they did, and the core-hours spent by then."""
    ended = np.array([each.timestamp() if each else np.nan for each in index.trials["ended"].to_pylist()])
    rows = np.flatnonzero(~np.isnan(ended))
    order = rows[np.lexsort((rows, ended[rows]))]
    seconds = np.nan_to_num(_column(index, "seconds"))
    return order, index.cores * np.cumsum(seconds[order]) / 3600


def _column(index: Index, name: str) -> Floats:
    """A column of numbers, NaN where there is none."""
    if name not in index.trials.column_names:
        return np.full(index.trials.num_rows, np.nan)
    column: Floats = index.trials[name].to_numpy().astype(np.float64)
    return column
