"""Where patches meet, made visible: one slice stitched in several ways, with the changes of its error."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mrisynth.results.pictures import Window, grey, grey_legend, resize, signed, signed_legend
from mrisynth.results.sheets import Tile, lay_out
from mrisynth.results.slices import Floats

Lines = tuple[tuple[int, ...], tuple[int, ...]]
"""The first row and the first column after each line where patches meet."""

_MARK, _MARK_LENGTH = (230, 120, 0), 6
_LEAST = 0.01  # the seam maps' scale spans this much at least, in intensity


@dataclass(frozen=True, slots=True)
class Stitched:
    """A slice in one way of stitching.

    Args:
        title: what stands above it.
        image: (height, width), intensity on [0, 1].
        lines: where its patches meet.
    """

    title: str
    image: Floats
    lines: Lines


def seam_map(generated: Floats, high: Floats, mask: NDArray[np.bool_]) -> Floats:
    """How much the error changes from a pixel's neighbours above and to its left to itself, the greater of both.

    The error is generated - high. A seam stands out as a straight line; the metric `seam` compares the changes across
    the lines where patches meet with all others.

    Args:
        generated, high: (height, width), intensity on [0, 1].
        mask: (height, width); a change counts where both pixels lie in it.

    Returns:
        (height, width), not negative; 0 where there is no pair of pixels.
    """
    error = np.asarray(generated, np.float32) - np.asarray(high, np.float32)
    found = np.zeros_like(error)
    for along in ((slice(1, None), slice(None)), (slice(None), slice(1, None))):
        before = tuple(slice(None, -1) if each.start else each for each in along)
        change = np.abs(error[along] - error[before]) * (mask[along] & mask[before])
        found[along] = np.maximum(found[along], change)
    return found


def stitching_sheet(
    ways: Sequence[Stitched],
    high: Floats,
    mask: NDArray[np.bool_],
    *,
    window: Window,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> Image.Image:
    """A slice in several ways of stitching, one below the other: the image, its difference from high, its seam map.

    Marks at the images' edges say where patches meet.

    Args:
        ways: from top to bottom.
        high: (height, width), intensity on [0, 1].
        mask: (height, width), True inside the tissue.
        window: grey levels and limit of the differences, shared by all.
        spacing: (height, width), size of a pixel in mm; only its ratio matters.
    """
    maps = [seam_map(each.image, high, mask) for each in ways]
    inside = np.concatenate([each[mask] for each in maps])
    most = max(_LEAST, float(np.ceil(100 * np.percentile(inside, 99.5)) / 100)) if inside.size else _LEAST
    changes = Window(0.0, most, window.limit, "change")
    rows: list[list[Tile | None]] = []
    for each, seams in zip(ways, maps, strict=True):
        tiles = (grey(each.image, window), signed(each.image - high, window), grey(seams, changes))
        images = [_marked(resize(tile, spacing), each.lines, high.shape) for tile in tiles]
        rows.append([*zip((each.title, "generated - high", "seam map"), images, strict=True)])
    bars = [
        partial(grey_legend, window=replace(window, origin="intensity")),
        partial(signed_legend, window=window),
        partial(grey_legend, window=changes),
    ]
    return lay_out(rows, bars)


def _marked(image: Image.Image, lines: Lines, shape: tuple[int, ...]) -> Image.Image:
    """Short strokes at the left and the upper edge, before the row or column with which another patch begins."""
    draw = ImageDraw.Draw(image)
    for row in lines[0]:
        y = round(row * image.height / shape[0])
        draw.line((0, y, _MARK_LENGTH, y), fill=_MARK)
    for column in lines[1]:
        x = round(column * image.width / shape[1])
        draw.line((x, 0, x, _MARK_LENGTH), fill=_MARK)
    return image
