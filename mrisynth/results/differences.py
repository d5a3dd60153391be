"""In which settings trials differ, and which of several is the most like one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PREFIX = "param."

Row = Mapping[str, Any]
"""A trial as the index's table has it: its settings stand in columns `param.<path>`, None where it has none."""


def differing(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The settings in which some trials differ: path -> the value of each trial, in their order."""
    paths = [name for name in rows[0] if name.startswith(PREFIX)] if rows else []
    return {
        path.removeprefix(PREFIX): [row[path] for row in rows]
        for path in paths
        if any(row[path] != rows[0][path] for row in rows)
    }


def nearest(row: Row, others: Iterable[Row]) -> Row | None:
    """The other trial that differs in the fewest settings, of the same generator if there is any; None of no others."""

    def distance(other: Row) -> tuple[bool, int]:
        return other.get("generator") != row.get("generator"), len(differing([row, other]))

    return min((other for other in others if other["trial"] != row["trial"]), key=distance, default=None)
