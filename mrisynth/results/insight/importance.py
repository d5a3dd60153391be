"""How much each searched parameter matters, and how much of that is noise.

A forest is grown on one half of the trials and predicts the places of the other half; one parameter's values are
shuffled among the trials, and what the squared error grows by, over twice the variance of the places, estimates the
share of the variance that goes through this parameter, alone or together with others (the total effect). L. Breiman,
*Random forests*, Machine Learning 45 (2001), section 10; M. J. W. Jansen, *Analysis of variance designs for model
output*, Computer Physics Communications 117 (1999). What parameters do only together counts for each of them, so that
the sum may pass 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrisynth.results.index import Index
from mrisynth.results.insight.domains import Domain, Floats, column_values, searched_domains
from mrisynth.results.insight.forest import CODES, Codes, grow
from mrisynth.results.insight.judged import Judged, judge

LEAST = 20
"""Fewer trials than this say nothing."""
REPEATS, MOST = 6, 1200
_SHADOWS = 4


@dataclass(frozen=True, slots=True)
class Importance:
    """What one parameter brings.

    Args:
        path: the parameter.
        trials: how many of the judged trials have it.
        share: its total effect, as a share of the variance of the trials' places: the median over the repeats.
        low, high: the least and the most of the repeats.
        above_noise: whether even the least is more than any column of pure chance reached in any repeat.
    """

    path: str
    trials: int
    share: float
    low: float
    high: float
    above_noise: bool


@dataclass(frozen=True, slots=True)
class Importances:
    """The parameters by importance, the first matters most.

    Args:
        metric: by which metric the trials were judged.
        family: in which family; None for all.
        counted: which trials they rest on, in words.
        trials: how many these are.
        parameters: those that at least 20 of the trials have; empty where `refusal` says why.
        too_few: the parameters that fewer have: path to number of trials.
        noise: what columns of pure chance reached at the most.
        explained: the share of the places' variance that the forest predicts in trials it did not see: the median.
        refusal: why nothing can be said, as a sentence; "" where something is.
    """

    metric: str
    family: str | None
    counted: str
    trials: int
    parameters: tuple[Importance, ...] = ()
    too_few: Mapping[str, int] | None = None
    noise: float = 0.0
    explained: float = 0.0
    refusal: str = ""


def importance(
    index: Index, metric: str, *, family: str | None = None, repeats: int = REPEATS, seed: int = 0
) -> Importances:
    """How much each searched parameter matters to a metric.

    Args:
        index: the sweep's index.
        metric: the metric that judges the trials; see `judge` for which ones it can.
        family: only the trials of this family (default: all).
        repeats: how often the trials (at most 1,200 of them, drawn anew each time) are halved.
        seed: decides the halves, the forests and the shuffles.
    """
    judged = judge(index, metric, family=family)
    about = {"metric": metric, "family": family, "counted": judged.counted, "trials": len(judged)}
    if refusal := _refusal(judged, family):
        return Importances(**about, refusal=refusal)  # type: ignore[arg-type]
    domains = searched_domains(index)
    columns = {path: _codes(column_values(index, domain)[judged.rows], domain) for path, domain in domains.items()}
    counts = {path: int((codes >= 0).sum()) for path, codes in columns.items()}
    used = [path for path, codes in columns.items() if counts[path] >= LEAST and len(set(codes[codes >= 0])) > 1]
    few = {path: count for path, count in counts.items() if 0 < count < LEAST}
    if not used:
        return Importances(**about, too_few=few, refusal=_nothing_varied(family))  # type: ignore[arg-type]
    codes = np.stack([columns[path] for path in used], axis=1)
    ordered = np.array([domains[path].numeric for path in used])
    rng = np.random.default_rng(seed)
    found = [_repeat(codes, judged.quality, ordered, rng) for _ in range(repeats)]
    shares = np.array([shares for shares, _, _ in found])
    noise = float(max(noise for _, noise, _ in found))
    parameters = [_summary(path, counts[path], shares[:, at], noise) for at, path in enumerate(used)]
    return Importances(
        **about,  # type: ignore[arg-type]
        parameters=tuple(sorted(parameters, key=lambda each: -each.share)),
        too_few=few,
        noise=noise,
        explained=float(np.median([explained for _, _, explained in found])),
    )


def _refusal(judged: Judged, family: str | None) -> str:
    of = f" of the family {family}" if family else ""
    if len(judged) < LEAST:
        return (
            f"Importance by {judged.metric} needs at least {LEAST} trials{of} that ended with a score; "
            f"there are {len(judged)} so far."
        )
    if not np.ptp(judged.quality):
        return f"All {len(judged)} trials{of} have the same {judged.metric}, so no parameter can be told from another."
    return ""


def _nothing_varied(family: str | None) -> str:
    of = f" of the family {family}" if family else ""
    return f"No searched parameter has two different values among at least {LEAST} of the trials{of}."


def _codes(values: NDArray[Any], domain: Domain) -> Codes:
    """A parameter's values as small whole numbers, -1 where a trial does not have it: (n,)."""
    if not domain.numeric:
        codes = {choice: at % CODES for at, choice in enumerate(domain.choices)}
        return np.array([codes.get(value, -1) for value in values], np.int64)
    present = ~np.isnan(values)
    edges = np.unique(np.quantile(values[present], np.linspace(0, 1, CODES + 1)[1:-1])) if present.any() else values
    return np.where(present, np.searchsorted(edges, values, side="left"), -1).astype(np.int64)


def _repeat(
    codes: Codes, quality: Floats, ordered: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Floats, float, float]:
    """One halving, each half predicted by the other: the shares, the most that chance reached, what is explained."""
    chosen = rng.permutation(len(quality))[:MOST]
    present = np.pad(codes[chosen] >= 0, ((0, 0), (0, _SHADOWS)), constant_values=True)
    filled = _filled(codes[chosen], rng)
    goal, kinds = quality[chosen], np.pad(ordered, (0, _SHADOWS), constant_values=True)
    halves = np.array_split(np.arange(len(chosen)), 2)
    parts = []
    for seen, unseen in (halves, halves[::-1]):
        forest = grow(filled[seen], goal[seen], ordered=kinds, rng=rng)
        parts.append(_shares(forest.predict, filled[unseen], goal[unseen], present[unseen], rng))
    shares = np.mean([shares for shares, _ in parts], axis=0)
    many = codes.shape[1]
    return shares[:many], float(shares[many:].max()), float(np.mean([explained for _, explained in parts]))


def _filled(codes: Codes, rng: np.random.Generator) -> Codes:
    """A value for every trial, and columns of chance behind.

    A trial that does not have a parameter gets the value of a random one that does: otherwise having it would tell
    which branch was taken, and the branch's effect would be credited to the parameters within it.
    """
    columns = []
    for column in codes.T:
        having = column[column >= 0]
        columns.append(np.where(column < 0, rng.choice(having, len(column)) if len(having) else 0, column))
    shadows = rng.integers(0, CODES, (len(codes), _SHADOWS))
    return np.column_stack([*columns, shadows])


def _shares(
    predict: Any, codes: Codes, goal: Floats, present: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Floats, float]:
    """By how much each column's shuffle worsens the prediction, over twice the variance; and what is explained."""
    errors = (predict(codes) - goal) ** 2
    spread = max(float(goal.var()), 1e-12)
    shares = []
    for at in range(codes.shape[1]):
        having = np.flatnonzero(present[:, at])
        shuffled = codes[having]
        shuffled[:, at] = rng.permutation(shuffled[:, at])
        worse = (predict(shuffled) - goal[having]) ** 2 - errors[having]
        shares.append(float(worse.mean()) / (2 * spread) if len(having) else 0.0)
    return np.array(shares), 1 - float(errors.mean()) / spread


def _summary(path: str, trials: int, shares: Floats, noise: float) -> Importance:
    low, high = float(shares.min()), float(shares.max())
    return Importance(path, trials, float(np.median(shares)), low, high, above_noise=low > max(noise, 0.0))
