"""Charts: each a function from a table to an Altair chart, so that its data can be checked."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
from components import words

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import BASELINES, breaking
from mrisynth.results.published import COUNTERPARTS, published_values

_OUTCOME_COLOUR = alt.Scale(domain=list(words.COLOURS), range=list(words.COLOURS.values()))
_OUTCOME_SHAPE = alt.Scale(domain=["completed", "pruned"], range=["circle", "triangle-down"])
_GREY = "#808890"
_FAMILY_COLOUR = alt.Scale(domain=["cnn", "gan", "forest", "unknown"], range=["#0072b2", "#d55e00", "#009e73", _GREY])
_HEIGHT = 340
ALONG = {"trial number": "trial", "time": "time (UTC)", "cost": "core-hours spent by all trials"}
"""Along what trials are laid, and what the axis is called."""


def scored_frame(
    index: Index, trials: pd.DataFrame, metric: str, *, along: str, families: bool = False
) -> pd.DataFrame:
    """Completed and pruned trials in order, with the best score so far of those that completed and break no constraint.

    Args:
        index: the sweep's index.
        trials: its trials as a frame.
        metric: which score.
        along: one of `ALONG`.
        families: take the best so far within each family.

    Returns:
        Columns trial, name, outcome, family, at (trial number, moment or core-hours), value, best.
    """
    column = f"value.{metric}"
    if column not in trials:
        return pd.DataFrame(columns=["trial", "name", "outcome", "family", "at", "value", "best"])
    placed = trials.assign(at=_places(index, trials, along))
    kept = placed[
        placed["outcome"].isin(["completed", "pruned"]) & placed[column].notna() & placed["at"].notna()
    ].copy()
    kept["value"], kept["family"] = kept[column], kept["family"].fillna("unknown")
    kept = kept.sort_values(["at", "trial"])
    completed = kept["value"].where((kept["outcome"] == "completed") & ~kept["trial"].isin(list(breaking(index))))
    best = "cummax" if index.direction(metric) == "maximize" else "cummin"
    within = kept["family"] if families else pd.Series("all", index=kept.index)
    kept["best"] = completed.groupby(within).transform(best).groupby(within).ffill()
    return kept[["trial", "name", "outcome", "family", "at", "value", "best"]]


def best_so_far(
    index: Index, frame: pd.DataFrame, metric: str, *, along: str, families: bool = False, paper: bool = False
) -> alt.LayerChart:
    """Each trial as a point, the best so far as a stair (or one a family), the baselines as dashed lines.

    Args:
        index: the sweep's index.
        frame: what `scored_frame` gave for the same metric, `along` and `families`.
        metric: which score.
        along: one of `ALONG`.
        families: colour by family instead of by outcome.
        paper: mark at the right edge what the paper printed, where the metric is one of the paper's.
    """
    whole = {"axis": alt.Axis(tickMinStep=1, format="d")} if along == "trial number" else {}
    at = alt.X("at:T" if along == "time" else "at:Q", title=ALONG[along], **whole)
    title = words.metric_label(index, metric)
    value = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    tooltip = ["trial:Q", "name:N", "outcome:N", "family:N", alt.Tooltip("value:Q", title=metric, format=".4f")]
    present = alt.Legend(orient="top", title=None, values=sorted(set(frame["family"])))
    of_family = alt.Color("family:N", scale=_FAMILY_COLOUR, legend=present)
    outcomes = [each for each in ("completed", "pruned") if each in set(frame["outcome"])]
    legend = alt.Legend(orient="top", title=None, values=outcomes)
    of_outcome = alt.Color("outcome:N", scale=_OUTCOME_COLOUR, legend=legend)
    points = alt.Chart(frame).mark_circle(size=60, opacity=0.8)
    stair = alt.Chart(frame).mark_line(interpolate="step-after", strokeWidth=2)
    best = alt.Y("best:Q", title=title, scale=alt.Scale(zero=False))
    if families:
        # Left to itself the legend of shapes is black, on dark ground too.
        greys = alt.Legend(orient="top", title=None, symbolFillColor=_GREY, symbolStrokeColor=_GREY)
        shape = alt.Shape("outcome:N", scale=_OUTCOME_SHAPE, legend=greys)
        points = alt.Chart(frame).mark_point(size=50, opacity=0.8, filled=True)
        layers = [stair.encode(at, best, of_family), points.encode(at, value, of_family, shape, tooltip=tooltip)]
    else:
        stair = stair.encode(at, best, color=alt.value(words.COLOURS["completed"]))
        layers = [stair, points.encode(at, value, of_outcome, tooltip=tooltip)]
    ghosts = _published(metric) if paper else []
    return alt.layer(*layers, *_baselines(index, metric), *ghosts).properties(height=_HEIGHT)


def outcomes(counts: dict[str, int]) -> alt.LayerChart:
    """How many trials ended how."""
    frame = pd.DataFrame({"outcome": list(counts), "trials": list(counts.values())})
    room = alt.Scale(domain=[0, 1.15 * max(1, *counts.values())], nice=False)  # for the numbers beside the bars
    across = alt.X("trials:Q", axis=alt.Axis(tickMinStep=1, format="d"), scale=room)
    down = alt.Y("outcome:N", sort=list(counts), title=None)
    colour = alt.Color("outcome:N", scale=_OUTCOME_COLOUR, legend=None)
    bars = alt.Chart(frame).mark_bar().encode(across, down, colour, tooltip=["outcome:N", "trials:Q"])
    numbers = alt.Chart(frame).mark_text(align="left", dx=4, color=_GREY).encode(across, down, text="trials:Q")
    return alt.layer(bars, numbers).properties(height=_HEIGHT)


def running(frame: pd.DataFrame, title: str) -> alt.Chart:
    """One curve a trial over its epochs: columns trial, epoch, value."""
    labelled = frame.assign(trial=frame["trial"].astype(str))
    return _curve(labelled, title).encode(
        alt.Color("trial:N", title="trial", sort=[str(each) for each in sorted(set(frame["trial"]))]),
        tooltip=["trial:N", "epoch:Q", "value:Q"],
    )


def loss(
    frame: pd.DataFrame, title: str, marks: Sequence[int] = (), *, logarithmic: bool
) -> alt.Chart | alt.LayerChart:
    """One quantity of one trial over its epochs: columns epoch, part, value.

    Args:
        frame: what is drawn.
        title: what it is called.
        marks: epochs after which a dashed line stands.
        logarithmic: whether the quantity's axis is, where all of it is positive.
    """
    parts = alt.Scale(
        domain=["train", "train_eval", "validation", "scores"], range=["#3b82d6", "#7b6fc4", "#e07b39", "#2e9e5b"]
    )
    present = list(dict.fromkeys(frame["part"]))
    colour = alt.Color("part:N", scale=parts, legend=alt.Legend(orient="bottom", title=None, values=present))
    chart = _curve(frame, title, logarithmic=logarithmic and bool((frame["value"] > 0).all()))
    curves = chart.encode(colour, tooltip=["part:N", "epoch:Q", "value:Q"]).properties(height=280)
    if not marks:
        return curves
    rules = alt.Chart(pd.DataFrame({"epoch": list(marks)}, dtype=float)).mark_rule(strokeDash=[4, 4], color=_GREY)
    return alt.layer(rules.encode(alt.X("epoch:Q")), curves)


def _curve(frame: pd.DataFrame, title: str, *, logarithmic: bool = False) -> alt.Chart:
    scale = alt.Scale(type="log") if logarithmic else alt.Scale(zero=False)
    chart = alt.Chart(frame[["epoch", "value", *({"trial", "part"} & set(frame))]]).mark_line(point=True)
    epoch = alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1, format="d"))
    return chart.encode(epoch, alt.Y("value:Q", title=title, scale=scale)).properties(height=_HEIGHT)


def _places(index: Index, trials: pd.DataFrame, along: str) -> pd.Series:
    """Where each trial stands: its number, when it ended, or the core-hours of all trials that had ended by then."""
    if along == "trial number":
        return trials["trial"]
    if along == "time":
        return trials["ended"]
    ended = trials[trials["ended"].notna()].sort_values(["ended", "trial"])
    return index.cores * ended["seconds"].fillna(0.0).cumsum().reindex(trials.index) / 3600


def _baselines(index: Index, metric: str) -> list[alt.Chart]:
    values = {name: index.manifest["baselines"].get(name, {}).get("values", {}).get(metric) for name in BASELINES}
    frame = pd.DataFrame([{"baseline": name, "value": value} for name, value in values.items() if value is not None])
    if frame.empty:
        return []
    rule = (
        alt.Chart(frame)
        .mark_rule(strokeDash=[6, 4], color=_GREY)
        .encode(alt.Y("value:Q"), tooltip=["baseline:N", "value:Q"])
    )
    texts = [
        alt.Chart(frame)
        .transform_filter(alt.datum.baseline == baseline)
        .mark_text(align="left", dx=4, dy=dy, color=_GREY)
        .encode(alt.Y("value:Q"), x=alt.value(0), text="baseline:N")
        # The lower one's name stands below its line: the two may be close.
        for baseline, dy in zip(frame.sort_values("value", ascending=False)["baseline"], (-6, 8), strict=False)
    ]
    return [rule, *texts]


def _published(metric: str) -> list[alt.Chart]:
    """What the paper printed by the metric's counterpart, as ghosts at the right edge; the best one is named."""
    frame = pd.DataFrame(published_values(metric).items(), columns=["model", "value"])
    if frame.empty:
        return []
    right = alt.value("width")
    marks = alt.Chart(frame).mark_point(shape="diamond", size=50, color=_GREY, opacity=0.7)
    tooltip = [alt.Tooltip("model:N", title="in the paper"), alt.Tooltip("value:Q", title=metric)]
    best = frame.loc[[frame["value"].idxmin() if COUNTERPARTS[metric] == "mse" else frame["value"].idxmax()]]
    name = alt.Chart(best.assign(label="paper: " + best["model"])).mark_text(align="right", dx=-10, color=_GREY)
    return [
        marks.encode(alt.Y("value:Q"), x=right, tooltip=tooltip),
        name.encode(alt.Y("value:Q"), x=right, text="label:N"),
    ]
