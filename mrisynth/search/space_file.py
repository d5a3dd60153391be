"""A space file as plain data that remembers its lines and columns, and the list of mistakes found in it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.search.yaml_document import Place, Position, read_yaml_document
from mrisynth.shipped import search_spaces
from mrisynth.words import nearest

__all__ = ["Mistakes", "Place", "SpaceFile", "did_you_mean", "find_space", "kind", "read_space_file", "read_space_text"]


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
    data, positions = read_yaml_document(text, f"space {name}")
    where = f"space {name}, line 1, column 1"
    if data is None:
        raise InvalidInputError(f"{where}: the file is empty; see docs/spaces.md for the smallest space")
    if not isinstance(data, dict):
        raise InvalidInputError(
            f"{where}: a space is a mapping of keys like 'search:' and 'budget:', not a {kind(data)}"
        )
    return SpaceFile(name, text, data, positions)


def find_space(path: str | Path) -> Path:
    """The file of a space that is given by its path, or by its name where it came with mrisynth.

    Raises:
        NotFoundError: there is none.
    """
    given = Path(path)
    named = given.parent == Path() and not given.suffix
    if named and (shipped := search_spaces() / f"{given}.yaml").is_file():
        return shipped
    if given.is_file():
        return given
    if not named:
        raise NotFoundError(f"space {path} {'is a folder, not a file' if given.is_dir() else 'does not exist'}")
    names = sorted(shipped.stem for shipped in search_spaces().glob("*.yaml"))
    near = nearest(path, names)
    hint = f"did you mean '{near}'?" if near else f"shipped are {', '.join(names)}"
    raise NotFoundError(f"there is neither a shipped space nor a file '{path}'; {hint}")


def read_space_text(path: Path) -> str:
    """A space file's text, or InvalidInputError with the place that is not in UTF-8."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line, column = content.count(b"\n", 0, error.start) + 1, error.start - content.rfind(b"\n", 0, error.start)
        where = f"space {path.name}, line {line}, column {column}"
        raise InvalidInputError(f"{where}: not a text in UTF-8; save the file in that encoding") from None


def kind(value: Any) -> str:
    """What people call a value's type."""
    names = {dict: "mapping", list: "list", str: "word", bool: "true or false", int: "whole number", float: "number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """The tail of a message about an unknown name: the nearest known one, or all of them if they are few."""
    names = list(known)
    if near := nearest(word, names):
        return f"; did you mean '{near}'?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 12 else ""


def _in_order(noted: list[tuple[Position, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentence for _, sentence in sorted(noted, key=lambda item: item[0])))
