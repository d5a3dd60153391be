"""In which settings trials differ, and which of several is the most like one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PREFIX = "param."

Row = Mapping[str, Any]
"""A trial as the index has it: its settings stand in columns `param.<path>`; what it lacks is None, or absent."""


def differing(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The settings in which some trials differ: path -> the value of each trial, in their order."""
    paths = dict.fromkeys(name for row in rows for name in row if name.startswith(PREFIX))
    return {
        path.removeprefix(PREFIX): [row.get(path) for row in rows]
        for path in paths
        if any(row.get(path) != rows[0].get(path) for row in rows)
    }


def nearest(row: Row, others: Iterable[Row]) -> Row | None:
    """The other trial that differs in the fewest settings, of the same generator if there is any; None of no others."""

    def distance(other: Row) -> tuple[bool, int]:
        return other.get("generator") != row.get("generator"), len(differing([row, other]))

    return min((other for other in others if other["trial"] != row["trial"]), key=distance, default=None)
