"""The complete configurations that a space carries under `trials`, and those that run first (`published`)."""

from collections.abc import Mapping
from typing import Any

from mrisynth.models import count_parameters
from mrisynth.search.domains import show
from mrisynth.search.space_file import Mistakes, Place, did_you_mean
from mrisynth.training.config import TrialConfig
from mrisynth.training.parameters import InvalidConfigError


def read_named_trials(
    trials: Any, published: Any, *, mistakes: Mistakes
) -> tuple[dict[str, TrialConfig], tuple[str, ...] | None]:
    """The configurations by name, and the names under `published` (None where there is no such key)."""
    configs: dict[str, TrialConfig] = {}
    if trials is not None and not isinstance(trials, dict):
        mistakes.add(("trials",), f"'trials' is {show(trials)}; it must be a mapping of names to configurations")
        trials = {}
    for name, mapping in (trials or {}).items():
        try:
            configs[name] = TrialConfig.parse(mapping)
        except InvalidConfigError as error:
            mistakes.add(("trials", name, *filter(None, error.path.split("."))), f"trial {name}: {error}")
    if published is None:
        return configs, None
    if not isinstance(published, list):
        mistakes.add(("published",), f"'published' is {show(published)}; it must be a list of names")
        return configs, None
    _check_names(published, list(trials or {}), mistakes)
    return configs, tuple(name for name in published if name in configs)


def named_sizes(trials: Mapping[str, TrialConfig]) -> list[dict[str, Any]]:
    """Each named configuration with the number of trainable parameters of its networks (None without an adversary)."""
    return [{"name": name, **_sizes(config), "config": config.dump()} for name, config in trials.items()]


def _sizes(config: TrialConfig) -> dict[str, Any]:
    generator = count_parameters(config.generator.build())
    adversary = count_parameters(config.adversary.build(config.patches.size)) if config.adversary else None
    return {
        "generator": config.generator.name,
        "adversary": config.adversary.name if config.adversary else "none",
        "generator_parameters": generator,
        "adversary_parameters": adversary,
    }


def _check_names(published: list[Any], names: list[str], mistakes: Mistakes) -> None:
    for position, name in enumerate(published):
        place: Place = ("published", position)
        if name not in names:
            mistakes.add(place, f"unknown trial {show(name)}{did_you_mean(name, names)}")
        elif name in published[:position]:
            mistakes.add(place, f"trial {name} stands twice")
