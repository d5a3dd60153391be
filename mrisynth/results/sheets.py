"""Several trials on one slice as one picture to keep: images above, differences below, both scales and a caption."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from PIL import Image, ImageDraw

from mrisynth.results.pictures import (
    INK,
    LINE,
    PAPER,
    Pixels,
    Window,
    font,
    grey,
    grey_legend,
    resize,
    signed,
    signed_legend,
)
from mrisynth.results.slices import Floats

_MARGIN, _GAP, _CAPTION, _LEGEND, _ROW = 12, 8, 24, 48, 19
_LETTER = 7.5  # pixels, of the letters below the picture on average

Tile = tuple[str, Image.Image]
Bar = Callable[[Image.Image, tuple[int, int], int], None]


@dataclass(frozen=True, slots=True)
class Labelled:
    """An image with its name.

    Args:
        name: what stands above it.
        image: (height, width), intensity on [0, 1].
    """

    name: str
    image: Floats


def sheet(
    images: Sequence[Labelled],
    reference: Labelled,
    *,
    window: Window,
    spacing: tuple[float, float] = (1.0, 1.0),
    caption: str = "",
) -> Image.Image:
    """Images of one slice beside each other, and below each what it has more or less than the reference.

    Args:
        images: from left to right; `reference` may be one of them, and then has no difference below it.
        reference: what is subtracted from the others.
        window: grey levels and limit of the differences, shared by all.
        spacing: (height, width), size of a pixel in mm; only its ratio matters.
        caption: below the picture, broken into lines as needed.
    """
    above: list[Tile | None] = [(each.name, resize(grey(each.image, window), spacing)) for each in images]
    below: list[Tile | None] = []
    for each in images:
        difference: Pixels = signed(each.image - reference.image, window)
        tile = (f"{each.name} - {reference.name}", resize(difference, spacing))
        below.append(tile if each.name != reference.name else None)
    return lay_out(
        [above, below], [partial(grey_legend, window=window), partial(signed_legend, window=window)], caption
    )


def lay_out(rows: Sequence[Sequence[Tile | None]], bars: Sequence[Bar], caption: str = "") -> Image.Image:
    """Images in rows, each below its name, then colour bars beside each other, then a caption.

    Args:
        rows: as many places each; None leaves one empty. All images have one size, and the first place has one.
        bars: each draws one bar, given the canvas, its corner and its width.
        caption: broken into lines as needed.
    """
    width, height = next(tile[1].size for tile in rows[0] if tile)
    step = width + _GAP
    wide = max(2 * _MARGIN + len(rows[0]) * step - _GAP, 640)
    lines = textwrap.wrap(caption, max(40, int((wide - 2 * _MARGIN) / _LETTER)))
    bottom = _MARGIN + len(rows) * (_CAPTION + height) + 10
    canvas = Image.new("RGB", (wide, bottom + _LEGEND + _ROW * len(lines) + _MARGIN), PAPER)
    for row, tiles in enumerate(rows):
        for column, tile in enumerate(tiles):
            if tile:
                _place(canvas, (_MARGIN + column * step, _MARGIN + row * (_CAPTION + height)), *tile)
    share = (wide - _MARGIN) // len(bars)
    for place, bar in enumerate(bars):
        bar(canvas, (_MARGIN + place * share, bottom), share - _MARGIN)
    draw = ImageDraw.Draw(canvas)
    for row, line in enumerate(lines):
        draw.text((_MARGIN, bottom + _LEGEND + _ROW * row), line, fill=INK, font=font(14))
    return canvas


def _place(canvas: Image.Image, corner: tuple[int, int], name: str, image: Image.Image) -> None:
    """An image below its name, which is cut where it would reach into the next one's."""
    left, top = corner
    draw = ImageDraw.Draw(canvas)
    room = max(4, int(image.width / _LETTER))
    said = name if len(name) <= room else name[: room - 1] + "…"
    draw.text((left + image.width / 2, top + 4), said, fill=INK, font=font(14), anchor="ma")
    canvas.paste(image, (left, top + _CAPTION))
    box = (left - 1, top + _CAPTION - 1, left + image.width, top + _CAPTION + image.height)
    draw.rectangle(box, outline=LINE)
