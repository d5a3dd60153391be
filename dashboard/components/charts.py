"""Charts: each a function from a table to an Altair chart, so that its data can be checked."""

import altair as alt
import pandas as pd
from components import words

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import BASELINES, breaking

_OUTCOME_COLOUR = alt.Scale(domain=list(words.COLOURS), range=list(words.COLOURS.values()))
_HEIGHT = 340


def scored_frame(index: Index, trials: pd.DataFrame, metric: str, *, by_time: bool) -> pd.DataFrame:
    """Completed and pruned trials in order, with the best score so far of those that completed and break no constraint.

    Returns:
        Columns trial, name, outcome, at (trial number or moment), value, best.
    """
    column = f"value.{metric}"
    if column not in trials:
        return pd.DataFrame(columns=["trial", "name", "outcome", "at", "value", "best"])
    kept = trials[trials["outcome"].isin(["completed", "pruned"]) & trials[column].notna()].copy()
    kept["at"], kept["value"] = kept["ended"] if by_time else kept["trial"], kept[column]
    kept = kept[kept["at"].notna()].sort_values(["at", "trial"])
    completed = kept["value"].where((kept["outcome"] == "completed") & ~kept["trial"].isin(list(breaking(index))))
    kept["best"] = completed.cummax().ffill() if index.direction(metric) == "maximize" else completed.cummin().ffill()
    return kept[["trial", "name", "outcome", "at", "value", "best"]]


def best_so_far(index: Index, frame: pd.DataFrame, metric: str, *, by_time: bool) -> alt.LayerChart:
    """Each trial as a point, the best so far as a stair, the baselines as dashed lines."""
    at = (
        alt.X("at:T", title="time")
        if by_time
        else alt.X("at:Q", title="trial", axis=alt.Axis(tickMinStep=1, format="d"))
    )
    title = words.metric_label(index, metric)
    value = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    tooltip = ["trial:Q", "name:N", "outcome:N", alt.Tooltip("value:Q", title=metric, format=".4f")]
    colour = alt.Color(
        "outcome:N", scale=_OUTCOME_COLOUR, legend=alt.Legend(orient="top", title=None, values=["completed", "pruned"])
    )
    points = alt.Chart(frame).mark_circle(size=60, opacity=0.8).encode(at, value, colour, tooltip=tooltip)
    stair = alt.Chart(frame).mark_line(interpolate="step-after", color=words.COLOURS["completed"], strokeWidth=2)
    stair = stair.encode(at, alt.Y("best:Q", title=title, scale=alt.Scale(zero=False)))
    return alt.layer(stair, points, *_baselines(index, metric)).properties(height=_HEIGHT)


def outcomes(counts: dict[str, int]) -> alt.LayerChart:
    """How many trials ended how."""
    frame = pd.DataFrame({"outcome": list(counts), "trials": list(counts.values())})
    across = alt.X("trials:Q", axis=alt.Axis(tickMinStep=1, format="d"))
    down = alt.Y("outcome:N", sort=list(counts), title=None)
    colour = alt.Color("outcome:N", scale=_OUTCOME_COLOUR, legend=None)
    bars = alt.Chart(frame).mark_bar().encode(across, down, colour, tooltip=["outcome:N", "trials:Q"])
    numbers = alt.Chart(frame).mark_text(align="left", dx=4).encode(across, down, text="trials:Q")
    return alt.layer(bars, numbers).properties(height=_HEIGHT)


def running(frame: pd.DataFrame, title: str) -> alt.Chart:
    """One curve a trial over its epochs: columns trial, epoch, value."""
    labelled = frame.assign(trial=frame["trial"].astype(str))
    return _curve(labelled, title).encode(
        alt.Color("trial:N", title="trial", sort=[str(each) for each in sorted(set(frame["trial"]))]),
        tooltip=["trial:N", "epoch:Q", "value:Q"],
    )


def loss(frame: pd.DataFrame, title: str, *, logarithmic: bool) -> alt.Chart:
    """One quantity of one trial over its epochs: columns epoch, part, value."""
    parts = alt.Scale(
        domain=["train", "train_eval", "validation", "scores"], range=["#3b82d6", "#1b3f73", "#e07b39", "#2e9e5b"]
    )
    present = list(dict.fromkeys(frame["part"]))
    colour = alt.Color("part:N", scale=parts, legend=alt.Legend(orient="bottom", title=None, values=present))
    chart = _curve(frame, title, logarithmic=logarithmic and bool((frame["value"] > 0).all()))
    return chart.encode(colour, tooltip=["part:N", "epoch:Q", "value:Q"]).properties(height=280)


def _curve(frame: pd.DataFrame, title: str, *, logarithmic: bool = False) -> alt.Chart:
    scale = alt.Scale(type="log") if logarithmic else alt.Scale(zero=False)
    chart = alt.Chart(frame[["epoch", "value", *({"trial", "part"} & set(frame))]]).mark_line(point=True)
    epoch = alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1, format="d"))
    return chart.encode(epoch, alt.Y("value:Q", title=title, scale=scale)).properties(height=_HEIGHT)


def _baselines(index: Index, metric: str) -> list[alt.Chart]:
    values = {name: index.manifest["baselines"].get(name, {}).get("values", {}).get(metric) for name in BASELINES}
    frame = pd.DataFrame([{"baseline": name, "value": value} for name, value in values.items() if value is not None])
    if frame.empty:
        return []
    rule = (
        alt.Chart(frame)
        .mark_rule(strokeDash=[6, 4], color="#808890")
        .encode(alt.Y("value:Q"), tooltip=["baseline:N", "value:Q"])
    )
    text = (
        alt.Chart(frame)
        .mark_text(align="left", dx=4, dy=-6, color="#808890")
        .encode(alt.Y("value:Q"), x=alt.value(0), text="baseline:N")
    )
    return [rule, text]
