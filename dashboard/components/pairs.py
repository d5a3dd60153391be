"""Trials against a reference on the same subjects: a plot of the pairs, and what an exact test makes of them."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd
import streamlit as st
from components import reading, words

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import BASELINES
from mrisynth.results.paired import LEVEL, TEST, Paired, compare, subjects_needed

_VERDICTS = {
    "better": "better",
    "worse": "worse",
    "not shown": "no difference shown",
    "too few subjects": "too few subjects",
}


def subject_scores(index: Index, trials: Sequence[int], metric: str) -> dict[str, dict[str, float]]:
    """Subject to score, of each trial ("trial 3") and of both baselines, where there are any."""
    rows = reading.subject_frame(index, trials, metric)
    found = {
        f"trial {number}": dict(zip(of["subject"], of["value"], strict=True))
        for number in trials
        if len(of := rows[rows["trial"] == number])
    }
    for name in BASELINES:
        subjects = index.manifest["baselines"].get(name, {}).get("subjects", {})
        scores = {subject: each[metric] for subject, each in subjects.items() if each.get(metric) is not None}
        if scores:
            found[name] = scores
    return found


def frame(scores: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """One row a score: columns who, subject, value."""
    rows = [
        {"who": who, "subject": subject, "value": value}
        for who, each in scores.items()
        for subject, value in each.items()
    ]
    return pd.DataFrame(rows, columns=["who", "subject", "value"])


def plot(table: pd.DataFrame, title: str) -> alt.LayerChart:
    """One line a subject, from trial to trial."""
    order = list(dict.fromkeys(table["who"]))
    chart = alt.Chart(table).encode(
        alt.X("who:N", sort=order, title=None, axis=alt.Axis(labelAngle=0)),
        alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
        detail="subject:N",
        tooltip=["subject:N", "who:N", alt.Tooltip("value:Q", format=".4f")],
    )
    lines = chart.mark_line(color="#808890", opacity=0.55)
    points = chart.mark_circle(size=55, color="#3b82d6", opacity=0.9)
    mean = (
        alt.Chart(table)
        .mark_tick(color="#e8830c", thickness=3, width=34, size=34)
        .encode(alt.X("who:N", sort=order), alt.Y("mean(value):Q"), tooltip=["who:N", alt.Tooltip("mean(value):Q")])
    )
    return alt.layer(lines, points, mean).properties(height=320)


def verdicts(scores: Mapping[str, Mapping[str, float]], reference: str, direction: str) -> pd.DataFrame:
    """One row for each trial that is compared with the reference, in words and numbers."""
    others = [who for who in scores if who not in (reference, *BASELINES)]
    paired = compare([scores[who] for who in others], scores[reference], direction=direction)
    return pd.DataFrame([_row(who, each) for who, each in zip(others, paired, strict=True)])


def show(index: Index, trials: Sequence[int], metrics: Sequence[str]) -> None:
    """Ask for metric and reference; plot, table and the sentence that says what they mean."""
    left, right, _ = st.columns([1, 1, 2])
    metric = left.selectbox("Metric", metrics, key="metric", bind="query-params")
    scores = subject_scores(index, trials, metric)
    if all(who in BASELINES for who in scores):
        st.info("None of these trials has been scored yet.", icon=":material/hourglass_empty:")
        return
    reference = right.selectbox("Compared with", list(scores), key="against", bind="query-params")
    table = verdicts(scores, reference, index.direction(metric))
    left, right = st.columns([1, 1])
    ordered = {reference: scores[reference], **{who: each for who, each in scores.items() if who != reference}}
    left.altair_chart(plot(frame(ordered), words.metric_label(index, metric)), key="pairs")
    left.caption("One line a subject; the orange marks are the means. A subject's score is the mean of its slices.")
    if table.empty:
        right.caption("Choose a second trial, or compare with a baseline.")
        return
    unit = words.unit(index, metric)
    gain = f"mean gain ({unit})" if unit else "mean gain"
    right.dataframe(table.rename(columns={"gain": gain}), hide_index=True, column_config=_columns(gain, reference))
    if refusal := _refusal(len(table), int(table["n"].min())):
        right.warning(refusal, icon=":material/balance:")
    right.caption(
        f"{TEST}, over subjects, against {reference}; a difference is called where p, corrected by Holm's method for "
        f"{len(table)} comparison{'s' * (len(table) > 1)}, is at most {LEVEL:g}. The search chose its trials on these "
        "very subjects, so the best ones look a little better here than they are."
    )


def _row(who: str, each: Paired) -> dict[str, object]:
    count = len(each.subjects)
    return {
        "": who,
        "verdict": _VERDICTS[each.verdict],
        "gain": each.mean,
        "better on": f"{each.wins} of {count}",
        "n": count,
        "p, corrected": f"{each.corrected:.4f}" if each.verdict != "too few subjects" else "not tested",
    }


def _columns(gain: str, reference: str) -> dict[str, object]:
    return {
        gain: st.column_config.NumberColumn(format="%+.4f", help=f"over {reference}; positive is better"),
        "n": st.column_config.NumberColumn(help="subjects that both were scored on", width="small"),
        "p, corrected": st.column_config.TextColumn(help=f"{TEST}, with Holm's correction for all rows together"),
    }


def _refusal(comparisons: int, least: int) -> str:
    """Why no difference is called where the subjects are too few; empty where they are not."""
    needed = subjects_needed(comparisons)
    if least >= needed:
        return ""
    what = "one comparison takes" if comparisons == 1 else f"{comparisons} comparisons together take"
    remedy = "Score more subjects." if comparisons == 1 else "Choose fewer trials, or score more subjects."
    return (
        f"No difference is called: {what} at least {needed} subjects that all differ the same way, and here n = "
        f"{least}, however large the differences look. {remedy}"
    )
