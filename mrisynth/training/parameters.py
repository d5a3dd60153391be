"""The flat form of a config, as users and spaces write it: its JSON Schema, its dotted paths, and what is legal.

In the flat form a choice between architectures is a name (`generator: unet`) with a block of that name beside it
(`unet: {filters: 16}`). Everything here is read off the pydantic models; there is no second list to keep in step.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from mrisynth.config import Config
from mrisynth.errors import InvalidInputError
from mrisynth.words import nearest

NONE = "none"
_FEW = 4
"""So many parameters of one name are all proposed."""
_TYPES = {"integer": "int", "number": "float", "boolean": "bool", "string": "str", "array": "list"}
_WORDS_FOR_BOOLS = {"yes": "true", "on": "true", "no": "false", "off": "false", "1": "true", "0": "false"}
"""What YAML 1.1 and people call true and false."""
_NOUNS = {"int": "integer", "float": "number", "str": "word", "list": "list"}


class InvalidConfigError(InvalidInputError):
    """A config is not valid; `path` is the dotted path at fault ("" where it is the whole)."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True, slots=True)
class Parameter:
    """One leaf of the flat form, known by its dotted path.

    Args:
        type: "int", "float", "bool", "str" or "list".
        description: what it means, in one sentence, with its unit.
        default: where it is not given; None where there is none, or where it depends on other parameters.
        choices: the only legal values, or None.
        ge: least legal value; `gt` the same, itself excluded. None where unbounded.
        le: greatest legal value; `lt` the same, itself excluded.
        odd: whether even numbers are illegal.
        items: what the entries of a list must be; `shortest` and `longest` bound its length.
        optional: whether null is legal and stands for "not used".
        condition: what other parameters must be for this one to exist: {path: value} or {path: {"not": value}}.
    """

    type: str
    description: str = ""
    default: Any = None
    choices: tuple[Any, ...] | None = None
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    odd: bool = False
    items: "Parameter | None" = None
    shortest: int | None = None
    longest: int | None = None
    optional: bool = False
    condition: Mapping[str, Any] = field(default_factory=dict)

    @property
    def legal(self) -> str:
        """What values are legal, as the end of a sentence: "an integer from 1 to 9"."""
        if self.choices is not None:
            return "one of " + ", ".join(map(word, self.choices))
        if self.type == "bool":
            return "true or false"
        if self.items is not None:
            length = _interval(self.shortest, None, self.longest, None)
            return "a list" + (f" of length {length}" if length else "") + f", each entry {self.items.legal}"
        noun = f"odd {_NOUNS[self.type]}" if self.odd else _NOUNS[self.type]
        article = "an" if noun[0] in "aeiou" else "a"
        return f"{article} {noun} {_interval(self.ge, self.gt, self.le, self.lt)}".rstrip()

    def why_illegal(self, value: Any) -> str | None:
        """What a value should have been, as a clause: "it must be an integer from 1 to 9"; None where it is legal."""
        if self._accepts(value):
            return None
        meant = self._meant(value)
        return f"it must be {self.legal}" + (f"; did you mean {meant}?" if meant else "")

    def normal(self, value: Any) -> Any:
        """A legal value as a config dumps it: numbers in their type, lists as lists."""
        if isinstance(value, (list, tuple)):
            return [self.items.normal(item) if self.items else item for item in value]
        return float(value) if self.type == "float" and value is not None else value

    def _meant(self, value: Any) -> str | None:
        """The legal value that was probably meant, as it is written: 'unet', 3 for 3.0, true for yes."""
        if self.type == "bool":
            return _WORDS_FOR_BOOLS.get(str(value).lower())
        if self.type == "int" and isinstance(value, float) and value.is_integer() and self._accepts(int(value)):
            return str(int(value))
        near = nearest(value, [choice for choice in self.choices or () if isinstance(choice, str)])
        return f"'{near}'" if near else None

    def _accepts(self, value: Any) -> bool:
        if value is None:
            return self.optional
        if self.choices is not None:
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        if self.type == "list":
            return isinstance(value, (list, tuple)) and self._accepts_entries(value)
        if self.type in ("bool", "str"):
            return isinstance(value, bool if self.type == "bool" else str)
        numeric = isinstance(value, int if self.type == "int" else (int, float)) and not isinstance(value, bool)
        return numeric and _within(value, self.ge, self.gt, self.le, self.lt) and not (self.odd and value % 2 == 0)

    def _accepts_entries(self, entries: Sequence[Any]) -> bool:
        if not _within(len(entries), self.shortest, None, self.longest, None):
            return False
        return self.items is None or all(self.items._accepts(entry) for entry in entries)


def flat_schema(model: type[Config]) -> dict[str, Any]:
    """The JSON Schema of a config's flat form; a block's own `condition` says which choice it needs.

    Args:
        model: a config whose choices are unions discriminated by `name`.
    """
    full = model.model_json_schema()
    properties: dict[str, Any] = {}
    blocks: dict[str, Any] = {}
    needs: dict[str, Any] = {}
    for name, nested in full["properties"].items():
        if (members := _members(nested)) is None:
            properties[name] = _inlined(nested, full["$defs"])
            continue
        optional = any(option.get("type") == "null" for option in nested.get("anyOf", ()))
        choices = [NONE, *members] if optional else list(members)
        properties[name] = {
            "enum": choices,
            "description": nested["description"],
            **({"default": NONE} if optional else {}),
            **({"condition": nested["condition"]} if "condition" in nested else {}),
        }
        for member, reference in members.items():
            blocks[member] = {
                **_inlined(reference, full["$defs"]),
                "condition": {**nested.get("condition", {}), name: member},
            }
            del blocks[member]["properties"]["name"]
            needs[member] = {"required": [name], "properties": {name: {"const": member}}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {**properties, **blocks},
        "required": full.get("required", []),
        "dependentSchemas": needs,
        "additionalProperties": False,
    }


def flat_parameters(model: type[Config]) -> dict[str, Parameter]:
    """Every parameter of a config's flat form by its dotted path, blocks of every choice included."""
    return {path: _parameter(leaf, condition) for path, leaf, condition in _leaves(flat_schema(model), "", {})}


def check_values(flat: Mapping[str, Any], known: Mapping[str, Parameter]) -> None:
    """Refuse what the flat form cannot hold: unknown paths, and values of the wrong type or out of bounds.

    Args:
        flat: in the flat form.
        known: every parameter by its dotted path.

    Raises:
        InvalidConfigError: the first of what is wrong.
    """
    for path, value in _values(flat, "", known):
        parameter = known.get(path)
        if parameter is None:
            raise InvalidConfigError(path, f"unknown parameter '{path}'; {closest(path, known)}")
        if reason := parameter.why_illegal(value):
            raise InvalidConfigError(path, f"{path} is {word(value)}; {reason}")


def closest(path: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown path: what was meant, or what there is.

    Only the same block is searched where there is such a block: `unet.kernel_size` did not mean `dcgan.kernel_size`.
    """
    block, _, name = path.rpartition(".")
    siblings = [other.removeprefix(f"{block}.") for other in known if other.startswith(f"{block}.")] if block else []
    if siblings:
        near = nearest(name, siblings)
        meant = f"{block}.{near}" if near else None
        legal = [f"{block}.{sibling}" for sibling in siblings]
    else:
        legal = sorted({other.partition(".")[0] for other in known})
        elsewhere = [other for other in known if "." in other and other.endswith((f".{name}", f"_{name}"))]
        meant = "' or '".join(elsewhere) if 0 < len(elsewhere) <= _FEW else nearest(path, legal)
    return f"did you mean '{meant}'?" if meant else f"known are {', '.join(legal)}"


def _values(flat: Mapping[str, Any], prefix: str, known: Mapping[str, Parameter]) -> Iterator[tuple[str, Any]]:
    """Dotted path and value of what a mapping holds; a block that is left empty holds nothing."""
    for name, value in flat.items():
        path = f"{prefix}{name}"
        if "." in str(name) and path in known:
            block, _, key = path.rpartition(".")
            raise InvalidConfigError(
                path, f"'{path}' stands as one word; write it as {block}: {{{key}: {word(value)}}}"
            )
        if not any(other.startswith(f"{path}.") for other in known):
            yield path, value
        elif isinstance(value, Mapping):
            yield from _values(value, f"{path}.", known)
        elif value is not None:
            raise InvalidConfigError(path, f"{path} is {word(value)}; it must be a mapping of parameters")


def _members(nested: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a choice can choose, by name; None where the schema is not a choice."""
    for option in (nested, *nested.get("anyOf", ())):
        if "discriminator" in option:
            return {name: {"$ref": reference} for name, reference in option["discriminator"]["mapping"].items()}
    return None


def _inlined(nested: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema without references and without pydantic's titles."""
    if isinstance(nested, list):
        return [_inlined(entry, definitions) for entry in nested]
    if not isinstance(nested, dict):
        return nested
    if "$ref" in nested:
        nested = {**definitions[nested["$ref"].rpartition("/")[2]], **nested}
    return {
        key: {name: _inlined(entry, definitions) for name, entry in value.items()}
        if key == "properties"
        else _inlined(value, definitions)
        for key, value in nested.items()
        if key not in ("$ref", "title")
    }


def _leaves(
    nested: Mapping[str, Any], prefix: str, condition: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Dotted path, schema and condition of everything that is not a block itself."""
    for name, entry in nested["properties"].items():
        implied = {**condition, **entry.get("condition", {})}
        if "properties" in entry:
            yield from _leaves(entry, f"{prefix}{name}.", implied)
        else:
            yield prefix + name, entry, implied


def _parameter(leaf: Mapping[str, Any], condition: Mapping[str, Any]) -> Parameter:
    options = [option for option in leaf.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        leaf = {**options[0], **leaf}
    choices = leaf.get("enum", [leaf["const"]] if "const" in leaf else None)
    return Parameter(
        type=_TYPES[leaf.get("type", "string")],
        description=leaf.get("description", ""),
        default=leaf.get("default"),
        choices=tuple(choices) if choices is not None else None,
        ge=leaf.get("minimum"),
        gt=leaf.get("exclusiveMinimum"),
        le=leaf.get("maximum"),
        lt=leaf.get("exclusiveMaximum"),
        odd=leaf.get("not") == {"multipleOf": 2},
        items=_parameter(leaf["items"], {}) if "items" in leaf else None,
        shortest=leaf.get("minItems"),
        longest=leaf.get("maxItems"),
        optional=any(option.get("type") == "null" for option in leaf.get("anyOf", ())),
        condition=condition,
    )


def _within(value: float, ge: float | None, gt: float | None, le: float | None, lt: float | None) -> bool:
    """Whether a number is inside its bounds; NaN never is, and infinity is not a number here."""
    above = (ge is None or value >= ge) and (gt is None or value > gt)
    below = (le is None or value <= le) and (lt is None or value < lt)
    return above and below and abs(value) < inf


def _interval(ge: float | None, gt: float | None, le: float | None, lt: float | None) -> str:
    if ge is not None and le is not None:
        return f"from {ge:.12g} to {le:.12g}"
    ends = {"at least": ge, "greater than": gt, "at most": le, "less than": lt}
    return " and ".join(f"{words} {end:.12g}" for words, end in ends.items() if end is not None)


def word(value: Any) -> str:
    """A value as it stands in a sentence: words quoted only where they could be misread."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return value if isinstance(value, str) and value.isidentifier() else repr(value)
