"""Which trials a report shows, family by family."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import breaking, first_objective
from mrisynth.results.published import NAMES
from mrisynth.results.report.words import plural

_TITLES = {"forest": "Random forest", "cnn": "CNNs", "gan": "GANs"}


@dataclass(frozen=True, slots=True)
class Family:
    """Trials of one kind.

    Args:
        name: "forest", "cnn" or "gan".
        trials: rows of the index's trials, in the order of the tables.
        completed: how many of the family completed, shown or not.
    """

    name: str
    trials: tuple[dict[str, Any], ...]
    completed: int

    @property
    def title(self) -> str:
        """What the family is called."""
        return _TITLES.get(self.name, self.name)

    @property
    def slug(self) -> str:
        """Its name as a part of file names."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower())

    @property
    def which(self) -> str:
        """Which of its trials are shown, in words."""
        shown = len(self.trials)
        return plural(shown, "trial") if shown == self.completed else f"{shown} of {self.completed} trials"


def choose_families(index: Index, k: int) -> list[Family]:
    """The completed trials by family: all published ones in the paper's order, and the best `k` of the others.

    The others come best first by the first objective; the published scores decide nothing.
    """
    completed = [row for row in index.trials.to_pylist() if row["outcome"] == "completed"]
    names = dict.fromkeys([*_TITLES, *(_family(row) for row in completed)])
    families = []
    for name in names:
        rows = [row for row in completed if _family(row) == name]
        published = sorted(
            (row for row in rows if row["name"] in NAMES), key=lambda row: (NAMES.index(row["name"]), row["trial"])
        )
        others = best_first(index, (row for row in rows if row["name"] not in NAMES))[:k]
        families += [Family(name, (*published, *others), len(rows))] if rows else []
    return families


def best_first(index: Index, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trials by the first objective, best first; then those that break a constraint; those without a score last."""
    metric = first_objective(index)
    sign = -1 if index.direction(metric) == "maximize" else 1

    breaks = breaking(index)

    def place(row: dict[str, Any]) -> tuple[bool, bool, float, int]:
        value = row.get(f"value.{metric}")
        return value is None, row["trial"] in breaks, sign * (value or 0.0), row["trial"]

    return sorted(rows, key=place)


def _family(row: dict[str, Any]) -> str:
    return str(row["family"] or "unknown")
