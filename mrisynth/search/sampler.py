"""The sampler of a study, made repeatable: what it suggests depends on the seed, the trial and the study alone."""

import warnings
from typing import Any, Literal

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from mrisynth.files import digest

Name = Literal["tpe", "random"]


class SeededSampler(BaseSampler):
    """Optuna's sampler, seeded anew from (seed, trial number) for each trial, and again for each single parameter.

    A search that was killed and resumed thus suggests what an undisturbed one would, even where the kill fell between
    two parameters of one trial: those already stored are not drawn again, and the others do not notice.
    """

    def __init__(self, name: Name, seed: int) -> None:
        self._name: Name = name
        self._seed = seed
        self._relative: BaseSampler = make_sampler(name, seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are drawn together."""
        self._relative = make_sampler(self._name, derive_seed(self._seed, trial.number))
        return self._relative.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the parameters that are drawn together."""
        return self._relative.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter by itself."""
        sampler = make_sampler(self._name, derive_seed(self._seed, trial.number, param_name))
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def make_sampler(name: Name, seed: int) -> BaseSampler:
    """Optuna's sampler of that name; TPE with conditional parameters (`group`) and a mind for what runs."""
    if name == "random":
        return RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2^32) that depends on every part."""
    return int(digest(list(parts))[:8], 16)
