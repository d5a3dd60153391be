"""The sampler of a study, made repeatable: what it suggests depends on the seed, the trial and the study alone."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from random import Random
from statistics import NormalDist, fmean, stdev
from typing import Any, cast

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mrisynth.files import digest
from mrisynth.search.settings import SamplerName
from mrisynth.search.study import continued_trials

POPULATION = 20
"""Completed trials of a generation of NSGA-II: few, because a sweep completes dozens rather than thousands."""

REDRAWS, RANDOM_REDRAWS = 16, 24
"""How often a point is drawn again that was tried before: by the sampler itself, and then at random."""

CANDIDATES, AGAIN = 24, 4
"""Of how many points that resemble the good ones TPE takes the best; when it draws again, fewer, so that it differs."""


GENERATOR = "generator"
BRANCHES, EVERY = (GENERATOR, "adversary"), 2
"""What is drawn at random in one trial of so many on average: else one that was good early is all that TPE tries."""

JUDGED, LEAST_PROMISE = 3, 1e-12
"""Completed trials of a generator before it is judged by what it promises, and the least that one promises."""


class SeededSampler(BaseSampler):
    """Optuna's sampler, seeded anew from (seed, trial number) for each trial, and again for each single parameter.

    A search that was killed and resumed thus suggests what an undisturbed one would, even where the kill fell between
    two parameters of one trial: those already stored are not drawn again, and the others do not notice.

    TPE suggests its favourite again and again where there are few points; the same point trains to the same result, so
    it is drawn again. And TPE draws parameters alone: generator and adversary are drawn at random in about every second
    trial, and in the others, if there is one objective, the generator by how much it promises to improve on the best.
    """

    def __init__(self, name: SamplerName, seed: int) -> None:
        self._name: SamplerName = name
        self._seed = seed
        self._relative: BaseSampler = make_sampler(name, seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are drawn together."""
        self._relative = make_sampler(self._name, derive_seed(self._seed, trial.number))
        return self._relative.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the parameters that are drawn together, again if that point was tried before."""
        drawn = self._relative.sample_relative(study, trial, search_space)
        if self._name != "tpe" or not drawn:
            return drawn
        drawn |= self._branch(study, trial, search_space, 0)
        for redraw in range(REDRAWS + RANDOM_REDRAWS):
            if not _is_tried(study, trial, drawn):
                break
            name: SamplerName = "tpe" if redraw < REDRAWS else "random"
            seed = derive_seed(self._seed, trial.number, "again", redraw)
            sampler = make_sampler(name, seed, candidates=AGAIN)
            if name == "tpe":
                drawn = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))
            else:
                drawn = {
                    path: sampler.sample_independent(study, trial, path, distribution)
                    for path, distribution in search_space.items()
                }
            drawn |= self._branch(study, trial, search_space, redraw + 1)
        return drawn

    def _branch(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution], draw: int
    ) -> dict[str, Any]:
        """The architecture at random, where it is this trial's turn; else the generator by what each promises."""
        seed = derive_seed(self._seed, trial.number, "branch", draw)
        if derive_seed(self._seed, trial.number, "turn") % EVERY:
            promises = _promises(study, search_space)
            names = list(promises)
            return {GENERATOR: Random(seed).choices(names, [promises[name] for name in names])[0]} if names else {}
        sampler = RandomSampler(seed=seed)
        return {
            path: sampler.sample_independent(study, trial, path, search_space[path])
            for path in BRANCHES
            if path in search_space
        }

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter by itself."""
        sampler = make_sampler(self._name, derive_seed(self._seed, trial.number, param_name))
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def make_sampler(name: SamplerName, seed: int, *, candidates: int = CANDIDATES) -> BaseSampler:
    """Optuna's sampler of that name; TPE with conditional parameters (`group`) and a mind for what runs.

    A grid's points are queued whole (see `grid`); what a named trial leaves open is drawn at random then.
    """
    if name in ("random", "grid"):
        return RandomSampler(seed=seed)
    if name == "nsga2":
        return NSGAIISampler(population_size=POPULATION, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _BranchwiseTPE(seed=seed, multivariate=True, group=True, constant_liar=True, n_ei_candidates=candidates)


def _promises(study: Study, search_space: Mapping[str, BaseDistribution]) -> dict[Any, float]:
    """By how much each generator promises to improve on the best trial so far.

    That is the expected improvement, if the scores of a generator's trials are normally distributed (Jones, Schonlau
    and Welch, J. Global Optimization 13, 1998). TPE prefers what most of the best tenth have; a generator that always
    scores nearly the same, as forests do, may have all of these without any hope of one that is better.

    Returns:
        Nothing where several objectives are searched, or no generator has `JUDGED` completed trials; one that has not
        promises as much as the best of the others.
    """
    choices = getattr(search_space.get(GENERATOR), "choices", ())
    scores: dict[Any, list[float]] = {name: [] for name in choices}
    if len(study.directions) == 1:
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            scores.setdefault(trial.params.get(GENERATOR), []).append(sign * cast(float, trial.value))
    best = max((max(values) for values in scores.values() if values), default=0.0)
    found = {name: _improvement(scores[name], best) for name in choices if len(scores[name]) >= JUDGED}
    most = max(found.values(), default=0.0)
    return {name: found.get(name, most) + LEAST_PROMISE for name in choices} if found else {}


def _improvement(scores: Sequence[float], best: float) -> float:
    """By how much the next of normally distributed scores will exceed the best on average."""
    spread = max(stdev(scores), LEAST_PROMISE)
    distance = (fmean(scores) - best) / spread
    normal = NormalDist()
    return spread * (distance * normal.cdf(distance) + normal.pdf(distance))


class _BranchwiseTPE(TPESampler):
    """TPE that draws the parameters of a branch after the best trials of that branch.

    Optuna's own takes the best tenth of all trials, whatever parameters they have. Where all of these are forests, it
    knows no good network, and draws networks that are unlike every one that was tried, the good ones too.
    """

    def _sample(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        among = cast(Study, _Among(study, search_space.keys()))
        return super()._sample(among, trial, search_space)


class _Among:
    """A study of those of its trials alone that have certain parameters, and that no other went on with."""

    def __init__(self, study: Study, paths: Collection[str]) -> None:
        self._study, self._paths = study, frozenset(paths)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, *arguments: Any, **options: Any) -> list[FrozenTrial]:
        trials = self._study._get_trials(*arguments, **options)
        continued = continued_trials(trials)
        return [trial for trial in trials if self._paths <= trial.params.keys() and trial.number not in continued]


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2^32) that depends on every part."""
    return int(digest(list(parts))[:8], 16)


def _is_tried(study: Study, trial: FrozenTrial, drawn: Mapping[str, Any]) -> bool:
    """Whether another trial, which was not lost, has this point.

    What is drawn has parameters of every branch of the space, but none of those that can have one value alone. A trial
    that agrees in all of its own went the same way, because what exists depends on values alone.
    """
    others = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING))
    return any(other.params and other.number != trial.number and _agrees(other, drawn) for other in others)


def _agrees(other: FrozenTrial, drawn: Mapping[str, Any]) -> bool:
    return all(
        drawn[path] == value if path in drawn else other.distributions[path].single()
        for path, value in other.params.items()
    )
