"""Images of one slice side by side in the browser: one window, one signed scale, one crop for all.

The arrays travel as they are stored, so that what is drawn and read off under the pointer are the stored numbers.
"""

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from components import links
from components.slicing import Chosen, step

from mrisynth.results.pictures import colours
from mrisynth.results.slices import Floats, StoredSlices

VIEWS = {
    "images": "Images",
    "both": "Images and differences",
    "differences": "Differences",
    "swipe": "Swipe two",
}
_HERE = Path(__file__).parent / "browser"
_ACROSS = 5
_WHOLE = {"x": 0.5, "y": 0.5, "zoom": 1.0}
_KEY = "panels"

_component = st.components.v2.component(
    _KEY,
    html='<div class="panels" tabindex="0" role="group"></div>',
    css=(_HERE / "panels.css").read_text(encoding="utf-8"),
    js=(_HERE / "panels.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One image.

    Args:
        key: "low", "high" or a trial's number.
        title: what stands above it.
        detail: said beside the title, such as its score.
        stored: the slices that the image is one of.
    """

    key: str
    title: str
    detail: str
    stored: StoredSlices

    def image(self, position: int) -> Floats:
        """One of its slices, (height, width), intensity on [0, 1]."""
        return self.stored.values(position)


def draw(
    panels: Sequence[Panel],
    chosen: Chosen,
    *,
    view: str,
    reference: str,
    swipe: tuple[str, str],
    profile: tuple[str, int] | None,
    pointed: Callable[[int, int], None],
) -> None:
    """Show the panels.

    Args:
        panels: in order, two at least.
        chosen: slice and window.
        view: a key of `VIEWS`.
        reference: the key of the panel that is subtracted from the others.
        swipe: the keys of the two panels that are swiped.
        profile: ("row" or "column", which one) of the line that is drawn over the images.
        pointed: called with row and column where somebody clicks.
    """

    def stepped() -> None:
        if by := st.session_state[_KEY].get("step"):
            step(int(by), chosen.shown)

    def clicked() -> None:
        if point := st.session_state[_KEY].get("point"):
            pointed(int(point[0]), int(point[1]))

    height, width = chosen.shown.low.shape[1:]
    window = chosen.window
    _component(
        key=_KEY,
        data={
            "panels": [_sent(panel, chosen.position) for panel in panels],
            "shape": [height, width],
            "spacing": list(chosen.shown.spacing),
            "window": {"black": window.black, "white": window.white, "limit": window.limit, "origin": window.origin},
            "colours": _text(colours()),
            "label": chosen.words,
            "view": view,
            "reference": reference,
            "swipe": list(swipe),
            "profile": {"axis": profile[0], "at": profile[1]} if profile else None,
            "crop": _read_crop(),
            "columns": len(panels) if len(panels) <= _ACROSS else math.ceil(len(panels) / 2),
        },
        on_step_change=stepped,
        on_point_change=clicked,
        on_crop_change=_crop_changed,
    )


def _sent(panel: Panel, position: int) -> dict[str, Any]:
    steps = np.ascontiguousarray(panel.stored.steps[position], dtype="<u2")
    return {
        "key": panel.key,
        "title": panel.title,
        "detail": panel.detail,
        "steps": _text(steps),
        "scale": panel.stored.scale,
        "offset": panel.stored.offset,
    }


def _text(array: Any) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _read_crop() -> dict[str, float]:
    """Centre and magnification from the URL ("0.4,0.6,2"); the whole image where it says something else."""
    try:
        x, y, zoom = (float(word) for word in st.query_params.get("crop", "").split(","))
    except ValueError:
        return _WHOLE
    if not (1 <= zoom <= 16 and 0 <= x <= 1 and 0 <= y <= 1):
        return _WHOLE
    return {"x": x, "y": y, "zoom": zoom}


def _crop_changed() -> None:
    crop = st.session_state[_KEY].get("crop") or _WHOLE
    whole = crop["zoom"] <= 1
    links.write("crop", None if whole else f"{crop['x']:.4f},{crop['y']:.4f},{crop['zoom']:.3f}")
