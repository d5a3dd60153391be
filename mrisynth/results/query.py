"""Filters in words: `psnr > 30 and generator == "unet"` as a choice among the trials of an index.

The text is parsed by Python's `ast` and then walked; nothing is ever evaluated. Known are names of columns, metrics and
dotted settings, numbers, texts and lists of them, comparisons, `in`, `and`, `or`, `not` and brackets.
"""

import ast
import difflib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mrisynth.errors import InvalidInputError
from mrisynth.results.tables import PARAMETER, VALUE

Mask = NDArray[np.bool_]
LONGEST = 1000
"""How many characters a filter may have."""

_HIDDEN = ("config", "stamp")
_ORDER: dict[type[ast.cmpop], Callable[..., pa.Array]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
_MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.Eq, ast.NotEq: ast.NotEq, ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE,
}  # fmt: skip


def matching(trials: pa.Table, text: str) -> Mask:
    """Which trials a filter lets pass.

    Args:
        trials: an index's trials.
        text: the filter; an empty one lets all pass.

    Returns:
        (trials,), True where it holds. A trial that lacks a value passes no comparison with it.

    Raises:
        InvalidInputError: the text is no filter; the sentence says where, counted from 1, and what would be one.
    """
    if not text.strip():
        return np.ones(trials.num_rows, dtype=bool)
    if len(text) > LONGEST:
        raise InvalidInputError(f"the filter has {len(text)} characters, and may have {LONGEST}")
    line = re.sub(r"\s", " ", text)
    return _Filter(trials, line).mask(_parse(line))


def columns(trials: pa.Table) -> dict[str, str]:
    """What a filter may name: the name, and the column of the index that it stands for."""
    settings = [name for name in trials.column_names if name.startswith(PARAMETER)]
    metrics = [name for name in trials.column_names if name.startswith(VALUE)]
    fixed = [name for name in trials.column_names if name not in (*settings, *metrics, *_HIDDEN)]
    return {
        **{name.removeprefix(PARAMETER): name for name in settings},
        **{name.removeprefix(VALUE): name for name in metrics},
        **{name: name for name in fixed},
    }


def _parse(line: str) -> ast.expr:
    begin = len(line) - len(line.lstrip())
    try:
        body = ast.parse(line.strip(), mode="eval").body
    except SyntaxError as error:
        where = min(begin + (error.offset or len(line)), len(line))  # 0 where the text ends too early
        raise _mistake(where, "this is not a comparison such as: psnr > 30 and generator == 'unet'") from None
    except (ValueError, RecursionError, MemoryError):
        raise _mistake(1, "this cannot be read as a filter") from None
    return body


def _mistake(position: int, sentence: str) -> InvalidInputError:
    return InvalidInputError(f"filter, character {position}: {sentence}")


class _Filter:
    """One filter over one table."""

    def __init__(self, trials: pa.Table, line: str) -> None:
        self._trials, self._line, self._columns = trials, line, columns(trials)

    def mask(self, node: ast.expr) -> Mask:
        """The trials for which an expression holds."""
        if isinstance(node, ast.BoolOp):
            masks = [self.mask(value) for value in node.values]
            both: Mask = np.logical_and.reduce(masks)
            return both if isinstance(node.op, ast.And) else _any(masks)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.mask(node.operand)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(sides[:-1], node.ops, sides[1:], strict=True)
            chained: Mask = np.logical_and.reduce([self._compared(left, op, right) for left, op, right in pairs])
            return chained
        raise self._mistake(node, "a comparison is expected here, such as: psnr > 30")

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Mask:
        if isinstance(op, ast.In | ast.NotIn):
            found = self._is_in(left, right)
            return found if isinstance(op, ast.In) else ~found & self._known(left)
        if type(op) not in _ORDER:
            raise self._mistake(left, "compare with ==, !=, <, <=, >, >=, in or not in")
        if isinstance(left, ast.Constant | ast.UnaryOp):  # 30 < psnr
            left, right, kind = right, left, _MIRRORED[type(op)]
        else:
            kind = type(op)
        column = self._column(left)
        other = self._column(right) if _is_name(right) else pa.scalar(self._value(right))
        if _is_text(column) != _is_text(other):
            raise self._mistake(right, self._kinds(left, column))
        return _as_mask(_ORDER[kind](column, other))

    def _is_in(self, left: ast.expr, right: ast.expr) -> Mask:
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            raise self._mistake(right, "a list is expected after `in`, such as: generator in ['unet', 'dcgan']")
        column, values = self._column(left), [self._value(each) for each in right.elts]
        for value, node in zip(values, right.elts, strict=True):
            if _is_text(column) != isinstance(value, str):
                raise self._mistake(node, self._kinds(left, column))
        equal = [_as_mask(pc.equal(column, pa.scalar(value))) for value in values]
        return _any([np.zeros(len(column), dtype=bool), *equal])

    def _known(self, node: ast.expr) -> Mask:
        return _as_mask(pc.is_valid(self._column(node)))

    def _column(self, node: ast.expr) -> pa.ChunkedArray:
        name = _dotted(node)
        if name is None:
            raise self._mistake(node, "a metric, a setting or a column is expected here")
        if name not in self._columns:
            near = difflib.get_close_matches(name, self._columns, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(self._columns)[:12])}, ..."
            raise self._mistake(node, f"there is no {name!r} among the trials; {hint}")
        column = self._trials[self._columns[name]]
        if pa.types.is_timestamp(column.type):
            raise self._mistake(node, f"{name!r} is a time, and cannot be compared here")
        return column

    def _value(self, node: ast.expr) -> float | str:
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            sign, node = (-1 if isinstance(node.op, ast.USub) else 1), node.operand
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, bool) or not isinstance(value, int | float | str) or (isinstance(value, str) and sign < 0):
            raise self._mistake(node, "a number, or a text in quotes, is expected here")
        return value if isinstance(value, str) else sign * self._float(value, node)

    def _float(self, value: float, node: ast.expr) -> float:
        try:
            return float(value)
        except OverflowError:
            raise self._mistake(node, "this number is too large") from None

    def _kinds(self, node: ast.expr, column: pa.ChunkedArray) -> str:
        wanted = "a text: compare it with one in quotes" if _is_text(column) else "a number: compare it with a number"
        return f"{_dotted(node)!r} is {wanted}"

    def _mistake(self, node: ast.expr, sentence: str) -> InvalidInputError:
        written = self._line.lstrip()
        before = len(written.encode()[: node.col_offset].decode())  # `ast` counts bytes
        return _mistake(len(self._line) - len(written) + before + 1, sentence)


def _is_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Attribute)


def _dotted(node: ast.expr) -> str | None:
    """`losses.l1` as it was written, None if it is something else."""
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return None if before is None else f"{before}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None


def _is_text(values: Any) -> bool:
    return bool(pa.types.is_string(values.type))


def _any(masks: list[Mask]) -> Mask:
    either: Mask = np.logical_or.reduce(masks)
    return either


def _as_mask(answer: pa.ChunkedArray) -> Mask:
    return np.asarray(pc.fill_null(answer, False)).astype(bool)
