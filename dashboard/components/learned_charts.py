"""Charts of what a search learned: each a function from values to a chart, so that its data can be checked."""

import math
from collections.abc import Sequence, Set
from dataclasses import asdict
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from mrisynth.results.insight.domains import Domain, word
from mrisynth.results.insight.importance import Importances
from mrisynth.results.insight.progress import Progress
from mrisynth.results.insight.survival import Rung

# After Okabe and Ito: told apart by people who confuse red and green, and seen on white and on black.
FAMILIES = {"forest": "#009e73", "cnn": "#3b8fd0", "gan": "#e0701a"}
GREY, BEST = "#8a94a0", "#e0701a"
MOST, BEST_KEPT = 1500, 200
"""How many points a scatter plot shows at most, and how many of the best are always among them."""
_DASH: dict[str, Any] = {"shape": "stroke", "size": 2500, "color": GREY, "strokeWidth": 4, "opacity": 1}
_NAMES = alt.Axis(labelAngle=0, labelLimit=90)


def family_colour(families: Set[str]) -> alt.Color:
    """The colour of a family, the same in all charts."""
    present = [name for name in dict.fromkeys([*FAMILIES, *sorted(families)]) if name in families]
    scale = alt.Scale(domain=present, range=[FAMILIES.get(name, GREY) for name in present])
    return alt.Color("family:N", scale=scale, legend=alt.Legend(orient="top", title=None))


def importance_frame(found: Importances) -> pd.DataFrame:
    """Columns path, trials, share, low, high, verdict; shares in percent."""
    frame = pd.DataFrame([asdict(each) for each in found.parameters])
    frame[["share", "low", "high"]] *= 100
    frame["verdict"] = np.where(frame["above_noise"], "beyond chance", "may be chance")
    return frame.drop(columns="above_noise")


def importance(found: Importances) -> alt.LayerChart:
    """A bar a parameter with its spread over the repeats, and how far columns of pure chance came."""
    frame = importance_frame(found)
    down = alt.Y("path:N", sort=frame["path"].tolist(), title=None, axis=alt.Axis(labelLimit=260))
    title = "share of the order's variance (%)"
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=["beyond chance", "may be chance"], range=[FAMILIES["cnn"], GREY]),
        legend=alt.Legend(orient="top", title=None),
    )
    tooltip = [
        alt.Tooltip("path:N", title="parameter"),
        *(alt.Tooltip(f"{name}:Q", title=f"{name} (%)", format=".1f") for name in ("share", "low", "high")),
        alt.Tooltip("trials:Q", title="trials that have it"),
    ]
    base = alt.Chart(frame).encode(down)
    bars = base.mark_bar(height={"band": 0.62}).encode(alt.X("share:Q", title=title), colour, tooltip=tooltip)
    spread = base.mark_rule(strokeWidth=2, color=GREY).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    halo = base.mark_rule(strokeWidth=5, color="#ffffff", opacity=0.7).encode(
        x=alt.X("low:Q", title=title), x2="high:Q"
    )
    noise = pd.DataFrame({"noise": [100 * max(found.noise, 0.0)]})
    chance = (
        alt.Chart(noise)
        .mark_rule(strokeDash=[4, 4], color=GREY, strokeWidth=2)
        .encode(x="noise:Q", tooltip=[alt.Tooltip("noise:Q", title="columns of chance reached (%)", format=".1f")])
    )
    return alt.layer(bars, halo, spread, chance).properties(height=alt.Step(26))


def slice_chart(frame: pd.DataFrame, domain: Domain, title: str) -> alt.LayerChart:
    """One parameter against the metric: a point a trial, each tenth's or each value's median, the best trial ringed."""
    plotted = frame[["trial", "family", "value"]].assign(x=frame[domain.path])
    plotted = plotted[plotted["x"].notna()]
    wide, across = _wide(domain), _axis(alt.X, "x", domain)
    if not wide:
        plotted["x"] = [word(each) for each in plotted["x"]]
    up = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    about = [
        alt.Tooltip("x:Q" if wide else "x:N", title=domain.path),
        alt.Tooltip("value:Q", title=title, format=".4g"),
    ]
    drawn = _thinned(plotted)
    drawn = drawn.assign(jitter=np.random.default_rng(0).uniform(-0.3, 0.3, len(drawn)))
    aside = {} if wide else {"xOffset": alt.XOffset("jitter:Q", scale=alt.Scale(domain=[-0.7, 0.7]))}
    points = alt.Chart(drawn).mark_circle(size=26, opacity=0.5)
    points = points.encode(
        across, up, family_colour(set(plotted["family"])), tooltip=["trial:Q", "family:N", *about], **aside
    )
    middle = alt.Chart(medians_frame(plotted, domain if wide else None).assign(jitter=0.0))
    line = middle.mark_line(color=GREY, strokeWidth=3) if wide else middle.mark_point(**_DASH)
    line = line.encode(across, up, tooltip=[*about, alt.Tooltip("n:Q", title="trials")], **aside)
    ring = alt.Chart(drawn.tail(1)).mark_point(size=150, strokeWidth=2.5, color=BEST, shape="circle")
    return alt.layer(points, line, ring.encode(across, up, tooltip=["trial:Q", *about], **aside)).properties(height=270)


def medians_frame(plotted: pd.DataFrame, domain: Domain | None) -> pd.DataFrame:
    """The median of each value (no domain), or of each tenth of the range that has 5 trials: columns x, value, n."""
    if domain is None:
        return plotted.groupby("x", sort=False)["value"].agg(value="median", n="size").reset_index()
    tenth = np.clip((domain.place(plotted["x"].to_numpy(float)) * 10).astype(int), 0, 9)
    grouped = plotted.assign(tenth=tenth).groupby("tenth")
    found = grouped.agg(x=("x", "median"), value=("value", "median"), n=("value", "size"))
    return found[found["n"] >= 5].reset_index(drop=True)


def map_frame(frame: pd.DataFrame, first: Domain, second: Domain, tiles: int = 12) -> pd.DataFrame:
    """The metric over tiles of two ranges: columns x, x2, y, y2 (bounds) or x, y (choices), median, n."""
    both = frame[frame[first.path].notna() & frame[second.path].notna()]
    columns: dict[str, Any] = {"value": both["value"]}
    for name, domain in (("x", first), ("y", second)):
        columns[name] = _tiles(both[domain.path], domain, tiles)
    grouped = pd.DataFrame(columns).groupby(["x", "y"], sort=False)["value"]
    found = grouped.agg(median="median", n="size").reset_index()
    for name, domain in (("x", first), ("y", second)):
        if _wide(domain):
            found[f"{name}2"] = [domain.value((at + 1) / tiles) for at in found[name]]
            found[name] = [domain.value(at / tiles) for at in found[name]]
    return found


def parameter_map(frame: pd.DataFrame, first: Domain, second: Domain, title: str) -> alt.LayerChart:
    """Two parameters: each tile's colour is the median of its trials; a ring at the best trial."""
    tiles = map_frame(frame, first, second)
    reverse = alt.Scale(scheme="viridis")
    colour = alt.Color("median:Q", title=f"median {title}", scale=reverse)
    tooltip = [
        alt.Tooltip("median:Q", format=".4g"),
        alt.Tooltip("n:Q", title="trials"),
        *_bounds(first, "x"),
        *_bounds(second, "y"),
    ]
    marks = alt.Chart(tiles).mark_rect(stroke="#ffffff", strokeWidth=0.4)
    across, up = _axis(alt.X, "x", first), _axis(alt.Y, "y", second)
    extent = {**({"x2": "x2:Q"} if _wide(first) else {}), **({"y2": "y2:Q"} if _wide(second) else {})}
    chart = marks.encode(across, up, colour, tooltip=tooltip, **extent)
    both, pairs = frame[frame[first.path].notna() & frame[second.path].notna()].tail(1), (("x", first), ("y", second))
    at = {name: both[d.path] if _wide(d) else [word(each) for each in both[d.path]] for name, d in pairs}
    ring = alt.Chart(both.assign(**at)[["trial", "x", "y", "value"]])
    shape = ring.mark_point(size=200, strokeWidth=3, color="#ffffff", fill=BEST, shape="circle")
    return alt.layer(chart, shape.encode(across, up, tooltip=["trial:Q", "value:Q"])).properties(height=380)


def reached(found: Progress, label: str) -> alt.Chart:
    """The best so far, or the hypervolume so far, as a stair over core-hours."""
    frame = pd.DataFrame({"hours": found.hours, "trial": found.trials, "reached": found.reached})
    across = alt.X("hours:Q", title="core-hours spent", axis=alt.Axis(format=",.4~r"))
    up = alt.Y("reached:Q", title=label, scale=alt.Scale(zero=False))
    tooltip = [alt.Tooltip("hours:Q", format=".4g"), "trial:Q", alt.Tooltip("reached:Q", title=label, format=".5g")]
    stair = alt.Chart(frame).mark_line(interpolate="step-after", strokeWidth=2.5, color=FAMILIES["cnn"])
    return stair.encode(across, up, tooltip=tooltip).properties(height=300)


def trade_off(frame: pd.DataFrame, metrics: tuple[str, str], labels: tuple[str, str]) -> alt.LayerChart:
    """Two metrics against each other; columns trial, family, x, y, front (whether no other beats it in both)."""
    across = alt.X("x:Q", title=labels[0], scale=alt.Scale(zero=False))
    up = alt.Y("y:Q", title=labels[1], scale=alt.Scale(zero=False))
    tooltip = [
        "trial:Q",
        "family:N",
        *(alt.Tooltip(f"{c}:Q", title=m, format=".5g") for c, m in zip("xy", metrics, strict=True)),
    ]
    points = alt.Chart(_thinned(frame)).mark_circle(size=26, opacity=0.45)
    on_front = frame[frame["front"]].sort_values(["x", "y"])
    line = alt.Chart(on_front).mark_line(color=GREY, interpolate="step-after", strokeDash=[4, 3])
    rings = alt.Chart(on_front).mark_point(size=90, strokeWidth=2, filled=False)
    colour = family_colour(set(frame["family"]))
    return alt.layer(
        points.encode(across, up, colour, tooltip=tooltip),
        line.encode(across, up, order="x:Q"),
        rings.encode(across, up, colour, tooltip=tooltip),
    ).properties(height=340)


def survival(rungs: Sequence[Rung]) -> alt.LayerChart:
    """How many trials of each family got how far, with the numbers."""
    frame = pd.DataFrame([asdict(each) for each in rungs])
    begun = frame.groupby("family")["reached"].transform("max")
    frame["share"], frame["of"] = 100 * frame["reached"] / begun, begun
    frame["percent"] = 100 * frame["fraction"]
    across = alt.X("percent:Q", title="share of a trial's epochs (%)", scale=alt.Scale(domain=[0, 104]))
    up = alt.Y("share:Q", title="trials that got so far (%)", scale=alt.Scale(domain=[0, 108]))
    tooltip = ["family:N", alt.Tooltip("percent:Q", format=".0f", title="epochs (%)"), "reached:Q", "of:Q", "pruned:Q"]
    base = alt.Chart(frame).encode(across, up, family_colour(set(frame["family"])), tooltip=tooltip)
    # Families that fare alike lie on each other: each has its numbers at another height.
    numbers = [
        base.transform_filter(alt.datum.family == name).mark_text(align="left", dx=5, dy=dy).encode(text="reached:Q")
        for name, dy in zip(sorted(set(frame["family"])), (-9, 13, 26), strict=False)
    ]
    lines, points = base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=60)
    return alt.layer(lines, points, *numbers).properties(height=300)


def family_boxes(frame: pd.DataFrame, title: str) -> alt.LayerChart:
    """The scores of each family's completed trials: every trial, and the box of its quartiles; n at the name."""
    counts = frame["family"].value_counts()
    plotted = frame[["trial", "family", "value"]].assign(label=[f"{f} (n = {counts[f]})" for f in frame["family"]])
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(plotted))
    plotted = plotted.assign(jitter=jitter)
    down = alt.Y("label:N", title=None)
    across = alt.X("value:Q", title=title, scale=alt.Scale(zero=False))
    colour = family_colour(set(plotted["family"])).copy()
    colour.legend = None
    spots = alt.Chart(_thinned(plotted)).mark_circle(size=22, opacity=0.4)
    offset = alt.YOffset("jitter:Q", scale=alt.Scale(domain=[-0.6, 0.6]))
    points = spots.encode(across, down, colour, yOffset=offset, tooltip=["trial:Q", "family:N", "value:Q"])
    box = alt.Chart(quartiles_frame(plotted))
    bar = box.mark_bar(height=12, opacity=0.85, color=GREY, stroke="#ffffff").encode(
        x=alt.X("lower:Q", title=title), x2="upper:Q", y=down
    )
    tick = box.mark_tick(thickness=3, size=12, color="#ffffff").encode(x="median:Q", y=down)
    return alt.layer(points, bar, tick).properties(height=alt.Step(70))


def quartiles_frame(plotted: pd.DataFrame) -> pd.DataFrame:
    """Columns label, lower, median, upper; of families with at least 5 trials."""
    plotted = plotted[plotted.groupby("label")["label"].transform("size") >= 5]
    if plotted.empty:
        return pd.DataFrame(columns=["label", "lower", "median", "upper"])
    found = plotted.groupby("label")["value"].quantile([0.25, 0.5, 0.75]).unstack()
    return found.set_axis(["lower", "median", "upper"], axis=1).reset_index()


def _thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """Of many trials the best, which stand last, and as many of the others as can be told apart."""
    if len(frame) <= MOST:
        return frame
    rest = frame.iloc[:-BEST_KEPT].sample(MOST - BEST_KEPT, random_state=0)
    return pd.concat([rest, frame.iloc[-BEST_KEPT:]])


def _wide(domain: Domain) -> bool:
    """Whether its axis is one of numbers; else each value has a place with a name."""
    return domain.numeric and not domain.few


def _tiles(values: pd.Series, domain: Domain, tiles: int) -> Any:
    if not _wide(domain):
        return [word(each) for each in values]
    return np.clip((domain.place(values.to_numpy(float)) * tiles).astype(int), 0, tiles - 1)


def _axis(kind: Any, name: str, domain: Domain) -> Any:
    """A parameter's axis: its whole range with powers of ten where it is logarithmic, or its choices."""
    if not _wide(domain):
        names = [word(each) for each in np.arange(domain.low, domain.high + 1)] if domain.numeric else domain.choices
        upwards = kind is alt.Y and domain.numeric  # names stand from top to bottom, numbers should rise
        return kind(f"{name}:N", title=domain.path, sort=list(names)[:: -1 if upwards else 1], axis=_NAMES)
    scale = alt.Scale(type="log" if domain.log else "linear", domain=[domain.low, domain.high], nice=False, clamp=True)
    ticks: Any = alt.Undefined
    if domain.log and domain.low and domain.high and domain.high / domain.low >= 100:
        ticks = [
            10.0**at
            for at in range(math.ceil(math.log10(domain.low) - 1e-9), math.floor(math.log10(domain.high) + 1e-9) + 1)
        ]
    return kind(f"{name}:Q", title=domain.path, scale=scale, axis=alt.Axis(format="~g", values=ticks, grid=False))


def _bounds(domain: Domain, name: str) -> list[alt.Tooltip]:
    if not _wide(domain):
        return [alt.Tooltip(f"{name}:N", title=domain.path)]
    return [
        alt.Tooltip(f"{name}:Q", title=f"{domain.path} from", format=".3g"),
        alt.Tooltip(f"{name}2:Q", title="to", format=".3g"),
    ]
