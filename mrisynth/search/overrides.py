"""`--set key=value`: what is set on top of a space file, for one sweep."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from mrisynth.errors import InvalidInputError, UsageError
from mrisynth.search.dimensions import Condition, parse_conditions
from mrisynth.search.domains import Constant
from mrisynth.search.parameters import flattened, read_parameters
from mrisynth.search.settings import Budget, Settings
from mrisynth.search.space_file import Mistakes, SpaceFile
from mrisynth.search.trial_mapping import exists_in, with_parameter
from mrisynth.search.yaml_document import plain_value
from mrisynth.training.config import parameters
from mrisynth.training.parameters import closest

_NESTED = (*Settings.model_fields, "trials", "published")
_PATHS = ("perceptual.weights",)
"""Parameters that name a file."""


def parse_overrides(given: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Overrides by key: from `key=value` texts (the value is YAML), or as they were kept.

    Raises:
        UsageError: a text has no `=`.
        InvalidInputError: a value is not YAML.
    """
    overrides = given if isinstance(given, Mapping) else dict(map(_parse, given))
    return dict(sorted(overrides.items(), key=lambda item: _turn(item[0])))


def overridden(data: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A space's content with one key set.

    `budget.trials`, `sampler` and the like are set where they stand. A parameter's path (or `fixed.<path>`) is fixed
    and no longer searched, and set in every named trial that runs and has it; `search.<path>` is searched and no longer
    fixed. What can then never exist is left out: with `generator=unet` there is nothing to search in `dcgan`.

    Raises:
        InvalidInputError: there is no such key, or nothing that the space runs has it.
    """
    changed = deepcopy(dict(data))
    section, _, path = key.partition(".")
    if section in _NESTED:
        _set_nested(changed, key.split("."), value)
        return changed
    if section not in ("fixed", "search"):
        section, path = "fixed", key
    if path not in parameters():
        raise InvalidInputError(f"--set {key}: unknown parameter '{path}'; {closest(path, _known())}")
    if section == "fixed" and not _set_in_trials(changed, path, value) and not changed.get("search"):
        raise InvalidInputError(f"--set {key}: none of the trials has {path}: {', '.join(running_trials(changed))}")
    if section == "search" or _belongs_to_search(changed, path):
        _set_in_search(changed, section, path, value)
    return changed


def set_in_trials(overrides: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Those overrides that changed what the named trials of a space train and score.

    Args:
        overrides: by key.
        data: the space's content with them.
    """
    trials = running_trials(data).items()
    changed: dict[str, Any] = {}
    for key, value in overrides.items():
        path = key.removeprefix("fixed.")
        own = any(key == f"trials.{name}" or key.startswith(f"trials.{name}.") for name, _ in trials)
        if own or (path in parameters() and path not in _PATHS and any(exists_in(t, path) for _, t in trials)):
            changed[path] = value
    return changed


def running_trials(data: Mapping[str, Any]) -> dict[str, Any]:
    """The named trials that a space runs, by name, as the file has them."""
    trials, published = data.get("trials"), data.get("published")
    if not isinstance(trials, dict):
        return {}
    if isinstance(published, list):
        return {name: trials[name] for name in published if isinstance(name, str) and name in trials}
    return {} if data.get("search") else trials


def _parse(text: str) -> tuple[str, Any]:
    """Key and value of a `key=value`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: write KEY=VALUE, like --set epochs=3")
    key = key.strip()
    return key, _absolute(key, plain_value(value, f"--set {key}"))


def _absolute(key: str, value: Any) -> Any:
    """A file as it is found from anywhere: workers run in other folders."""
    if not key.endswith(_PATHS):
        return value
    if isinstance(value, list):
        return [_absolute(key, each) for each in value]
    return str(Path(value).expanduser().absolute()) if isinstance(value, str) else value


def _turn(key: str) -> int:
    """When a key is set: first which trials run, then what is set for all, then for one, then files."""
    if key.endswith(_PATHS):
        return 3
    return {"published": 0, "trials": 2}.get(key.partition(".")[0], 1)


def _known() -> dict[str, Any]:
    """Everything that can be set."""
    return {
        **dict.fromkeys(_NESTED),
        **dict.fromkeys(f"budget.{name}" for name in Budget.model_fields),
        **parameters(),
    }


def _set_in_trials(data: dict[str, Any], path: str, value: Any) -> bool:
    """Set a parameter in every named trial that runs and has it; whether there is any."""
    having = [name for name, trial in running_trials(data).items() if exists_in(trial, path)]
    for name in having:
        if path not in _PATHS or _is_perceptual(data["trials"][name]):
            data["trials"][name] = with_parameter(data["trials"][name], path, value)
    return bool(having)


def _is_perceptual(trial: Mapping[str, Any]) -> bool:
    """Whether a named trial minimises the loss that a file is for: no other trial becomes another one by its place."""
    return bool((trial.get("losses") or {}).get("perceptual"))


def _belongs_to_search(data: Mapping[str, Any], path: str) -> bool:
    """Whether a parameter is for the search: it may have it, or nothing has it, which the check then says."""
    if not data.get("search"):
        return False
    if not any(exists_in(trial, path) for trial in running_trials(data).values()):
        return True
    unread = Mistakes(SpaceFile("", "", {}, {}))  # they are found again when the space is checked
    found = {d.path: d.domain for d in read_parameters(data.get("fixed"), data["search"], mistakes=unread).dimensions}
    return all(
        condition.can_hold(found.get(condition.path) or Constant(parameters()[condition.path].default))
        for condition in parse_conditions(parameters()[path].condition)
    )


def _set_in_search(data: dict[str, Any], section: str, path: str, value: Any) -> None:
    data["fixed"] = flattened(data.get("fixed") or {})
    data["search"] = dict(data.get("search") or {})
    for other in ("fixed", "search"):
        data[other].pop(path, None)
    data[section][path] = value
    values = [value] if section == "fixed" else _choices(value)
    if values is not None:
        _drop_impossible(data, path, values)


def _set_nested(data: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(data.get(key), dict):
            data[key] = {}
        data = data[key]
    data[keys[-1]] = value


def _choices(spec: Any) -> list[Any] | None:
    """The values of a choice, or None for a range."""
    if isinstance(spec, dict):
        spec = spec.get("choice")
    return spec if isinstance(spec, list) else None


def _drop_impossible(data: dict[str, Any], path: str, values: list[Any]) -> None:
    """Leave out what cannot exist where the parameter at `path` has only these values, and what depends on that."""
    for section in ("fixed", "search"):
        for other, spec in list(data[section].items()):
            if other not in data[section] or other not in parameters():
                continue  # it depended on what has just been left out, or is a mistake, which the check names
            when = spec.get("when") if section == "search" and isinstance(spec, dict) else None
            conditions = parse_conditions(parameters()[other].condition) + parse_conditions(when or {})
            mine = [condition for condition in conditions if condition.path == path]
            if any(not any(map(condition.accepts, values)) for condition in mine):
                del data[section][other]
                _drop_impossible(data, other, [])
            elif when and path in when:
                data[section][other] = {**spec, "when": _without(when, parse_conditions({path: when[path]})[0], values)}


def _without(when: Mapping[str, Any], condition: Condition, values: list[Any]) -> dict[str, Any]:
    """A `when` without the values of one of its conditions that no longer occur."""
    occurring = tuple(v for v in condition.values if any(Condition(condition.path, (v,)).accepts(x) for x in values))
    kept = Condition(condition.path, occurring, condition.negated).to_dict() if occurring else {}
    return {**{name: accepted for name, accepted in when.items() if name != condition.path}, **kept}
