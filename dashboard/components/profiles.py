"""The intensities along one row or column of a slice, for every image."""

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from components import links
from components.panels import Panel
from components.slicing import Chosen

# Okabe and Ito's colours, which colour-blind people can tell apart, darkened where they were too pale on white.
_TRIALS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#9a8b00", "#7f3c8d")
_TRUTH, _LOW = "#6f7a85", "#9aa3ad"
_LINES = {"row": "row", "column": "column"}


def choose(chosen: Chosen) -> tuple[str, int] | None:
    """Whether a row or a column is drawn, and which one; None where neither is wanted."""
    left, right = st.columns([1, 3])
    line = links.pick(left.segmented_control, "line", ["none", *_LINES], "row", label="Line profile", required=True)
    if line == "none":
        return None
    size = chosen.shown.low.shape[1 if line == "row" else 2]
    at = links.pick(right.select_slider, line, range(size), size // 2, label=f"Which {line} (or click an image)")
    return line, at


def pointed(row: int, column: int) -> None:
    """Draw the profile through the pixel that was clicked."""
    if st.query_params.get("line") != "none":
        links.write("row", row)
        links.write("column", column)


def frame(panels: Sequence[Panel], chosen: Chosen, line: tuple[str, int]) -> pd.DataFrame:
    """One row a pixel and image: columns image, mm, intensity."""
    axis, at = line
    spacing = chosen.shown.spacing[1 if axis == "row" else 0]
    tables = []
    for panel in panels:
        image = panel.image(chosen.position)
        values = image[at] if axis == "row" else image[:, at]
        millimetres = np.arange(len(values)) * spacing
        tables.append(pd.DataFrame({"image": panel.title, "mm": millimetres, "intensity": values}))
    return pd.concat(tables, ignore_index=True)


def chart(table: pd.DataFrame, panels: Sequence[Panel]) -> alt.LayerChart:
    """One curve an image; the truth is a broad band behind the others, the low-field one dashed."""
    titles = [panel.title for panel in panels]
    trials = iter(_TRIALS)
    looks = [{"low": (_LOW, [5, 4]), "high": (_TRUTH, [1, 0])}.get(panel.key) for panel in panels]
    colours, dashes = zip(*(look or (next(trials), [1, 0]) for look in looks), strict=True)
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1)
    base = alt.Chart(table).encode(
        alt.X("mm:Q", title="along the line (mm)"),
        alt.Y("intensity:Q", title="intensity (0 to 1)"),
        alt.Color("image:N", scale=alt.Scale(domain=titles, range=list(colours)), legend=legend),
        alt.StrokeDash("image:N", scale=alt.Scale(domain=titles, range=list(dashes)), legend=None),
        order="mm:Q",
        tooltip=["image:N", alt.Tooltip("mm:Q", format=".2f"), alt.Tooltip("intensity:Q", format=".4f")],
    )
    truth = base.transform_filter(alt.datum.image == "high").mark_line(strokeWidth=6, opacity=0.45)
    others = base.transform_filter(alt.datum.image != "high").mark_line(strokeWidth=1.75)
    return alt.layer(truth, others).properties(height=320)


def show(panels: Sequence[Panel], chosen: Chosen, line: tuple[str, int] | None) -> None:
    """Draw the profiles."""
    if line is not None:
        st.altair_chart(chart(frame(panels, chosen, line), panels), key="profile")
