"""The trials as a table."""

import pandas as pd
import streamlit as st
from components import words

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import BASELINES, gains, top

_WHO = ["rank", "trial", "outcome", "generator", "adversary"]
_EFFORT = ["epochs", "epochs_planned", "seconds", "generator_parameters"]


def ranked(index: Index, trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The trials best first, with their rank, their gains over the baselines and how far they were trained."""
    order = [row["trial"] for row in top(index, by=metric)]
    rank = {trial: position + 1 for position, trial in enumerate(order)}
    gained = gains(index, metric, trials["trial"].tolist())
    table = trials.assign(rank=trials["trial"].map(rank)).sort_values("rank")
    for baseline in BASELINES:
        for kind in ("mean", "minimum"):
            values = [gained.get(trial, {}).get(baseline, {}).get(kind) for trial in table["trial"]]
            table[f"{kind} gain over {baseline}"] = pd.Series(values, index=table.index, dtype="float64")
    return table


def show(index: Index, table: pd.DataFrame, *, metric: str, metrics: list[str], parameters: list[str]) -> int | None:
    """Show the table; the trial whose row was selected, if any."""
    first = [metric, *(each for each in metrics if each != metric)]
    values = [f"value.{name}" for name in first if f"value.{name}" in table]
    means, least = ([f"{kind} gain over {baseline}" for baseline in BASELINES] for kind in ("mean", "minimum"))
    named = ["name"] if table["name"].notna().any() else []
    columns = [*_WHO[:2], *named, *_WHO[2:], *values[:1], *means, *values[1:], *_EFFORT]
    table = table[[*columns, *(f"param.{path}" for path in parameters), *least]].fillna({"name": ""} if named else {})
    event = st.dataframe(
        table,
        key="trials table",
        hide_index=True,
        height=min(38 + 35 * max(len(table), 1), 640),
        column_config=_configuration(index, table),
        on_select="rerun",
        selection_mode="single-row",
    )
    rows = event["selection"]["rows"]
    return int(table["trial"].iloc[rows[0]]) if rows else None


def _configuration(index: Index, table: pd.DataFrame) -> dict[str, object]:
    config: dict[str, object] = {
        "rank": st.column_config.NumberColumn("#", help="completed trials first, then pruned ones", width="small"),
        "trial": st.column_config.NumberColumn("trial", width="small", format="%d"),
        "name": st.column_config.TextColumn("name", width="medium"),
        "epochs_planned": st.column_config.NumberColumn("of", help="epochs that were planned"),
        "seconds": st.column_config.NumberColumn("time (s)", help="worker time", format="%.1f"),
        "generator_parameters": st.column_config.NumberColumn(
            "generator size", help="number of weights", format="localized"
        ),
    }
    for name in table:
        if name.startswith("value."):
            metric = name.removeprefix("value.")
            label, about = words.metric_label(index, metric), words.metric_help(index, metric)
            config[name] = st.column_config.NumberColumn(label, help=about, format="%.4f")
        elif " gain over " in name:
            kind, baseline = name.split(" gain over ")
            label = f"gain over {baseline}" if kind == "mean" else f"least gain over {baseline}"
            about = "mean over the subjects" if kind == "mean" else "the subject that gains least"
            config[name] = st.column_config.NumberColumn(label, help=f"{about}; positive is better", format="%+.3f")
        elif name.startswith("param."):
            config[name] = st.column_config.Column(name.removeprefix("param."))
    return config
