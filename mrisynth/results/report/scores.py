"""The tables of scores: in the form of the paper's Tables 2 and 3, and the order of the models beside the paper's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import stdev
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import BASELINES
from mrisynth.results.published import PUBLISHED, PublishedScores
from mrisynth.results.ranking import ranks, spearman
from mrisynth.results.report.selection import Family
from mrisynth.results.report.tables import Cell, Column, Row, Table, Value, plain
from mrisynth.results.report.words import (
    NONE,
    decimals,
    duration,
    loss_words,
    metric_title,
    networks,
    trial_label,
    unit,
    weights,
)

PUBLISHED_GROUP = "published: other data, not comparable in absolute terms"
LEAST_RANKED = 5
_COUNTERPARTS: Mapping[str, tuple[str, ...]] = {
    "psnr": ("psnr_255", "psnr"),
    "mse": ("mse_study", "mse"),
    "ssim": ("ssim_study", "ssim"),
}
"""Which of our metrics stands for which of the paper's: the first that there is."""
Columns = list[tuple[Column, list[Cell]]]


def scores_table(index: Index, family: Family) -> Table:
    """The family's scores on this program's own scale, with what each trial is and took."""
    rows = family.trials
    columns: Columns = _named(index, rows)
    columns += [
        _words("model", "networks", rows, networks),
        _words("losses", "loss", rows, lambda row: loss_words(weights(row))),
    ]
    columns += [_metric(index, rows, metric) for metric in index.metrics if not on_study_scale(metric)]
    size = "nodes" if family.name == "forest" else "generator parameters"
    columns.append(_facts("generator_parameters", size, rows, lambda row: row["generator_parameters"]))
    if any(row["adversary_parameters"] for row in rows):
        columns.append(
            _facts("adversary_parameters", "adversary parameters", rows, lambda row: row["adversary_parameters"])
        )
    timed = [Cell(row["seconds"], duration(row["seconds"])) for row in rows]
    columns.append((Column("seconds", "time"), [*_blank(index), *timed]))
    caption = f"{family.title}: scores of {family.which}, beside both baselines. {_marks(index)}"
    return _table(f"{family.slug}-scores", caption, columns, baselines=len(_baselines(index)))


def study_table(index: Index, family: Family) -> Table | None:
    """The family's scores as the paper measures them, with the published ones set apart; None without either."""
    rows = family.trials
    published = [PUBLISHED.get(row["name"]) for row in rows]
    metrics = [metric for metric in index.metrics if on_study_scale(metric)]
    if any(published) and not metrics:
        metrics = [metric for metric in _COUNTERPARTS if metric in index.metrics]
    if not metrics:
        return None
    columns = _named(index, rows)
    columns += [_metric(index, rows, metric) for metric in metrics]
    columns.append(
        _facts(
            "generator_parameters",
            "nodes" if family.name == "forest" else "parameters",
            rows,
            lambda row: row["generator_parameters"],
        )
    )
    if any(published):
        columns = [
            (replace(column, group="here" if at > 1 else ""), cells) for at, (column, cells) in enumerate(columns)
        ]
        columns += _published_columns(published, len(_baselines(index)))
    number = "3" if family.name == "gan" else "2"
    caption = f"{family.title}: {family.which} on the paper's scale, in the form of its Table {number}. "
    caption += _marks(index)
    return _table(f"{family.slug}-paper-scale", caption, columns, baselines=len(_baselines(index)))


def rank_table(index: Index) -> Table | None:
    """The order of the published trials here and in the paper; None where fewer than five completed."""
    rows = _latest_published(index)
    if len(rows) < LEAST_RANKED:
        return None
    names = list(rows)
    labels: list[Cell] = [plain(name) for name in names]
    columns: Columns = [(Column("name", "trial", number=False), [*labels, plain("Spearman ρ")])]  # noqa: RUF001
    for theirs, candidates in _COUNTERPARTS.items():
        ours = next((metric for metric in candidates if metric in index.metrics), None)
        scored = [name for name in names if ours and rows[name][f"value.{ours}"] is not None]
        if ours and len(scored) >= LEAST_RANKED:
            columns += _rank_columns(index, rows, names=names, scored=scored, pair=(theirs, ours))
    if len(columns) == 1:
        return None
    caption = (
        "Order of the models here and in the paper (1 is best), and the rank correlation of both orders; 1 is the "
        "same order, 0 no relation."
    )
    *ranked, last = zip(*(cells for _, cells in columns), strict=True)
    body = [*(Row("trial", cells) for cells in ranked), Row("summary", last)]
    return Table("ranks", caption, tuple(column for column, _ in columns), tuple(body))


def on_study_scale(metric: str) -> bool:
    """Whether a metric is one of those on the paper's standardised scale: by its name, as all are named."""
    return "_255" in metric or metric.endswith("_study")


def worse_than(index: Index, metric: str, value: float | None, baseline: str) -> bool | None:
    """Whether a score is no better than a baseline's; None where one is missing."""
    reference = _baselines(index).get(baseline, {"values": {}})["values"].get(metric)
    if value is None or reference is None:
        return None
    return bool(value <= reference if index.direction(metric) == "maximize" else value >= reference)


def _marks(index: Index) -> str:
    """What numbers, bold and italics mean."""
    count = len(pc.unique(index.subjects["subject"]))
    scored = f"Mean ± standard deviation over {count} validation subjects" if count > 1 else "One validation subject"
    return f"{scored}; bold: the best trial; italics: no better than identity, the unchanged low-field scan."


def _named(index: Index, rows: Sequence[Mapping[str, Any]]) -> Columns:
    names = [plain(name) for name in _baselines(index)]
    return [
        (Column("name", "trial", number=False), [*names, *(plain(trial_label(row)) for row in rows)]),
        _facts("trial", "no.", rows, lambda row: row["trial"], blanks=_blank(index)),
    ]


def _words(
    key: str, title: str, rows: Sequence[Mapping[str, Any]], say: Callable[[Mapping[str, Any]], str]
) -> tuple[Column, list[Cell]]:
    return Column(key, title, number=False), [plain(say(row)) for row in rows]


def _facts(
    key: str,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    take: Callable[[Mapping[str, Any]], Value],
    *,
    blanks: Sequence[Cell] = (),
) -> tuple[Column, list[Cell]]:
    return Column(key, title), [*blanks, *(plain(take(row)) for row in rows)]


def _metric(index: Index, rows: Sequence[Mapping[str, Any]], metric: str) -> tuple[Column, list[Cell]]:
    """A metric's column: both baselines, then the trials, with their spread over subjects and their marks."""
    baselines = _baselines(index).values()
    values = [*(each["values"].get(metric) for each in baselines), *(row[f"value.{metric}"] for row in rows)]
    scores = [*(_of_subjects(each["subjects"], metric) for each in baselines), *_scores(index, rows, metric)]
    places = decimals(values, unit(index, metric))
    known = [value for value in values[len(baselines) :] if value is not None]
    best = (max if index.direction(metric) == "maximize" else min)(known) if len(known) > 1 else None
    cells = []
    for at, (value, each) in enumerate(zip(values, scores, strict=True)):
        spread = stdev(each) if len(each) > 1 else None
        cells.append(
            Cell(
                value,
                NONE if value is None else f"{value:.{places}f}",
                spread,
                "" if spread is None else f"{spread:.{places}f}",
                best=at >= len(baselines) and value is not None and value == best,
                below=at >= len(baselines) and bool(worse_than(index, metric, value, "identity")),
            )
        )
    return Column(metric, metric_title(index, metric)), cells


def _published_columns(published: Sequence[PublishedScores | None], baselines: int) -> Columns:
    """The paper's PSNR, MSE, SSIM and number of parameters; they are compared with nothing."""
    titles = {"psnr": "PSNR ↑ dB", "mse": "MSE ↓", "ssim": "SSIM ↑", "parameters": "parameters"}
    columns: Columns = []
    for key, title in titles.items():
        cells = [_as_printed(getattr(each, key)) if each else plain(None) for each in published]
        columns.append((Column(f"published_{key}", title, PUBLISHED_GROUP), [plain(None)] * baselines + cells))
    return columns


def _as_printed(value: float) -> Cell:
    """A published number with the decimals that the paper prints."""
    if isinstance(value, int):
        return plain(value)
    return Cell(value, f"{value:.2f}" if value >= 1 else f"{value:.3f}" if round(value, 3) == value else f"{value:g}")


def _rank_columns(
    index: Index, rows: Mapping[str, Mapping[str, Any]], *, names: list[str], scored: list[str], pair: tuple[str, str]
) -> Columns:
    """Both orders by one score: the paper's and ours, over the trials that have one here."""
    theirs, ours = pair
    direction = index.direction(ours)
    published = ranks([getattr(PUBLISHED[name], theirs) for name in scored], direction=direction)
    here = ranks([rows[name][f"value.{ours}"] for name in scored], direction=direction)
    correlation = spearman(published, here)
    said = NONE if correlation is None else f"{correlation:+.2f} (n = {len(scored)})"
    columns: Columns = []
    for key, places, last in (("published", published, plain(None)), ("here", here, Cell(correlation, said))):
        by_name = dict(zip(scored, places.tolist(), strict=True))
        cells = [plain(by_name.get(name)) for name in names]
        column = Column(
            f"rank_{ours}_{key}", "published" if key == "published" else "here", f"{theirs.upper()} ({ours})"
        )
        columns.append((column, [*cells, last]))
    return columns


def _latest_published(index: Index) -> dict[str, dict[str, Any]]:
    """The completed trials with scores in the paper, in its order; of a repeated one the last."""
    rows = {row["name"]: row for row in index.trials.to_pylist() if row["outcome"] == "completed"}
    return {name: rows[name] for name in PUBLISHED if name in rows}


def _table(name: str, caption: str, columns: Columns, *, baselines: int) -> Table:
    """A table from its columns; a column that says nothing of the baselines is filled up."""
    height = max(len(cells) for _, cells in columns)
    filled = [[*[Cell(None, "")] * (height - len(cells)), *cells] for _, cells in columns]
    rows = (Row("baseline" if at < baselines else "trial", cells) for at, cells in enumerate(zip(*filled, strict=True)))
    return Table(name, caption, tuple(column for column, _ in columns), tuple(rows))


def _baselines(index: Index) -> dict[str, Mapping[str, Any]]:
    found = index.manifest["baselines"]
    return {name: found[name] for name in BASELINES if _is_baseline(found.get(name))}


def _is_baseline(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(key), Mapping) for key in ("values", "subjects"))


def _blank(index: Index) -> list[Cell]:
    return [Cell(None, "")] * len(_baselines(index))


def _of_subjects(subjects: Mapping[str, Mapping[str, float]], metric: str) -> list[float]:
    return [scores[metric] for scores in subjects.values() if scores.get(metric) is not None]


def _scores(index: Index, rows: Sequence[Mapping[str, Any]], metric: str) -> list[list[float]]:
    """Each trial's score of every subject."""
    found: dict[int, list[float]] = {row["trial"]: [] for row in rows}
    subjects = index.subjects
    ours = pc.is_in(subjects["trial"], pa.array(list(found), pa.int64()))
    for row in subjects.filter(pc.and_(ours, pc.equal(subjects["metric"], metric))).to_pylist():
        found[row["trial"]].append(row["value"])
    return list(found.values())
