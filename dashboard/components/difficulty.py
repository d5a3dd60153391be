"""Which subjects are hard: what the best, the median and the worst completed trial score on each."""

import altair as alt
import pandas as pd
import streamlit as st
from components import reading, words

from mrisynth.results.index import Index

_COLOURS = {"best": "#0072b2", "median": "#808890", "worst": "#d55e00", "low (identity)": "#b08900"}
_SHAPES = {"best": "triangle-up", "median": "circle", "worst": "triangle-down", "low (identity)": "cross"}


def frame(index: Index, metric: str) -> pd.DataFrame:
    """One row a subject and kind: subject, kind, trial, value; the median trial's hardest subject first."""
    trials, column = reading.trials_frame(index), f"value.{metric}"
    scored = (
        trials.loc[(trials["outcome"] == "completed") & trials[column].notna(), "trial"] if column in trials else []
    )
    known = set(scored)
    completed = [trial for trial in reading.ranking(index, metric) if trial in known]
    if not completed:
        return pd.DataFrame(columns=["subject", "kind", "trial", "value"])
    chosen = {"best": completed[0], "median": completed[len(completed) // 2], "worst": completed[-1]}
    scores = reading.subject_frame(index, list(chosen.values()), metric)
    parts = [
        scores[scores["trial"] == trial].assign(kind=kind)[["subject", "kind", "trial", "value"]]
        for kind, trial in chosen.items()
    ]
    baseline = index.manifest["baselines"].get("identity", {}).get("subjects", {})
    rows = [
        {"subject": name, "kind": "low (identity)", "trial": None, "value": each[metric]}
        for name, each in baseline.items()
        if each.get(metric) is not None
    ]
    table = pd.concat([*parts, pd.DataFrame(rows)] if rows else parts, ignore_index=True)
    middle = table[table["kind"] == "median"].set_index("subject")["value"]
    harder = 1 if index.direction(metric) == "maximize" else -1
    place = table["subject"].map(middle * harder)
    return table.assign(place=place).sort_values("place", kind="stable").drop(columns="place").reset_index(drop=True)


def show(index: Index, metric: str) -> None:
    """Draw one line of marks a subject."""
    table = frame(index, metric)
    if table.empty:
        st.info(
            "No trial has completed yet, so nothing is known about how hard the subjects are.",
            icon=":material/hourglass_empty:",
        )
        return
    order = list(dict.fromkeys(table["subject"]))
    kinds = list(dict.fromkeys([kind for kind in _COLOURS if kind in set(table["kind"])]))
    spans = (
        alt.Chart(table)
        .mark_rule(color="#808890", opacity=0.5)
        .encode(alt.Y("subject:N", sort=order), alt.X("min(value):Q"), alt.X2("max(value):Q"))
    )
    marks = (
        alt.Chart(table)
        .mark_point(filled=True, size=90, opacity=0.95)
        .encode(
            alt.X("value:Q", title=words.metric_label(index, metric), scale=alt.Scale(zero=False)),
            alt.Y("subject:N", sort=order, title=None),
            alt.Color(
                "kind:N",
                scale=alt.Scale(domain=kinds, range=[_COLOURS[kind] for kind in kinds]),
                legend=alt.Legend(orient="top", title=None),
            ),
            alt.Shape("kind:N", scale=alt.Scale(domain=kinds, range=[_SHAPES[kind] for kind in kinds])),
            tooltip=["subject:N", "kind:N", "trial:Q", alt.Tooltip("value:Q", format=".4f")],
        )
    )
    st.altair_chart(alt.layer(spans, marks).properties(height=alt.Step(32)), key="difficulty")
    trials = {kind: of["trial"].iloc[0] for kind, of in table.groupby("kind") if kind != "low (identity)"}
    named = ", ".join(f"{kind} is trial {int(trials[kind])}" for kind in ("best", "median", "worst") if kind in trials)
    st.caption(f"Of the completed trials, {named}. The hardest subject of the median trial stands at the top.")
