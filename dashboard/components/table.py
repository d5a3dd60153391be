"""The trials as a table."""

import hashlib
from dataclasses import dataclass

import pandas as pd
import streamlit as st
from components import scores, words

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import BASELINES
from mrisynth.results.notes import Note

_WHO = ["outcome", "generator", "adversary"]
_EFFORT = ["epochs", "epochs_planned", "seconds", "generator_parameters"]
_ROW, _TALLEST = 36, 660


@dataclass(frozen=True, slots=True)
class Columns:
    """What the table shows.

    Args:
        metric: the metric that ranks, shown first.
        metrics: all that are shown.
        parameters: dotted paths of the settings that are shown.
    """

    metric: str
    metrics: list[str]
    parameters: list[str]


def rows(
    index: Index, trials: pd.DataFrame, wanted: Columns, *, notes: dict[int, Note], pictures: dict[int, str]
) -> pd.DataFrame:
    """The table's rows in the order of `trials`.

    Args:
        index: the sweep's index.
        trials: its trials that passed, with their `rank`.
        wanted: which columns.
        notes: what people wrote.
        pictures: trial to a thumbnail.
    """
    table = trials.set_index("trial", drop=False)
    subjects = scores.by_subject(index, wanted.metric).reindex(table.index)
    table = table.join(scores.gain_frame(index, wanted.metric))
    table["picture"] = [pictures.get(trial) for trial in table["trial"]]
    table["star"] = ["★" if notes.get(trial, Note()).star else "" for trial in table["trial"]]
    table["tags"] = [list(notes.get(trial, Note()).tags) for trial in table["trial"]]
    table["subjects"] = list(subjects.to_numpy()) if len(subjects.columns) else [None] * len(table)
    table["warning"] = table["warning"].notna().map({True: "⚠", False: ""})
    return table[_names(table, wanted)].reset_index(drop=True)


def show(index: Index, table: pd.DataFrame, wanted: Columns) -> list[int]:
    """Show the table; the trials whose rows were selected."""
    # Streamlit keeps a selection by position: another list of trials needs another key, or others would be selected.
    key = hashlib.sha256(table["trial"].to_numpy().tobytes()).hexdigest()[:16]
    event = st.dataframe(
        table,
        key=f"trials {key}",
        hide_index=True,
        height=min(38 + _ROW * max(len(table), 1), _TALLEST),
        row_height=_ROW,
        column_config=_configuration(index, table, wanted),
        on_select="rerun",
        selection_mode="multi-row",
        placeholder="",
        alt="The trials that pass the filters, one row each, best first",
    )
    return [int(table["trial"].iloc[row]) for row in event["selection"]["rows"]]


def _names(table: pd.DataFrame, wanted: Columns) -> list[str]:
    ordered = [wanted.metric, *(each for each in wanted.metrics if each != wanted.metric)]
    values = [f"value.{name}" for name in ordered if f"value.{name}" in table]
    means, least = ([f"{kind} gain over {baseline}" for baseline in BASELINES] for kind in ("mean", "minimum"))
    optional = {
        "star": table["star"].any(),
        "picture": table["picture"].notna().any(),
        "name": table["name"].notna().any(),
        "reason": table["reason"].notna().any(),
        "warning": table["warning"].any(),
        "tags": table["tags"].map(bool).any(),
    }
    names = ["rank", "trial", "star", "picture", "name", "outcome", "reason", "warning", *_WHO[1:], *values[:1]]
    names += ["subjects", *means, *values[1:], *_EFFORT, "tags", *(f"param.{path}" for path in wanted.parameters)]
    return [name for name in [*names, *least, "message"] if optional.get(name, True)]


def _configuration(index: Index, table: pd.DataFrame, wanted: Columns) -> dict[str, object]:
    column = st.column_config
    config: dict[str, object] = {
        "rank": column.NumberColumn("#", help="completed trials first, then pruned ones", width=45),
        "trial": column.NumberColumn("trial", width=60, format="%d", pinned=True),
        "star": column.TextColumn("★", width=35, help="starred trials"),
        "picture": column.ImageColumn(
            "slice", width=60, help="the middle slice of the first subject; best trials only"
        ),
        "name": column.TextColumn("name", width="small"),
        "reason": column.TextColumn("reason", width="small", help="why it was rejected, lost or stopped"),
        "warning": column.TextColumn("⚠", width=35, help="its last epochs gave a warning; see its page"),
        "subjects": _spread(table, wanted.metric),
        "epochs_planned": column.NumberColumn("of", help="epochs that were planned", width=45),
        "seconds": column.NumberColumn("time (s)", help="of training; times its CPU cores: core-hours", format="%.1f"),
        "generator_parameters": column.NumberColumn("weights", help="of the generator", format="localized"),
        "tags": column.ListColumn("tags"),
        "message": column.TextColumn("how it ended", width="large"),
    }
    return config | {name: each for name in table if (each := _numeric(index, name)) is not None}


def _spread(table: pd.DataFrame, metric: str) -> object:
    """Bars, one a subject, from the least score in the table to the largest."""
    known = [row for row in table["subjects"] if row is not None]
    values = pd.Series([value for row in known for value in row], dtype="float64").dropna()
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    about = f"{metric} of each validation subject, by name; bars go from {words.number(low)} to {words.number(high)}"
    margin = (high - low) * 0.05 or 1.0
    return st.column_config.BarChartColumn(f"{metric} by subject", help=about, y_min=low - margin, y_max=high)


def _numeric(index: Index, name: str) -> object | None:
    if name.startswith("value."):
        metric = name.removeprefix("value.")
        label, about = words.metric_label(index, metric), words.metric_help(index, metric)
        return st.column_config.NumberColumn(label, help=about, format="%.4f")
    if " gain over " in name:
        kind, baseline = name.split(" gain over ")
        label = f"gain over {baseline}" if kind == "mean" else f"least gain over {baseline}"
        about = "mean over the subjects" if kind == "mean" else "the subject that gains least"
        return st.column_config.NumberColumn(label, help=f"{about}; positive is better", format="%+.3f")
    if name.startswith("param."):
        return st.column_config.Column(name.removeprefix("param."))
    return None
