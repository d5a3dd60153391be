"""Several trials on one slice as one picture to keep: images above, differences below, both scales and a caption."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from mrisynth.results.pictures import Pixels, Window, font, grey, grey_legend, resize, signed, signed_legend
from mrisynth.results.slices import Floats

_PAPER, _INK, _LINE = (255, 255, 255), (28, 32, 36), (150, 156, 162)
_MARGIN, _GAP, _CAPTION, _LEGEND, _ROW = 12, 8, 24, 48, 19
_LETTER = 7.5  # pixels, of the letters below the picture on average


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
    greys = [resize(grey(each.image, window), spacing) for each in images]
    width, height = greys[0].size
    step = width + _GAP
    wide = max(2 * _MARGIN + len(images) * step - _GAP, 640)
    lines = textwrap.wrap(caption, max(40, int((wide - 2 * _MARGIN) / _LETTER)))
    below = _MARGIN + 2 * (_CAPTION + height) + 10
    canvas = Image.new("RGB", (wide, below + _LEGEND + _ROW * len(lines) + _MARGIN), _PAPER)
    for column, each in enumerate(images):
        left = _MARGIN + column * step
        _place(canvas, (left, _MARGIN), each.name, greys[column])
        if each.name != reference.name:
            difference: Pixels = signed(each.image - reference.image, window)
            corner = (left, _MARGIN + _CAPTION + height)
            _place(canvas, corner, f"{each.name} - {reference.name}", resize(difference, spacing))
    half = (wide - 3 * _MARGIN) // 2
    grey_legend(canvas, (_MARGIN, below), half, window)
    signed_legend(canvas, (2 * _MARGIN + half, below), half, window)
    draw = ImageDraw.Draw(canvas)
    for row, line in enumerate(lines):
        draw.text((_MARGIN, below + _LEGEND + _ROW * row), line, fill=_INK, font=font(14))
    return canvas


def _place(canvas: Image.Image, corner: tuple[int, int], name: str, image: Image.Image) -> None:
    """An image below its name, which is cut where it would reach into the next one's."""
    left, top = corner
    draw = ImageDraw.Draw(canvas)
    room = max(4, int(image.width / _LETTER))
    said = name if len(name) <= room else name[: room - 1] + "…"
    draw.text((left + image.width / 2, top + 4), said, fill=_INK, font=font(14), anchor="ma")
    canvas.paste(image, (left, top + _CAPTION))
    box = (left - 1, top + _CAPTION - 1, left + image.width, top + _CAPTION + image.height)
    draw.rectangle(box, outline=_LINE)
