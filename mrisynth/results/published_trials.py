"""The settings of the published trials, also of those that a sweep did not run; told without torch.

The shipped space says what the paper says; the rest are defaults, which the schema of configurations in the sweep's
manifest holds.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from mrisynth.results.differences import PREFIX, Row
from mrisynth.results.records import flatten
from mrisynth.results.store import read_yaml
from mrisynth.shipped import search_spaces


def not_run(schema: Mapping[str, Any], ran: Iterable[str]) -> list[Row]:
    """The published trials that did not run, as rows of the index's table: with settings, and without a number.

    Args:
        schema: the JSON Schema of a configuration, as the manifest has it; an empty one knows no defaults, so that
            nothing can be compared.
        ran: the names of the trials that ran.
    """
    if not schema.get("properties"):
        return []
    without = set(ran)
    return [_row(name, complete(config, schema)) for name, config in _published().items() if name not in without]


def complete(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the defaults of everything that it uses and does not give.

    Args:
        config: in the flat form.
        schema: the JSON Schema of that form; what it does not know is left out.
    """
    properties = schema["properties"]
    chosen = {name: config.get(name, part.get("default")) for name, part in properties.items() if "enum" in part}
    return dict(_completed(config, {name: part for name, part in properties.items() if _used(part, chosen)}))


def _completed(config: Mapping[str, Any], parts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, part in parts.items():
        if "properties" in part and name in config:
            defaults = {key: each["default"] for key, each in part["properties"].items() if "default" in each}
            value = {**defaults, **config[name]}
        else:
            value = config.get(name, part.get("default"))
        if isinstance(value, Mapping):
            value = {key: each for key, each in value.items() if each is not None}
        if value is not None:
            yield name, value


def _used(part: Mapping[str, Any], chosen: Mapping[str, Any]) -> bool:
    """Whether a part of a configuration exists under the choices of a generator and of an adversary."""
    return all(
        chosen[name] != wanted["not"] if isinstance(wanted, Mapping) else chosen[name] == wanted
        for name, wanted in part.get("condition", {}).items()
    )


def _row(name: str, config: Mapping[str, Any]) -> Row:
    settings = {f"{PREFIX}{path}": _cell(value) for path, value in flatten(config)}
    return {"trial": None, "name": name, "generator": config.get("generator"), **settings}


def _cell(value: Any) -> Any:
    """A setting as the index's table has it."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | list) else float(value)


@cache
def _published() -> Mapping[str, Mapping[str, Any]]:
    trials: dict[str, dict[str, Any]] = read_yaml(search_spaces() / "published.yaml")["trials"]
    return trials
