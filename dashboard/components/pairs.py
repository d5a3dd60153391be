"""Trials against a reference on the same subjects: a plot of the pairs, and what an exact test makes of them."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd
import streamlit as st
from components import words

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import BASELINES
from mrisynth.results.paired import LEVEL, TEST, Paired, compare, subjects_needed

_VERDICTS = {
    "better": "better than the reference",
    "worse": "worse than the reference",
    "not shown": "no difference shown",
    "too few subjects": "too few subjects to tell",
}


def subject_scores(index: Index, trials: Sequence[int], metric: str) -> dict[str, dict[str, float]]:
    """Subject to score, of each trial ("trial 3") and of both baselines, where there are any."""
    rows = index.subjects.to_pandas()
    rows = rows[rows["trial"].isin(trials) & (rows["metric"] == metric)]
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
    """One row for each that is compared with the reference, in words and numbers."""
    others = [who for who in scores if who != reference]
    paired = compare([scores[who] for who in others], scores[reference], direction=direction)
    return pd.DataFrame([_row(who, each) for who, each in zip(others, paired, strict=True)])


def show(index: Index, trials: Sequence[int], metric: str) -> None:
    """Plot, table and the sentence that says what they mean."""
    scores = subject_scores(index, trials, metric)
    compared = [who for who in scores if who not in BASELINES]
    if not compared:
        st.info("None of these trials has been scored yet.", icon=":material/hourglass_empty:")
        return
    options = list(scores)
    reference = st.selectbox("Compared with", options, key="against", bind="query-params")
    unit = words.unit(index, metric)
    left, right = st.columns([3, 4])
    ordered = {reference: scores[reference], **{who: each for who, each in scores.items() if who != reference}}
    left.altair_chart(plot(frame(ordered), words.metric_label(index, metric)), key="pairs")
    left.caption("One line a subject, the orange marks are the means. Scores of slices are averaged within a subject.")
    if len(options) < 2:
        return
    table = verdicts(scores, reference, index.direction(metric))
    gain = f"mean gain ({unit})" if unit else "mean gain"
    right.dataframe(table.rename(columns={"gain": gain}), hide_index=True, column_config=_columns(gain, reference))
    right.caption(_explained(len(table), min(table["n"], default=0), reference))


def _row(who: str, each: Paired) -> dict[str, object]:
    count = len(each.subjects)
    told = each.verdict != "too few subjects"
    return {
        "": who,
        "gain": each.mean,
        "better on": f"{each.wins} of {count}",
        "n": count,
        "p": each.p if told else None,
        "p, corrected": each.corrected if told else None,
        "verdict": _VERDICTS[each.verdict],
    }


def _columns(gain: str, reference: str) -> dict[str, object]:
    return {
        gain: st.column_config.NumberColumn(format="%+.4f", help=f"over {reference}; positive is better"),
        "n": st.column_config.NumberColumn(help="subjects that both were scored on", width="small"),
        "p": st.column_config.NumberColumn(format="%.4f", help=TEST),
        "p, corrected": st.column_config.NumberColumn(format="%.4f", help="Holm's correction for all rows together"),
    }


def _explained(comparisons: int, least: int, reference: str) -> str:
    needed = subjects_needed(comparisons)
    together = f"{comparisons} comparisons together" if comparisons > 1 else "one comparison"
    said = (
        f"{TEST}, over subjects, against {reference}; with {together} (Holm), a difference is called where the "
        f"corrected p is at most {LEVEL:g}. "
    )
    if least < needed:
        said += (
            f"That takes at least {needed} subjects, all differing the same way; n = {least} cannot carry it, however "
            "large the differences look, so no difference is called. Choose fewer trials, or score more subjects. "
        )
    return (
        said
        + "The search chose its trials on these very subjects, so the best ones look a little better than they are."
    )
