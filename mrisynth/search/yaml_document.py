"""A YAML document as plain data with the line and column of everything in it, or one sentence about what is wrong.

YAML is read by ruamel.yaml: `1e-5` is a number, `none` and `no` are words, and a key that stands twice is refused.
"""

import re
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.error import YAMLError
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scalarbool import ScalarBoolean

from mrisynth.errors import InvalidInputError

Place = tuple[str | int, ...]
"""Where something stands in a document: the keys and positions that lead to it."""
Position = tuple[int, int]
"""Line and column, both from 1."""


def read_yaml_document(text: str, source: str) -> tuple[Any, dict[Place, Position]]:
    """A YAML document as dict, list, str, bool, int, float and None, with the position of every key and entry.

    Args:
        text: the YAML.
        source: what messages call it, like "space gan.yaml".

    Raises:
        InvalidInputError: it is not YAML; the message says where, and what to write instead.
    """
    try:
        loaded = YAML(typ="rt").load(text)
    except ReaderError as error:
        before = text[: error.position]
        at = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise _not_yaml(source, at, f"a character that is no text (#x{error.character:04x}); remove it") from None
    except YAMLError as error:
        raise _not_yaml(source, *_explained(error, text.splitlines())) from None
    except RecursionError:
        raise _not_yaml(source, (1, 1), "it is nested too deeply; a space needs five levels") from None
    except (AssertionError, ValueError) as error:  # of lines that begin with %, and of dates that do not exist
        raise _not_yaml(source, (1, 1), f"{error}; put dates in quotes, and begin no line with %") from None
    positions: dict[Place, Position] = {}
    return _plain(loaded, (), positions), positions


def plain_value(text: str, source: str) -> Any:
    """One YAML value as plain Python values (what stands behind `--set key=`)."""
    return read_yaml_document(text, source)[0]


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
    if isinstance(node, TaggedScalar):
        return f"{node.tag.value} {node.value}"
    for plain in (bool, int, float, str):
        if isinstance(node, plain):
            return plain(node)
    return node


def _note(positions: dict[Place, Position], place: Place, found: Any) -> None:
    """Keep a position; what a merge key (`<<`) brought in has none of its own."""
    if found:
        positions[place] = (int(found[0]) + 1, int(found[1]) + 1)


def _not_yaml(source: str, at: Position, sentence: str) -> InvalidInputError:
    return InvalidInputError(f"{source}, line {at[0]}, column {at[1]}: not valid YAML: {sentence}")


def _explained(error: Any, lines: list[str]) -> tuple[Position, str]:
    """Where a YAML error is to be mended, and how."""
    problem = str(getattr(error, "problem", None) or str(error).splitlines()[0])
    mark, context = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    at = _position(mark) or (1, 1)
    opened = _position(context) or at
    for pattern, explain in _EXPLANATIONS:
        if found := re.search(pattern, problem):
            return explain(found, at, opened, lines)
    return at, problem


def _position(mark: Any) -> Position | None:
    return (int(mark.line) + 1, int(mark.column) + 1) if mark else None


def _twice(found: re.Match[str], at: Position, opened: Position, lines: list[str]) -> tuple[Position, str]:
    """A key that stands twice: where it stood first."""
    key = re.compile(rf"[\"']?{re.escape(found[1])}[\"']?\s*:")
    earlier = range(opened[0], at[0])
    indent = " " * (at[1] - 1)
    first = next((n for n in earlier if lines[n - 1].startswith(indent) and key.match(lines[n - 1], at[1] - 1)), None)
    where = f", first on line {first}" if first else ""
    return at, f"the key '{found[1]}' stands twice{where}; remove one of them"


def _unclosed(found: re.Match[str], at: Position, opened: Position, lines: list[str]) -> tuple[Position, str]:
    """A bracket that was still open where something came that cannot stand in it."""
    line = lines[at[0] - 1] if at[0] <= len(lines) else ""
    if at[1] > 1 and line[at[1] - 2] == ":" and line[at[1] - 1] in "[{'\"":
        return at, "write a space after ':'"
    bracket = "[" if found[1] == "]" else "{"
    until = f"before line {at[0]}" if at[0] > opened[0] else f"before column {at[1]}"
    return opened, f"this '{bracket}' has no '{found[1]}', or a comma is missing, {until}"


def _misplaced(found: re.Match[str], at: Position, opened: Position, lines: list[str]) -> tuple[Position, str]:
    """Something that cannot stand among the keys of a mapping, or the entries of a list."""
    what = found[1]
    if what in "]}":
        return at, f"there is a '{what}' too many; remove it, or open it before"
    if what == "-":
        return at, "a list entry stands among keys; write lists like [a, b] behind their key"
    if lines[at[0] - 1][: at[1] - 1].strip():
        return at, "text goes on where it should have ended; put text with quotes or brackets in it in double quotes"
    return at, f"this line begins in column {at[1]}, and those around it in column {opened[1]}; indent them alike"


def _colon(_: re.Match[str], at: Position, __: Position, lines: list[str]) -> tuple[Position, str]:
    """A colon too many, or one too few on a line before."""
    before = lines[at[0] - 1][: at[1] - 1]
    if re.search(r":\s", before):
        return at, "a second ': ' on one line; put text with a colon in it in quotes"
    above = next((n for n in range(at[0] - 1, 0, -1) if lines[n - 1].strip() and lines[n - 1].lstrip()[0] != "#"), 0)
    if not above:
        return at, "a colon is not allowed here; put text with a colon in it in quotes"
    column = len(lines[above - 1]) - len(lines[above - 1].lstrip()) + 1
    return (above, column), "this line has no ': ' (colon and space) behind its key"


def _fixed(sentence: str, *, opened: bool = False) -> Callable[..., tuple[Position, str]]:
    """The same sentence whatever was found, `{0}` being what was; at the place of the problem, or where it began."""
    return lambda found, at, began, _: (began if opened else at, sentence.format(*found.groups()))


_EXPLANATIONS: tuple[tuple[str, Callable[..., tuple[Position, str]]], ...] = (
    (r'duplicate key "(.*?)" with value', _twice),
    (r"character '\\t'", _fixed("a tab; indent with spaces, not with tabs")),
    (r"expected ',' or '([\]}])'", _unclosed),
    (r"expected <block end>, but found '(.*)'", _misplaced),
    (r"mapping values are not allowed here|could not find expected ':'|expected '<document start>'", _colon),
    (
        r"undefined alias '(.*)'",
        _fixed("'*{0}' names nothing; write &{0} at what it repeats, or put the text in quotes"),
    ),
    (r"unexpected end of stream", _fixed("the quote that opens here is not closed", opened=True)),
    (r"another document", _fixed("a second document begins here; a file holds one, so remove the line ---")),
    (r"character '(.)' that cannot start", _fixed("put text that begins with {0} in quotes")),
    (r"expected alphabetic or numeric character", _fixed("put text that begins with & or * in quotes", opened=True)),
    (r"unknown escape character '(.*)'", _fixed("\\{0} means nothing in double quotes; use single ones")),
    (r"for merging, but found", _fixed("<< takes a mapping, like <<: *name with a &name before")),
)
"""What ruamel.yaml says (as a pattern), and what is said instead."""
