"""Tables as values: what the page, the CSV and the LaTeX files show alike."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mrisynth.results.report.words import NONE

Value = float | int | str | None
Kind = Literal["baseline", "trial", "summary"]


@dataclass(frozen=True, slots=True)
class Column:
    """What stands in a column.

    Args:
        key: its head in the CSV file.
        title: its head for people.
        group: what stands above it and its neighbours; "" for nothing.
        number: whether it is aligned to the right.
    """

    key: str
    title: str
    group: str = ""
    number: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """One value.

    Args:
        value: as it is measured, unrounded; None where there is none.
        text: as people read it.
        spread: standard deviation over the subjects, in the value's unit.
        spread_text: the same for people.
        best: whether no other trial of the table is better.
        below: whether it is no better than the unchanged low-field scan.
    """

    value: Value
    text: str
    spread: float | None = None
    spread_text: str = ""
    best: bool = False
    below: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One model, baseline or sum."""

    kind: Kind
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Args:
        name: of its files: letters, digits and hyphens.
        caption: what it shows, in whole sentences.
        columns, rows: as many cells in each row as there are columns.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def plain(value: Value) -> Cell:
    """A cell without marks: words as they are, whole numbers by thousands."""
    if value is None:
        return Cell(None, NONE)
    return Cell(value, f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else value)


def csv_text(table: Table) -> str:
    """A table as CSV: unrounded, a column `<key>_sd` after each that has a spread, empty where nothing is known."""
    spreads = {position for row in table.rows for position, cell in enumerate(row.cells) if cell.spread is not None}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    heads = [[column.key, *([f"{column.key}_sd"] if at in spreads else [])] for at, column in enumerate(table.columns)]
    writer.writerow(_joined(heads))
    for row in table.rows:
        values = [[cell.value, *([cell.spread] if at in spreads else [])] for at, cell in enumerate(row.cells)]
        writer.writerow(["" if value is None else value for value in _joined(values)])
    return stream.getvalue()


def _joined(lists: Sequence[Sequence[Value]]) -> list[Value]:
    return [value for each in lists for value in each]
