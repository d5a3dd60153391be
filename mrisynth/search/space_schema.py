"""The JSON Schema of a space file, for editors: what may stand where, with what it means.

Everything is read off the models that check a space. A schema cannot say all that the check says (what can never have
an effect, what cannot be trained), so that a file that an editor takes may still be refused; the reverse may not be.
"""

from collections.abc import Mapping
from typing import Any

from mrisynth.results.constraints import SIZES
from mrisynth.search.settings import Halving, Settings
from mrisynth.training.config import json_schema, parameters
from mrisynth.training.metrics import METRICS
from mrisynth.training.parameters import Parameter

Schema = dict[str, Any]

_WORDS = {
    "fixed": "Parameters that every trial has, wherever they apply.",
    "search": "Parameters that differ from trial to trial: dotted path -> a list of values, or a range.",
    "trials": "Complete configurations by name; they run exactly as written.",
    "published": "Names from 'trials' that run first.",
}
_KINDS = {"int": "integer", "float": "number", "bool": "boolean", "str": "string", "list": "array"}


def space_schema() -> Schema:
    """The JSON Schema of a space file, in draft 7: later ones are not understood by every editor."""
    trial = {"dependencies" if key == "dependentSchemas" else key: value for key, value in json_schema().items()}
    del trial["$schema"]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "mrisynth search space",
        "type": "object",
        "properties": {
            **_settings(),
            "fixed": {**_fixed(), "description": _WORDS["fixed"]},
            "search": {**_search(), "description": _WORDS["search"]},
            "trials": {
                "type": "object",
                "description": _WORDS["trials"],
                "additionalProperties": _reference("trial"),
            },
            "published": {
                "type": "array",
                "description": _WORDS["published"],
                "items": {"type": "string"},
                "uniqueItems": True,
            },
        },
        "anyOf": [{"required": ["search", "budget"]}, {"required": ["trials"]}],
        "dependencies": {"search": ["budget"]},
        "additionalProperties": False,
        "definitions": {
            "trial": _without_titles(trial),
            "when": _when(),
            **{path: _value(parameter) for path, parameter in parameters().items()},
        },
    }


def _settings() -> Schema:
    """What a space says besides its parameters."""
    full = Settings.model_json_schema()
    settings: Schema = _inlined(full["properties"], full.get("$defs", {}))
    settings["objectives"] = {
        "type": "object",
        "description": settings["objectives"]["description"],
        "properties": {
            name: {"const": metric.direction, "description": metric.description} for name, metric in METRICS.items()
        },
        "minProperties": 1,
        "additionalProperties": False,
    }
    limit = {key: value for key, value in settings["constraints"]["additionalProperties"].items() if key != "title"}
    described = {**{name: metric.description for name, metric in METRICS.items()}, **SIZES}
    settings["constraints"] = {
        "type": "object",
        "description": settings["constraints"]["description"],
        "properties": {name: {**limit, "description": text, "minProperties": 1} for name, text in described.items()},
        "additionalProperties": False,
    }
    halving = {key: value for key, value in Halving.model_json_schema().items() if key != "title"}
    settings["pruner"] = {
        "description": settings["pruner"]["description"],
        "anyOf": [
            {"const": "none"},
            {
                "type": "object",
                "properties": {"halving": halving},
                "required": ["halving"],
                "additionalProperties": False,
            },
        ],
    }
    return {name: _without_titles(setting) for name, setting in settings.items()}


def _fixed() -> Schema:
    """Every parameter by its dotted path, or in a block of its name."""
    properties: Schema = {}
    for path in parameters():
        properties[path] = _reference(path)
        block, _, name = path.rpartition(".")
        if block:
            nested = {"type": "object", "properties": {}, "additionalProperties": False, "minProperties": 1}
            properties.setdefault(block, nested)["properties"][name] = _reference(path)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _search() -> Schema:
    properties = {path: _domain(path, parameter) for path, parameter in parameters().items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _domain(path: str, parameter: Parameter) -> Schema:
    """A list of values, or a mapping with `choice`, or with the range that the parameter takes."""
    values = {"type": "array", "items": _reference(path), "minItems": 1}
    when = _reference("when")
    forms: list[Schema] = [
        values,
        {
            "type": "object",
            "properties": {"choice": values, "when": when},
            "required": ["choice"],
            "additionalProperties": False,
        },
    ]
    if parameter.type in ("int", "float") and parameter.choices is None:
        number: Schema = {"type": _KINDS[parameter.type], "exclusiveMinimum": 0}
        ends = {**values, "minItems": 2, "maxItems": 2, "description": "The least and the most, both included."}
        forms.append(
            {
                "type": "object",
                "properties": {
                    parameter.type: ends,
                    "log": {"type": "boolean", "description": "As many trials between 1 and 10 as between 10 and 100."},
                    "step": {**number, "description": "Only low, low + step, ...; not together with log."},
                    "when": when,
                },
                "required": [parameter.type],
                "additionalProperties": False,
            }
        )
    return {"description": _described(parameter), "anyOf": forms}


def _when() -> Schema:
    """Conditions: parameter -> a value, some values, or {not: a value or values}."""
    properties: Schema = {}
    for path in parameters():
        one = _reference(path)
        some = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
        negated = {
            "type": "object",
            "properties": {"not": some},
            "required": ["not"],
            "additionalProperties": False,
        }
        properties[path] = {"anyOf": [*some["anyOf"], negated]}
    return {
        "type": "object",
        "description": "The parameter exists only where all of this holds.",
        "properties": properties,
        "additionalProperties": False,
    }


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _value(parameter: Parameter) -> Schema:
    """One legal value, with its meaning and its default."""
    default = {} if parameter.default is None else {"default": parameter.default}
    return {"description": _described(parameter), **default, **_bare(parameter)}


def _bare(parameter: Parameter) -> Schema:
    """One legal value."""
    if parameter.choices is not None:
        return {"enum": [*parameter.choices, *([None] if parameter.optional else [])]}
    bounds = {
        "minimum": parameter.ge,
        "exclusiveMinimum": parameter.gt,
        "maximum": parameter.le,
        "exclusiveMaximum": parameter.lt,
        "minItems": parameter.shortest,
        "maxItems": parameter.longest,
    }
    kind = _KINDS[parameter.type]
    schema: Schema = {"type": [kind, "null"] if parameter.optional else kind}
    schema |= {key: bound for key, bound in bounds.items() if bound is not None}
    schema |= {"not": {"multipleOf": 2}} if parameter.odd else {}
    return schema | ({"items": _bare(parameter.items)} if parameter.items else {})


def _described(parameter: Parameter) -> str:
    return " ".join(filter(None, [parameter.description, f"Legal: {parameter.legal}."]))


def _inlined(value: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema with its references replaced by what they refer to."""
    if isinstance(value, list):
        return [_inlined(each, definitions) for each in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        value = {**definitions[value["$ref"].rpartition("/")[2]], **value}
    return {key: _inlined(each, definitions) for key, each in value.items() if key != "$ref"}


def _without_titles(value: Any) -> Any:
    """A schema without pydantic's titles, and without our own marks."""
    if isinstance(value, list):
        return [_without_titles(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {name: _without_titles(each) for name, each in inner.items()}
        if key == "properties"
        else _without_titles(inner)
        for key, inner in value.items()
        if key not in ("title", "condition")
    }
