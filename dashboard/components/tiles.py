"""Small pictures in rows, each a link to its trial."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st
from components.slicing import Chosen
from PIL import Image

from mrisynth.results.pictures import grey, png
from mrisynth.results.slices import Floats

_HERE = Path(__file__).parent / "browser"
_KEY = "tiles"

_component = st.components.v2.component(
    _KEY,
    html='<div class="tiles"></div>',
    css=(_HERE / "tiles.css").read_text(encoding="utf-8"),
    js=(_HERE / "tiles.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture with three lines below it.

    Args:
        trial: which one a click opens; None where there is none.
        title, value, detail: the lines.
        picture: (height, width), intensity on [0, 1]; or why there is none.
    """

    trial: int | None
    title: str
    value: str
    detail: str
    picture: Floats | str


def draw(tiles: Sequence[Tile], chosen: Chosen) -> int | None:
    """Show the tiles; the trial that was just clicked, if any."""
    sent = [_sent(tile, chosen) for tile in tiles]
    opened = _component(key=_KEY, data={"tiles": sent}, on_opened_change=lambda: None).opened
    return opened if isinstance(opened, int) else None


def _sent(tile: Tile, chosen: Chosen) -> dict[str, Any]:
    height, width = chosen.shown.low.shape[1:]
    down, across = chosen.shown.spacing
    link = {"sweep": st.query_params.get("sweep", ""), "trial": tile.trial, "subject": chosen.shown.subject}
    words = f"{tile.title}: {chosen.words}; {tile.value}"
    return {
        "key": tile.trial,
        "title": tile.title,
        "value": tile.value,
        "detail": tile.detail,
        "picture": None if isinstance(tile.picture, str) else _encoded(tile.picture, chosen),
        "words": tile.picture if isinstance(tile.picture, str) else words,
        "link": None if tile.trial is None else f"trial?{urlencode({**link, 'slice': chosen.index})}",
        "aspect": f"{width * across} / {height * down}",
    }


def _encoded(picture: Floats, chosen: Chosen) -> str:
    """The pixels as they are, in true proportions; the browser enlarges them."""
    down, across = chosen.shown.spacing
    levels = Image.fromarray(grey(picture, chosen.window)[..., 0])
    if down != across:
        finest = min(down, across)
        size = (round(levels.width * across / finest), round(levels.height * down / finest))
        levels = levels.resize(size, Image.Resampling.NEAREST)
    return base64.b64encode(png(levels)).decode()
