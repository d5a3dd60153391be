"""How well subjects were prepared: the figures that preparation keeps, its flags, and both scans on each other."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from components import slicing
from components.slicing import Chosen
from components.words import plain
from PIL import Image

from mrisynth.results.pictures import Pixels, Window, grey, grey_legend, png, resize, signed, signed_legend
from mrisynth.results.store import SweepDirectory

_WIDE = 900  # pixels, of both scales together
_TILES = 8  # of the checkerboard, on the longer side
# Column: key in the subject's quality, title, explanation.
_FIGURES = (
    ("correlation_before", "correlation before", "of both scans in the tissue, before registration; 1 is best"),
    ("correlation_after", "after", "the same after registration"),
    ("residual_mm", "residual shift (mm)", "by which the low scan would still have to move; 0 is best"),
    ("jacobian_min", "least Jacobian", "the strongest shrinking by the registration; 1 is none, 0 or less folds"),
    ("jacobian_max", "largest Jacobian", "the strongest stretching; 1 is none"),
    ("coverage", "coverage", "part of the high scan's tissue that the low scan shows; 1 is best"),
)


def frame(subjects: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a subject, flagged ones first."""
    rows = []
    for each in subjects:
        known = dict(each.get("quality") or {})
        shift = known.get("residual_shift")
        known["residual_mm"] = math.hypot(*shift) if isinstance(shift, list) and shift else None
        flags = [str(flag) for flag in each.get("flags") or []]
        rows.append(
            {
                "subject": each["subject"],
                "split": each.get("split"),
                "flags": "; ".join(flags) or "none",
                **{key: known.get(key) for key, _, _ in _FIGURES},
                "voxels": " x ".join(map(str, each.get("shape") or [])),
                "spacing (mm)": " x ".join(f"{size:.3g}" for size in each.get("spacing") or []),
            }
        )
    table = pd.DataFrame(rows)
    return table.sort_values("flags", key=lambda flags: flags == "none", kind="stable").reset_index(drop=True)


def table(subjects: Sequence[Mapping[str, Any]]) -> None:
    """Show the figures, and say whom to look at."""
    found = frame(subjects)
    counts = found["split"].value_counts()
    splits = ", ".join(f"{counts.get(split, 0)} {split}" for split in ("train", "validation", "test"))
    flagged = found.loc[found["flags"] != "none", "subject"].tolist()
    st.caption(
        f"{len(found)} subjects: {splits}. Trials train on the first, are scored on the second, never see the third."
    )
    if flagged:
        st.warning(f"Preparation flagged {plain(', '.join(flagged))}: look at them below.", icon=":material/flag:")
    columns = {key: st.column_config.NumberColumn(title, help=about, format="%.3f") for key, title, about in _FIGURES}
    st.dataframe(found, hide_index=True, column_config=columns)
    st.caption(
        "`mrisynth data quality STORE` draws every subject before and after registration, the bias correction and "
        "what the transform bends, and keeps whom a person accepts or excludes."
    )


def pictures(sweep: SweepDirectory, subjects: Sequence[Mapping[str, Any]]) -> None:
    """Both prepared scans of a subject, in turns and one less the other."""
    chosen = slicing.choose(sweep)
    if chosen is None:
        return
    name = chosen.shown.subject
    for flag in next((each.get("flags") or [] for each in subjects if each["subject"] == name), []):
        st.warning(plain(f"{name}: {flag}"), icon=":material/flag:")
    columns = st.columns(4)
    for column, (title, picture) in zip(columns, _panels(chosen).items(), strict=True):
        column.image(png(picture), caption=f"{title}: {chosen.words}", output_format="PNG", width="stretch")
    window = chosen.window
    st.image(png(_scales(window)), output_format="PNG", width=_WIDE)
    st.caption(
        f"Where registration succeeded, edges run on through the checkerboard. Grey from {window.black:.2f} (black) to "
        f"{window.white:.2f} (white), {window.origin}; the difference is blue where low is brighter, red where it is "
        f"darker, up to ±{window.limit:.2f}. Only validation subjects are kept in a sweep's folder as pictures."
    )


def checkerboard(first: Pixels, second: Pixels) -> Pixels:
    """Two pictures of one shape in turns, the first one's tile at the upper left."""
    tile = max(1, max(first.shape[:2]) // _TILES)
    rows, columns = np.indices(first.shape[:2]) // tile
    found: Pixels = np.where(((rows + columns) % 2 == 0)[..., None], first, second)
    return found


def _scales(window: Window) -> Image.Image:
    """The bars of grey levels and of differences beside each other."""
    canvas = Image.new("RGB", (_WIDE, 44), (255, 255, 255))
    grey_legend(canvas, (12, 8), _WIDE // 2 - 24, window)
    signed_legend(canvas, (_WIDE // 2 + 12, 8), _WIDE // 2 - 24, window)
    return canvas


def _panels(chosen: Chosen) -> dict[str, Image.Image]:
    shown, at = chosen.shown, chosen.position
    low, high, matched = (grey(each[at], chosen.window) for each in (shown.low, shown.high, shown.matched))
    tiles = {
        "low": low,
        "high": high,
        "low, matched, and high in turns": checkerboard(matched, high),
        "low - high": signed(shown.low[at] - shown.high[at], chosen.window),
    }
    return {title: resize(tile, shown.spacing) for title, tile in tiles.items()}
