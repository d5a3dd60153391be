"""A space: what a sweep searches, on what terms; read from a YAML file that is checked before anything starts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mrisynth.results.constraints import Bound, bounds
from mrisynth.search.constraints import Limit
from mrisynth.search.dimensions import Dimension
from mrisynth.search.domains import Suggests, encode, show
from mrisynth.search.feasibility import Feasibility, Infeasible, check_sizes, try_out
from mrisynth.search.named_trials import named_sizes, read_named_trials
from mrisynth.search.overrides import overridden, parse_overrides, set_in_trials
from mrisynth.search.parameters import Parameters, flattened, nested, read_parameters
from mrisynth.search.settings import Budget, Direction, Halving, Resources, SamplerName, read_settings
from mrisynth.search.space_check import check_feasibility, check_grid, check_sections, has_misspelt_section
from mrisynth.search.space_file import Mistakes, SpaceFile, find_space, read_space_file, read_space_text
from mrisynth.search.stand_ins import GivenTrial, RandomTrial
from mrisynth.shipped import search_spaces
from mrisynth.training.config import FOREST, TrialConfig
from mrisynth.training.losses import LOSSES
from mrisynth.training.parameters import InvalidConfigError


@dataclass(frozen=True, slots=True)
class Encoding:
    """A configuration as a point of a space's study.

    Args:
        params: what `study.enqueue_trial` takes; None where a searched parameter does not fit.
        misfits: one sentence for each searched parameter that does not fit.
        differences: one sentence for each other parameter that the space itself would have set otherwise.
    """

    params: dict[str, Any] | None
    misfits: tuple[str, ...]
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A checked space.

    Args:
        file: the file it was read from, with its exact text, and what was set on top of it.
        description: one line that says what the space is for.
        objectives: metric -> direction; the first one leads, all of them decide in the pruner.
        constraints: metric or size of a network -> the bounds within which it is wanted.
        budget: how much a sweep may spend.
        sampler: who suggests the next trial.
        pruner: who stops hopeless trials, if anybody.
        resources: what one trial occupies.
        parameters: what is fixed and what is searched.
        trials: name -> complete configuration.
        published: those of `trials` that run first, exactly as they are, in this order.
        warnings: what is legal and probably not meant, one sentence each.
        feasibility: what became of some random suggestions.
    """

    file: SpaceFile
    description: str
    objectives: Mapping[str, Direction]
    constraints: Mapping[str, Limit]
    budget: Budget
    sampler: SamplerName
    pruner: Halving | None
    resources: Resources
    parameters: Parameters
    trials: Mapping[str, TrialConfig]
    published: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    feasibility: Feasibility = field(default_factory=Feasibility)

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return Path(self.file.name).stem

    @property
    def text(self) -> str:
        """The file, exactly as it was read."""
        return self.file.text

    @property
    def overrides(self) -> dict[str, Any]:
        """What was set on top of the file; `with_overrides` takes it again."""
        return dict(self.file.overrides)

    @property
    def fixed(self) -> dict[str, Any]:
        """Dotted path -> value of every parameter that is fixed (where it exists)."""
        return self.parameters.fixed

    @property
    def limits(self) -> dict[str, dict[str, float]]:
        """The constraints as in a space file."""
        return {name: limit.model_dump(exclude_none=True) for name, limit in self.constraints.items()}

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The constraints one by one."""
        return bounds(self.limits)

    @property
    def search(self) -> dict[str, Dimension]:
        """Dotted path -> dimension of every searched parameter; empty where a space has trials only."""
        return {dimension.path: dimension for dimension in self.parameters.searched}

    @property
    def has_forests(self) -> bool:
        """Whether a trial may be a forest."""
        searched = self.search.get("generator")
        suggested = searched.domain.contains(FOREST) if searched else self.fixed.get("generator") == FOREST
        return suggested or any(self.trials[name].family == FOREST for name in self.published)

    def suggest(self, trial: Suggests) -> dict[str, Any]:
        """Ask a trial for every searched parameter that exists, each after those it depends on.

        Asked again of the same stored trial it answers the same, and draws only what the trial does not have yet: so a
        trial that was left half asked is completed.

        Args:
            trial: an `optuna.trial.BaseTrial`.

        Returns:
            A complete configuration in the flat form, every default spelled out; `TrialConfig.parse` takes it.

        Raises:
            Infeasible: it cannot be trained, or its networks are beyond a bound of the space. Every parameter has been
                asked for.
        """
        suggested = nested(self.parameters.suggest(trial))
        try:
            config = TrialConfig.parse(suggested)
        except InvalidConfigError as error:
            raise Infeasible(str(error), suggested) from None
        check_sizes(config, self.bounds, suggested)
        return config.dump()

    def encode(self, config: TrialConfig) -> Encoding:
        """A configuration as a point of this space's study, or why it is none."""
        values = _with_weights(config.dump())
        params: dict[str, Any] = {}
        misfits: list[str] = []
        for path, dimension in self.search.items():
            if not dimension.exists({**self.parameters.defaults, **values}):
                continue
            value = values.get(path)
            params[path] = encode(value)
            if not dimension.domain.contains(value):
                misfits.append(f"{path} is {_or_absent(values, path)}; the space has {dimension.domain}")
        if misfits:
            return Encoding(None, tuple(misfits), ())
        try:
            return Encoding(params, (), self._differences(values, params))
        except Infeasible as error:
            return Encoding(None, (f"the space cannot make it of these parameters: {error}",), ())

    def describe(self) -> dict[str, dict[str, str]]:
        """Each searched parameter in words: path -> {"values", "when"}."""
        return {
            path: {"values": str(dimension.domain), "when": ", ".join(map(str, dimension.conditions))}
            for path, dimension in self.search.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """The whole space as JSON values, with implied conditions spelled out."""
        return {
            "name": self.name,
            "description": self.description,
            "objectives": dict(self.objectives),
            "constraints": self.limits,
            "budget": self.budget.model_dump(mode="json"),
            "sampler": self.sampler,
            "pruner": {"halving": self.pruner.model_dump(mode="json")} if self.pruner else "none",
            "resources": self.resources.model_dump(mode="json"),
            "fixed": self.fixed,
            "search": {path: dimension.to_dict() for path, dimension in self.search.items()},
            "trials": {name: config.dump() for name, config in self.trials.items()},
            "published": list(self.published),
        }

    def _differences(self, values: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[str, ...]:
        """Where a configuration is not what the space makes of its searched parameters."""
        made = _with_weights(self.suggest(GivenTrial(params)))
        paths = dict.fromkeys([*values, *made])
        return tuple(
            f"{path} is {_or_absent(values, path)}; the space has {_or_absent(made, path)}"
            for path in paths
            if values.get(path) != made.get(path)
        )


def load_space(path: str | Path) -> Space:
    """Read and check a space.

    Args:
        path: a YAML file, or the name of a shipped space ("smoke").

    Raises:
        NotFoundError: there is no such file, or no shipped space of that name.
        InvalidInputError: there are mistakes in it; one line for each, with its line in the file and its remedy.
    """
    found = find_space(path)
    return parse_space(read_space_text(found), found.name)


def parse_space(text: str, name: str) -> Space:
    """Check a space's text; `name` is what messages call it, like "gan.yaml"."""
    return _checked(read_space_file(text, name))


def with_overrides(space: Space, overrides: Iterable[str] | Mapping[str, Any]) -> Space:
    """The same space with some keys set, checked again.

    Args:
        space: as it was loaded.
        overrides: `key=value` texts, or key -> value. A key is a parameter (fixed from now on, and set in every named
            trial that runs and has it), `search.<parameter>` (searched from now on), or a setting like `budget.trials`.

    Raises:
        UsageError: a text is not `key=value`.
        InvalidInputError: a key is unknown, or nothing has it, or a value is not legal.
    """
    data, given = space.file.data, parse_overrides(overrides)
    for key, value in given.items():
        data = overridden(data, key, value)
    kept = {**space.overrides, **given}
    return _checked(SpaceFile(space.file.name, space.text, data, space.file.positions, kept)) if given else space


def list_spaces() -> dict[str, str]:
    """Name -> description of every shipped space."""
    return {path.stem: load_space(path).description for path in sorted(search_spaces().glob("*.yaml"))}


def trial_sizes(space: Space) -> list[dict[str, Any]]:
    """Each named trial: name, generator, adversary, generator_parameters, adversary_parameters (or None), config."""
    return named_sizes(space.trials)


def sample_configs(space: Space, count: int, *, seed: int = 0) -> list[TrialConfig]:
    """Random configurations, as a random sampler would suggest them; what is infeasible is drawn again.

    Args:
        space: with something to search.
        count: how many.
        seed: the same seed gives the same configurations.
    """
    trial, configs = RandomTrial(seed), list[TrialConfig]()
    while len(configs) < count:
        try:
            configs.append(TrialConfig.parse(space.suggest(trial)))
        except Infeasible:
            continue
    return configs


def _checked(file: SpaceFile) -> Space:
    """The space in a file, or InvalidInputError with all its mistakes."""
    data, mistakes = file.data, Mistakes(file)
    settings = read_settings(data, mistakes)
    if has_misspelt_section(data):
        mistakes.refuse()  # that it is missing would be noted again
    trials, published = read_named_trials(data.get("trials"), data.get("published"), mistakes=mistakes)
    parameters = Parameters()
    if data.get("search") or not data.get("trials"):
        parameters = read_parameters(data.get("fixed"), data.get("search"), mistakes=mistakes)
        check_sections(data, settings, mistakes=mistakes)
    elif data.get("fixed"):
        mistakes.add(
            ("fixed",), "'fixed' changes nothing, because nothing is searched and named trials run as they are"
        )
    if settings.sampler == "grid":
        check_grid(parameters, mistakes)
    mistakes.refuse()
    if published is None:
        published = () if parameters.searched else tuple(trials)
    if not published and not parameters.searched:
        mistakes.add(("published",), "'published' is empty and nothing is searched, so that no trial would run")
    space = Space(file=file, **dict(settings), parameters=parameters, trials=trials, published=published)
    if space.search:
        space = replace(space, feasibility=try_out(space.suggest))
        check_feasibility(space.feasibility, space.bounds, mistakes=mistakes)
    mistakes.refuse()
    return replace(space, warnings=(*mistakes.warnings, *_changes(file)))


def _changes(file: SpaceFile) -> list[str]:
    """A warning if named trials do not run as the file has them."""
    changed = ", ".join(f"{path}={show(value)}" for path, value in set_in_trials(file.overrides, file.data).items())
    return [f"named trials are not run exactly as published: {changed}"] if changed else []


def _with_weights(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration by dotted path; the weight of a loss that it does not name is 0."""
    return {f"losses.{name}": 0.0 for name in LOSSES} | flattened(config)


def _or_absent(values: Mapping[str, Any], path: str) -> str:
    return show(values[path]) if path in values else "not given"
