"""The settings that a search varied, of the trials that a report shows."""

from collections.abc import Mapping
from typing import Any

from mrisynth.results.index import Index
from mrisynth.results.published import NAMES
from mrisynth.results.report.selection import Family
from mrisynth.results.report.tables import Cell, Column, Row, Table, plain
from mrisynth.results.report.words import trial_label


def settings_table(index: Index, family: Family) -> Table | None:
    """What the search chose: a row a setting, a column a trial; None where nothing was searched for any of them."""
    rows = [row for row in family.trials if row["name"] not in NAMES]
    searched = index.manifest.get("searched")
    paths = [path for path in (searched if isinstance(searched, list) else []) if path in index.parameters]
    body = {path: tuple(_cell(row, path) for row in rows) for path in paths}
    known = {path: cells for path, cells in body.items() if any(cell.value is not None for cell in cells)}
    if not known:
        return None
    columns = [Column(str(row["trial"]), trial_label(row)) for row in rows]
    return Table(
        f"{family.slug}-settings",
        f"{family.title}: what the search chose for the trials shown, best first.",
        (Column("setting", "setting", number=False), *columns),
        tuple(Row("trial", (plain(path), *cells)) for path, cells in known.items()),
    )


def _cell(row: Mapping[str, Any], path: str) -> Cell:
    value = row[f"param.{path}"]
    return Cell(value, f"{value:.4g}") if isinstance(value, float) else plain(value)
