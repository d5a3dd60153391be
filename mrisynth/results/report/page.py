"""The page: everything in one HTML file that needs neither network nor script."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mrisynth import __version__
from mrisynth.results.index import Index
from mrisynth.results.published import PUBLISHED
from mrisynth.results.report import facts
from mrisynth.results.report.drawing import Picture
from mrisynth.results.report.scores import PUBLISHED_GROUP
from mrisynth.results.report.selection import Family
from mrisynth.results.report.tables import Column, Table
from mrisynth.results.report.words import meaning, metric_title, plural
from mrisynth.results.store import SweepDirectory, timestamp

_HERE = Path(__file__).parent
_LISTED = 40


@dataclass(frozen=True, slots=True)
class Learned:
    """What the search learned.

    Args:
        tables: of importance and of the families.
        sentences: what else is known, or why nothing is.
    """

    tables: list[Table]
    sentences: list[str]


@dataclass(frozen=True, slots=True)
class Content:
    """What a report shows of a sweep.

    Args:
        families: the trials shown.
        tables: of scores, in their order.
        ranks: the order of the models beside the published one, if there is enough to compare.
        learned: what the search learned.
        pictures: by family's title.
        remarks: what could not be shown, one sentence each.
    """

    families: list[Family]
    tables: list[Table]
    ranks: Table | None
    learned: Learned
    pictures: dict[str, list[Picture]]
    remarks: list[str]

    @property
    def all_tables(self) -> list[Table]:
        """Those of scores, that of ranks, and what the search learned."""
        return [*self.tables, *([self.ranks] if self.ranks else []), *self.learned.tables]


def render(sweep: SweepDirectory, index: Index, content: Content) -> str:
    """The page as HTML; whatever people named is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_HERE, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.globals["zip"] = zip
    environment.filters["broken"] = _broken
    css = (_HERE / "page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(css=Markup(css), **_values(sweep, index, content))


def _broken(title: str) -> Markup:
    """A column's head that may be broken after an underscore."""
    return Markup("_<wbr>").join(title.split("_"))


def _values(sweep: SweepDirectory, index: Index, content: Content) -> dict[str, Any]:
    rows = [row for family in content.families for row in family.trials]
    unfinished = facts.unfinished(index)
    waiting, more = facts.waiting(index), len(unfinished) - _LISTED
    tables, figures = _numbered_tables(content), _numbered_figures(content)
    values = {
        "name": sweep.name,
        "description": index.manifest["description"],
        "head": facts.head(sweep, index),
        "significance": facts.significance(index),
        "changes": facts.changes(sweep, rows),
        "findings": facts.findings(index),
        "tables": tables[: len(content.tables)],
        "ranks": tables[len(content.tables)] if content.ranks else None,
        "learned": content.learned.sentences,
        "learned_tables": tables[len(tables) - len(content.learned.tables) :],
        "published": any(row["name"] in PUBLISHED for row in rows),
        "metrics": [(metric_title(index, name), meaning(index, name) or "not described") for name in index.metrics],
        "figures": figures,
        "remarks": content.remarks,
        "waiting": waiting,
        "unfinished": unfinished[:_LISTED],
        "unfinished_more": plural(more, "trial") if more > 0 else "",
        "deviations": facts.deviations(rows),
        "commands": facts.commands(sweep),
        "uncommitted": facts.uncommitted(sweep),
        "version": __version__,
        "made": f"{timestamp()[:16].replace('T', ' ')} UTC",
    }
    return {**values, "contents": _contents(values)}


def _contents(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The links at the top."""
    chapters = [("findings", "In short")]
    chapters += [("tables", "Tables")] if values["tables"] else []
    chapters += [("ranks", "Order beside the published")] if values["ranks"] else []
    learned = values["learned"] or values["learned_tables"]
    chapters += [("learned", "What the search learned")] if learned else []
    chapters += [(f"figures-{at}", f"Figures: {each['title']}") for at, each in enumerate(values["figures"], 1)]
    missing = values["remarks"] or values["unfinished"] or values["waiting"]
    chapters += [("missing", "What is missing")] if missing else []
    return [*chapters, ("repeat", "How to repeat")]


def _numbered_tables(content: Content) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "table": table,
            "groups": _groups(table.columns),
            "columns": _heads(table.columns),
        }
        for number, table in enumerate(content.all_tables, 1)
    ]


def _groups(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """What stands above the heads; nothing where no column has a group."""
    grouped = [(title, len([*members])) for title, members in groupby(columns, key=lambda column: column.group)]
    if not any(title for title, _ in grouped):
        return []
    return [{"title": title, "width": width, "published": title == PUBLISHED_GROUP} for title, width in grouped]


def _heads(columns: Sequence[Column]) -> list[dict[str, str]]:
    """Titles and classes of the columns: published ones are set apart."""
    heads = []
    for at, column in enumerate(columns):
        published = column.group == PUBLISHED_GROUP
        first = published and columns[at - 1].group != PUBLISHED_GROUP
        classes = [*(["number"] if column.number else []), *(["published"] if published else [])]
        heads.append({"title": column.title, "classes": " ".join([*classes, *(["published-first"] if first else [])])})
    return heads


def _numbered_figures(content: Content) -> list[dict[str, Any]]:
    numbers = count(1)
    return [
        {
            "title": title,
            "entries": [
                {"number": next(numbers), "picture": picture, "source": _data_url(picture)} for picture in pictures
            ],
        }
        for title, pictures in content.pictures.items()
        if pictures
    ]


def _data_url(picture: Picture) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode()}"
