"""`--set key=value`: what is set on top of a space file, for one sweep."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from mrisynth.errors import InvalidInputError, UsageError
from mrisynth.search.dimensions import Condition, parse_conditions
from mrisynth.search.parameters import flattened
from mrisynth.search.settings import Settings
from mrisynth.search.space_file import plain_value
from mrisynth.training.config import parameters
from mrisynth.training.parameters import closest

_NESTED = (*Settings.model_fields, "trials", "published")


def parse_overrides(given: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Overrides by key: from `key=value` texts (the value is YAML), or as they were kept.

    Raises:
        UsageError: a text has no `=`.
        InvalidInputError: a value is not YAML.
    """
    if isinstance(given, Mapping):
        return dict(given)
    overrides: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: write KEY=VALUE, like --set epochs=3")
        overrides[key.strip()] = plain_value(value, f"--set {key.strip()}")
    return overrides


def overridden(data: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A space's content with one key set.

    `budget.trials`, `sampler` and the like are set where they stand. A parameter's path (or `fixed.<path>`) is fixed
    and no longer searched; `search.<path>` is searched and no longer fixed. What can then never exist is left out:
    with `generator=unet` there is nothing to search in `dcgan`.

    Raises:
        InvalidInputError: there is no such key.
    """
    changed = deepcopy(dict(data))
    section, _, path = key.partition(".")
    if section in _NESTED:
        _set_nested(changed, key.split("."), value)
        return changed
    if section not in ("fixed", "search"):
        section, path = "fixed", key
    if path not in parameters():
        known = {
            **dict.fromkeys(_NESTED),
            **dict.fromkeys(f"budget.{name}" for name in ("trials", "hours")),
            **parameters(),
        }
        raise InvalidInputError(f"--set {key}: unknown parameter '{path}'; {closest(path, known)}")
    changed["fixed"] = flattened(changed.get("fixed") or {})
    changed["search"] = dict(changed.get("search") or {})
    for other in ("fixed", "search"):
        changed[other].pop(path, None)
    changed[section][path] = value
    values = [value] if section == "fixed" else _choices(value)
    if values is not None:
        _drop_impossible(changed, path, values)
    return changed


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
