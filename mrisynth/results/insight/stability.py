"""Whether the order of the best trials would hold: with other seeds, and without any one of the subjects."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mrisynth.results.index import Index
from mrisynth.results.insight.judged import judge
from mrisynth.results.ranking import kendall, ranks

Floats = NDArray[np.float64]
TOP = 10


@dataclass(frozen=True, slots=True)
class Repeated:
    """One configuration that ran with several seeds.

    Args:
        trials: their numbers, by number.
        values: their scores, in the metric's unit.
        places: the place of each among all runs of repeated configurations, 1 for the best.
    """

    trials: tuple[int, ...]
    values: tuple[float, ...]
    places: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SeedStability:
    """How far the seed alone moves a score.

    Args:
        repeated: the configurations with at least two seeds, the best mean first.
        seed_deviation: the standard deviation between seeds of one configuration, pooled over them, in the metric's
            unit; None where nothing was repeated.
        tau: Kendall's tau-b between the orders that two seeds give, the mean over all pairs of runs (first against
            second seed and so on); None with fewer than three configurations.
        refusal: why nothing can be said, as a sentence; "" where something is.
    """

    repeated: tuple[Repeated, ...]
    seed_deviation: float | None
    tau: float | None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class SubjectPlaces:
    """The place of one of the best trials among them, with all subjects and with each left out in turn.

    Args:
        trial: its number.
        place: with all subjects, 1 for the best.
        best, worst: over the subjects left out.
        without: subject left out to place.
    """

    trial: int
    place: float
    best: float
    worst: float
    without: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SubjectStability:
    """Whether the order of the best trials hangs on one subject.

    Args:
        places: the best trials, the best first.
        subjects: how many subjects all of them were scored on.
        tau: the least of Kendall's tau-b between the whole order and those without one subject; None where it is not
            defined.
        refusal: why nothing can be said, as a sentence; "" where something is.
    """

    places: tuple[SubjectPlaces, ...]
    subjects: int
    tau: float | None
    refusal: str = ""


def seed_stability(index: Index, metric: str) -> SeedStability:
    """How alike the scores and the order of configurations are that ran with several seeds; completed trials only."""
    groups = [group for group in _by_configuration(index, metric).values() if len(group) > 1]
    if not groups:
        said = "No configuration has completed with two seeds, so it is not known how far chance alone moves a score."
        return SeedStability((), None, None, said)
    values = [value for group in groups for _, value in group]
    places = iter(ranks(values, direction=index.direction(metric)).tolist())
    repeated = [
        Repeated(
            tuple(trial for trial, _ in group), tuple(value for _, value in group), tuple(next(places) for _ in group)
        )
        for group in groups
    ]
    freedom = sum(len(each.values) - 1 for each in repeated)
    squares = sum(float(np.var(each.values)) * len(each.values) for each in repeated)
    sign = -1 if index.direction(metric) == "maximize" else 1
    repeated.sort(key=lambda each: sign * float(np.mean(each.values)))
    return SeedStability(tuple(repeated), float(np.sqrt(squares / freedom)), _tau_of_seeds(repeated))


def subject_stability(index: Index, metric: str, *, k: int = TOP) -> SubjectStability:
    """The places of the best `k` completed trials among themselves, with each validation subject left out in turn."""
    judged = judge(index, metric)
    best = [row for row in np.argsort(-judged.quality, kind="stable").tolist() if judged.completed[row]][:k]
    trials = index.trials["trial"].to_numpy()[judged.rows[best]].tolist()
    scores = _subject_scores(index, metric, trials)
    trials = [trial for trial in trials if trial in scores]
    subjects = sorted(set.intersection(*(set(scores[trial]) for trial in trials))) if trials else []
    if len(trials) < 2 or len(subjects) < 2:
        said = f"{len(trials)} completed trials and {len(subjects)} subjects: at least two of each are needed."
        return SubjectStability((), len(subjects), None, said)
    table = np.array([[scores[trial][name] for name in subjects] for trial in trials])
    whole, *without = [
        ranks(each.mean(axis=1).tolist(), direction=index.direction(metric))
        for each in (table, *(np.delete(table, at, axis=1) for at in range(len(subjects))))
    ]
    taus = [kendall(whole, each) for each in without]
    found = [
        _places(trial, float(whole[at]), {name: float(each[at]) for name, each in zip(subjects, without, strict=True)})
        for at, trial in enumerate(trials)
    ]
    found.sort(key=lambda each: (each.place, each.trial))
    known = [tau for tau in taus if tau is not None]
    return SubjectStability(tuple(found), len(subjects), min(known) if known else None)


def _places(trial: int, place: float, without: dict[str, float]) -> SubjectPlaces:
    return SubjectPlaces(trial, place, min(without.values()), max(without.values()), without)


def _by_configuration(index: Index, metric: str) -> dict[str, list[tuple[int, float]]]:
    """Completed trials that differ in nothing but their seed: (number, score) by number."""
    judged = judge(index, metric)
    groups: dict[str, dict[str, tuple[int, float]]] = {}
    configs, trials = index.trials["config"].to_pylist(), index.trials["trial"].to_pylist()
    for row, value, completed in zip(judged.rows.tolist(), judged.values.tolist(), judged.completed, strict=True):
        if completed and configs[row]:
            config: dict[str, Any] = json.loads(configs[row])
            seed = str(config.pop("seed", None))
            # One that ran twice with the same seed gave the same again: it counts once.
            groups.setdefault(json.dumps(config, sort_keys=True), {}).setdefault(seed, (trials[row], value))
    return {config: list(runs.values()) for config, runs in groups.items()}


def _tau_of_seeds(repeated: list[Repeated]) -> float | None:
    """First runs against second ones, first against third, and so on, over the configurations that have both."""
    found = []
    for one, other in combinations(range(max(len(each.values) for each in repeated)), 2):
        both = [each.values for each in repeated if len(each.values) > other]
        if len(both) >= 3:
            found.append(kendall(np.array([run[one] for run in both]), np.array([run[other] for run in both])))
    known = [tau for tau in found if tau is not None]
    return float(np.mean(known)) if known else None


def _subject_scores(index: Index, metric: str, trials: list[int]) -> dict[int, dict[str, float]]:
    """Trial to subject to score."""
    table = index.subjects
    kept = pc.and_(pc.equal(table["metric"], metric), pc.is_in(table["trial"], pa.array(trials, pa.int64())))
    scores: dict[int, dict[str, float]] = {}
    for row in table.filter(kept).to_pylist():
        scores.setdefault(row["trial"], {})[row["subject"]] = row["value"]
    return scores
