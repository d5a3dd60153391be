"""The complete configurations that a space carries under `trials`, and those that run first (`published`)."""

from collections.abc import Mapping
from typing import Any

from mrisynth.search.domains import show
from mrisynth.search.space_file import Mistakes, did_you_mean
from mrisynth.search.yaml_document import Place
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
    failures: dict[str, InvalidConfigError] = {}
    for name, mapping in (trials or {}).items():
        try:
            configs[name] = TrialConfig.parse(mapping)
        except InvalidConfigError as error:
            failures[name] = error
    _note(failures, mistakes)
    if published is None:
        return configs, None
    if not isinstance(published, list):
        mistakes.add(("published",), f"'published' is {show(published)}; it must be a list of names, like [a, b]")
        return configs, None
    _check_names(published, list(trials or {}), mistakes)
    return configs, tuple(name for name in published if name in configs)


def named_sizes(trials: Mapping[str, TrialConfig]) -> list[dict[str, Any]]:
    """Each named configuration with the number of trainable parameters of its networks.

    They are None where there is no adversary, and of a forest, whose size shows when it is grown.
    """
    return [{"name": name, **_sizes(config), "config": config.dump()} for name, config in trials.items()]


def _sizes(config: TrialConfig) -> dict[str, Any]:
    generator, adversary = config.count_parameters()
    return {
        "generator": config.generator.name,
        "adversary": config.adversary.name if config.adversary else "none",
        "generator_parameters": generator,
        "adversary_parameters": adversary,
    }


def _note(failures: Mapping[str, InvalidConfigError], mistakes: Mistakes) -> None:
    """Note why trials are not legal; what an override did to several of them alike is one mistake."""
    alike: dict[tuple[str, str], list[tuple[str, Place]]] = {}
    for name, error in failures.items():
        place = ("trials", name, *filter(None, error.path.split(".")))
        source = mistakes.override(place) or name
        alike.setdefault((source, str(error)), []).append((name, place))
    for (_, sentence), found in alike.items():
        names = ", ".join(name for name, _ in found)
        mistakes.add(found[0][1], f"trial{'s' if len(found) > 1 else ''} {names}: {sentence}")


def _check_names(published: list[Any], names: list[str], mistakes: Mistakes) -> None:
    for position, name in enumerate(published):
        place: Place = ("published", position)
        if name not in names:
            known = did_you_mean(name, names) if names else "; there are none: write configurations under 'trials'"
            mistakes.add(place, f"unknown trial {show(name)}{known}")
        elif name in published[:position]:
            mistakes.add(place, f"trial {name} stands twice")
