"""How figures are drawn: small, for print, without a display and without pyplot's global state."""

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

WIDTH = 7.1
"""Of every figure, in inches: the text width of an A4 page."""
GREY = "#6b7480"
COLOURS = {"train": "#8fb8e8", "train_eval": "#1b4f9c", "validation": "#d9702b", "total": "#20242a"}
TERMS = {"adversarial": "#8e4bb0", "l1": "#1b4f9c", "l2": "#0f8a8a", "gradient": "#2e9e5b", "perceptual": "#c0392b"}
_SETTINGS: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.color": "#3a4048",
    "ytick.color": "#3a4048",
    "lines.linewidth": 1.2,
    "lines.markersize": 2.5,
    "legend.frameon": False,
    "svg.hashsalt": "mrisynth",  # the same figure gives the same bytes
    "text.parse_math": False,  # trials may be called anything, "$x$" too
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of the report.

    Args:
        name: of its file: letters, digits and hyphens.
        caption: what it shows, in whole sentences.
        data: an SVG or a PNG file.
        kind: which of both.
        width: on paper, in inches.
    """

    name: str
    caption: str
    data: bytes
    kind: str
    width: float = WIDTH

    @property
    def media_type(self) -> str:
        """For a data URL."""
        return "image/svg+xml" if self.kind == "svg" else "image/png"


@contextmanager
def style() -> Iterator[None]:
    """The settings of all figures; a letter that the font lacks is drawn as a box, without a word."""
    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def new_figure(height: float, *, width: float = WIDTH, dpi: float = 100) -> Figure:
    """An empty figure, sizes in inches."""
    figure = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def svg(figure: Figure) -> bytes:
    """A figure as an SVG file without a date; letters are paths, so that it looks the same everywhere."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    return buffer.getvalue()


def png(figure: Figure, tiles: Iterable[tuple[int, int, NDArray[np.uint8]]], *, colours: bool) -> bytes:
    """A figure as a PNG file at its own resolution, with images laid on it pixel by pixel.

    Args:
        figure: from `new_figure`.
        tiles: for each image its left and its top edge in pixels, and its pixels, (height, width, 3).
        colours: false for grey levels, a third of the size.
    """
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg), "a figure of new_figure"
    canvas.draw()  # type: ignore[no-untyped-call]
    image = Image.fromarray(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]
    image = image.convert("RGB")
    for left, top, pixels in tiles:
        image.paste(Image.fromarray(pixels), (left, top))
    image = image if colours else image.convert("L")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
