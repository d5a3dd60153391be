"""A space file as plain data that remembers its lines and columns, and the list of mistakes found in it.

YAML is read by ruamel.yaml: `1e-5` is a number, `none` and `no` are words, and a key that stands twice is refused.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from mrisynth.errors import InvalidInputError

Place = tuple[str | int, ...]
"""Where something stands in a document: the keys and positions that lead to it."""
Position = tuple[int, int]
"""Line and column, both from 1."""


@dataclass(frozen=True, slots=True)
class SpaceFile:
    """A space file, read but not yet checked.

    Args:
        name: the file's name, as messages call it.
        text: the file, exactly.
        data: its content as plain values.
        positions: line and column (from 1) of every key and list entry.
        overrides: what was set on top of the file, dotted key -> value; their places have no line.
    """

    name: str
    text: str
    data: dict[str, Any]
    positions: Mapping[Place, Position]
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def position(self, place: Place) -> Position:
        """Line and column of `place` or of the nearest thing around it."""
        known = self.positions
        return next((known[place[:end]] for end in range(len(place), 0, -1) if place[:end] in known), (1, 1))

    def where(self, place: Place) -> str:
        """How a message says where `place` is: file, line and column, or the `--set` it came from."""
        key = self.override(place)
        line, column = self.position(place)
        return f"space {self.name}, line {line}, column {column}" if key is None else f"--set {key}"

    def override(self, place: Place) -> str | None:
        """The override that set what stands at `place`, or inside it if that is a named trial's, if any did."""
        dotted, inside = f"{'.'.join(map(str, place))}.", ""
        if place[:1] == ("trials",) and len(place) > 2:
            inside = f"{'.'.join(map(str, place[2:]))}."
        for key in self.overrides:
            plain = f"{key.removeprefix('fixed.')}."
            if dotted.startswith((f"{key}.", f"fixed.{key}.")):
                return key
            if inside and (inside.startswith(plain) or plain.startswith(inside)):
                return key
        return None


class Mistakes:
    """Every mistake found in one space file, each a sentence with its place; and warnings likewise."""

    def __init__(self, file: SpaceFile) -> None:
        self._file = file
        self._mistakes: list[tuple[Position, str]] = []
        self._warnings: list[tuple[Position, str]] = []
        self._places: list[Place] = []

    def override(self, place: Place) -> str | None:
        """The override that set what stands at `place`, if any did."""
        return self._file.override(place)

    def add(self, place: Place, sentence: str) -> None:
        """Note a mistake at `place`."""
        self._places.append(place)
        self._mistakes.append((self._file.position(place), f"{self._file.where(place)}: {sentence}"))

    def warn(self, place: Place, sentence: str) -> None:
        """Note something that is legal and probably not meant."""
        self._warnings.append((self._file.position(place), f"{self._file.where(place)}: {sentence}"))

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings in the order of the file."""
        return _in_order(self._warnings)

    def any_at(self, place: Place) -> bool:
        """Whether a mistake was noted at `place` or inside it."""
        return any(noted[: len(place)] == place for noted in self._places)

    def refuse(self) -> None:
        """Raise InvalidInputError with every mistake, one a line, if there is any."""
        if self._mistakes:
            raise InvalidInputError("\n".join(_in_order(self._mistakes)))


def read_space_file(text: str, name: str) -> SpaceFile:
    """Read a space file's text into plain values with their positions.

    Args:
        text: the YAML.
        name: the file's name for messages, like "gan.yaml".

    Raises:
        InvalidInputError: it is not YAML, has a key twice, or is not a mapping.
    """
    positions: dict[Place, Position] = {}
    data = _plain(load_yaml(text, f"space {name}"), (), positions)
    if data is None:
        raise InvalidInputError(f"space {name} is empty; see `mrisynth space show smoke` for an example")
    if not isinstance(data, dict):
        raise InvalidInputError(f"space {name} is a {kind(data)}, not a mapping of keys like `search:` and `budget:`")
    return SpaceFile(name, text, data, positions)


def load_yaml(text: str, source: str) -> Any:
    """A YAML document as ruamel.yaml's values, or InvalidInputError with the place in `source` that is wrong."""
    try:
        return YAML(typ="rt").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InvalidInputError(f"{source}{line}: not valid YAML: {_without_value(problem)}") from None


def plain_value(text: str, source: str) -> Any:
    """One YAML value as plain Python values (what stands behind `--set key=`)."""
    return _plain(load_yaml(text, source), (), {})


def kind(value: Any) -> str:
    """What people call a value's type."""
    names = {dict: "mapping", list: "list", str: "word", bool: "true or false", int: "whole number", float: "number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """The tail of a message about an unknown name: the nearest known one, or all of them if they are few."""
    names = list(known)
    near = difflib.get_close_matches(str(word), names, n=1)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 12 else ""


def _plain(node: Any, place: Place, positions: dict[Place, Position]) -> Any:
    """Ruamel's values as dict, list, str, bool, int, float and None, with their positions noted on the way."""
    if isinstance(node, CommentedMap):
        for key in node:
            _note(positions, (*place, str(key)), node.lc.data and node.lc.data.get(key))
        return {str(key): _plain(value, (*place, str(key)), positions) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        for at in range(len(node)):
            _note(positions, (*place, at), node.lc.data and node.lc.data.get(at))
        return [_plain(value, (*place, at), positions) for at, value in enumerate(node)]
    if isinstance(node, ScalarBoolean):
        return bool(node)
    for plain in (bool, int, float, str):
        if isinstance(node, plain):
            return plain(node)
    return node


def _note(positions: dict[Place, Position], place: Place, found: Any) -> None:
    """Keep a position; what a merge key (`<<`) brought in has none of its own."""
    if found:
        positions[place] = (int(found[0]) + 1, int(found[1]) + 1)


def _without_value(problem: str) -> str:
    """Ruamel quotes the whole value after a duplicate key; the key alone is enough."""
    return problem.partition(" with value ")[0]


def _in_order(noted: list[tuple[Position, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentence for _, sentence in sorted(noted, key=lambda item: item[0])))
