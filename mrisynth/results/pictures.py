"""Pictures to judge a trial by: low, generated and high in one grey window, both differences on one signed scale.

The window and the limit of the differences come from the low and high slices alone, so that the pictures of all trials
of a sweep can be laid side by side.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mrisynth.files import write_bytes
from mrisynth.results.slices import Floats, ShownSlices

Pixels = NDArray[np.uint8]

# ColorBrewer's RdBu: red where the first image is darker, white where equal, blue where it is brighter: as in the
# paper.
_DIVERGING = (
    (103, 0, 31), (178, 24, 43), (214, 96, 77), (244, 165, 130), (253, 219, 199), (247, 247, 247),
    (209, 229, 240), (146, 197, 222), (67, 147, 195), (33, 102, 172), (5, 48, 97),
)  # fmt: skip
_PAPER, _INK, _LINE = (255, 255, 255), (28, 32, 36), (150, 156, 162)
_MARGIN, _GAP, _CAPTION, _LEGEND, _BAR = 12, 8, 24, 64, 12
_LEAST_HEIGHT = 190
CAPTIONS = ("low", "generated", "high", "generated - low", "generated - high")


@dataclass(frozen=True, slots=True)
class Window:
    """How numbers become colours.

    Args:
        black, white: intensities on [0, 1] shown as black and as white.
        limit: difference shown in the darkest blue; its negative in the darkest red.
        origin: where black and white come from, for the caption.
    """

    black: float
    white: float
    limit: float
    origin: str = "intensity on [0, 1]"


def shared_window(low: Floats, high: Floats, *, lower: float = 0.5, upper: float = 99.5) -> Window:
    """The window for a set of slices: grey from the percentiles of `high`, the differences' limit from high - low.

    Args:
        low, high: (n, height, width), intensity on [0, 1].
        lower, upper: percentiles of `high` shown as black and white.

    Returns:
        Bounds rounded to 0.01, so that the caption says exactly what was done.
    """
    black, white = (float(value) for value in np.percentile(high, [lower, upper]))
    limit = float(np.percentile(np.abs(high - low), 99.5))
    black, limit = math.floor(black * 100) / 100, max(math.ceil(limit * 100) / 100, 0.01)
    white = max(math.ceil(white * 100) / 100, black + 0.01)
    return Window(black, white, limit, f"intensity, percentiles {lower:g} to {upper:g} of high")


def grey(image: Floats, window: Window) -> Pixels:
    """An image of intensities as grey levels: (height, width, 3)."""
    scaled = (np.asarray(image, dtype=np.float64) - window.black) / (window.white - window.black)
    levels = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def signed(difference: Floats, window: Window) -> Pixels:
    """An image of differences in colours, white at zero: (height, width, 3)."""
    scaled = np.clip(np.asarray(difference, dtype=np.float64) / window.limit, -1, 1)
    found: Pixels = colours()[np.rint(scaled * 255).astype(np.int16) + 255]
    return found


def tiles(low: Floats, generated: Floats, high: Floats, *, window: Window) -> tuple[Pixels, ...]:
    """The five images of a panel, one pixel a pixel, in the order of `CAPTIONS`.

    Args:
        low, generated, high: (height, width), intensity on [0, 1].
        window: from `shared_window`.
    """
    greys = (grey(image, window) for image in (low, generated, high))
    return (*greys, signed(generated - low, window), signed(generated - high, window))


def panel(
    low: Floats,
    generated: Floats,
    high: Floats,
    *,
    window: Window,
    spacing: tuple[float, float] = (1.0, 1.0),
    title: str = "",
) -> Image.Image:
    """One picture: low | generated | high | generated - low | generated - high, with captions and both scales.

    Args:
        low, generated, high: (height, width), intensity on [0, 1].
        window: from `shared_window`.
        spacing: (height, width), size of a pixel in mm; only its ratio matters.
        title: a line above, e.g. which trial and which slice.
    """
    images = [resize(tile, spacing) for tile in tiles(low, generated, high, window=window)]
    width, height = images[0].size
    top = _MARGIN + (_CAPTION if title else 0)
    step = width + _GAP
    canvas = Image.new("RGB", (2 * _MARGIN + 5 * step - _GAP, top + _CAPTION + height + _LEGEND), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN - 2), title, fill=_INK, font=font(15))
    for column, (caption, image) in enumerate(zip(CAPTIONS, images, strict=True)):
        left = _MARGIN + column * step
        draw.text((left + width / 2, top + 4), caption, fill=_INK, font=font(14), anchor="ma")
        canvas.paste(image, (left, top + _CAPTION))
        draw.rectangle((left - 1, top + _CAPTION - 1, left + width, top + _CAPTION + height), outline=_LINE)
    below = top + _CAPTION + height + 10
    grey_legend(canvas, (_MARGIN, below), 3 * step - _GAP, window)
    signed_legend(canvas, (_MARGIN + 3 * step, below), 2 * step - _GAP, window)
    return canvas


def png(image: Image.Image) -> bytes:
    """An image as a PNG file; the same image gives the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)  # twice as fast as Pillow's default, for 12 % more bytes
    return buffer.getvalue()


def write_pictures(directory: Path, generated: Floats, shown: ShownSlices, *, title: str = "") -> list[str]:
    """Write one panel for each shown slice into a trial's `images` folder.

    Args:
        directory: the trial's `images` folder.
        generated: (n, height, width), intensity on [0, 1], the trial's output for `shown.low`.
        shown: the subject's low and high slices.
        title: e.g. "trial 12"; subject and slice are added.

    Returns:
        The file names, "<subject>-<slice index>.png".
    """
    window = shared_window(shown.low, shown.high)
    names = []
    for position, index in enumerate(shown.indices):
        line = ", ".join(filter(None, (title, shown.subject, f"slice {index}")))
        picture = panel(
            shown.low[position],
            generated[position],
            shown.high[position],
            window=window,
            spacing=shown.spacing,
            title=line,
        )
        names.append(f"{shown.subject}-{index}.png")
        write_bytes(directory / names[-1], png(picture))
    return names


@cache
def colours() -> Pixels:
    """511 colours from -1 over 0 (white, number 255) to 1."""
    anchors = np.asarray(_DIVERGING, dtype=np.float64)
    at = np.linspace(0, len(anchors) - 1, 511)
    channels = [np.interp(at, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The letters of captions, so many pixels high."""
    return ImageFont.load_default(size)


def resize(tile: Pixels, spacing: tuple[float, float]) -> Image.Image:
    """Whole multiples of pixels up to a legible size, stretched to the true proportions."""
    rows, columns = tile.shape[:2]
    finest = min(spacing)
    zoom = max(1, math.ceil(_LEAST_HEIGHT / (rows * spacing[0] / finest)))
    size = (round(columns * zoom * spacing[1] / finest), round(rows * zoom * spacing[0] / finest))
    return Image.fromarray(tile).resize(size, Image.Resampling.NEAREST)


def grey_legend(canvas: Image.Image, corner: tuple[int, int], width: int, window: Window) -> None:
    """Draw the bar of grey levels, `width` pixels wide, with the numbers at its ends."""
    ramp = np.linspace(window.black, window.white, width, dtype=np.float32)[None]
    _legend(canvas, corner, grey(ramp, window), (f"{window.black:.2f}", window.origin, f"{window.white:.2f}"))


def signed_legend(canvas: Image.Image, corner: tuple[int, int], width: int, window: Window) -> None:
    """Draw the bar of signed differences, `width` pixels wide, with the numbers at its ends."""
    ramp = np.linspace(-window.limit, window.limit, width, dtype=np.float32)[None]
    words = (f"-{window.limit:.2f} darker", "0", f"brighter +{window.limit:.2f}")
    _legend(canvas, corner, signed(ramp, window), words)


def _legend(canvas: Image.Image, corner: tuple[int, int], ramp: Pixels, words: Sequence[str]) -> None:
    """A colour bar with a word at its left end, its middle and its right end."""
    left, top = corner
    width = ramp.shape[1]
    canvas.paste(Image.fromarray(ramp).resize((width, _BAR)), corner)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((left - 1, top - 1, left + width, top + _BAR), outline=_LINE)
    for word, at, anchor in zip(words, (0, width / 2, width), ("la", "ma", "ra"), strict=True):
        draw.text((left + at, top + _BAR + 5), word, fill=_INK, font=font(13), anchor=anchor)
