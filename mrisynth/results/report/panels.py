"""Images side by side, in the form of the paper's Figures 4 and 7 to 11: one slice, one window, one scale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mrisynth.errors import MrisynthError
from mrisynth.results.pictures import Pixels, Window, grey, shared_window, signed
from mrisynth.results.report.curves import page_words
from mrisynth.results.report.drawing import GREY, WIDTH, Picture, new_figure, png, style
from mrisynth.results.report.selection import Family
from mrisynth.results.report.words import batched, evenly, trial_label
from mrisynth.results.slices import Floats, ShownSlices
from mrisynth.results.store import SweepDirectory, read_shown, read_slices

_ACROSS, _ROWS = 4, 5
_LEFT, _GAP, _HEAD, _FOOT = 26, 5, 26, 74  # in units of a tile of 290 pixels
TILE = 290
"""Width of an image in a figure, in pixels: four beside each other are printed at 170 a inch."""
Paint = Callable[[Floats], Pixels]


@dataclass(frozen=True, slots=True)
class Scene:
    """The one slice on which the models of a report are compared.

    Args:
        subject: whose.
        index: its position in the volume.
        at: its position among the shown slices.
        low, high: (height, width), intensity on [0, 1].
        window: grey levels and limit of the differences, from all shown slices of the subject.
        spacing: (height, width), size of a pixel in mm.
    """

    subject: str
    index: int
    at: int
    low: Floats
    high: Floats
    window: Window
    spacing: tuple[float, float]

    @property
    def words(self) -> str:
        """Which slice, in which window."""
        window = self.window
        return (
            f"Subject {self.subject}, slice {self.index}; all grey images in one window from {window.black:.2f} "
            f"(black) to {window.white:.2f} (white) of {window.origin}."
        )


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Tiles in rows and columns, with words beside and above them."""

    tiles: list[list[Pixels]]
    left: list[str]
    above: list[list[str]]  # one list for all rows, or one a row
    bars: list[tuple[Paint, tuple[float, float], str]]
    colours: bool


def choose_scene(sweep: SweepDirectory) -> Scene | None:
    """The middle shown slice of the first validation subject by name whose slices can be read."""
    folders = sorted(sweep.slices.iterdir()) if sweep.slices.is_dir() else []
    for folder in folders:
        try:
            shown = read_shown(folder)
        except MrisynthError:
            continue
        if len(shown.indices):
            return _scene(shown)
    return None


def read_generated(sweep: SweepDirectory, scene: Scene, families: Sequence[Family]) -> dict[int, Floats]:
    """What each trial made of the scene, (height, width), by number; trials without a sound image are absent."""
    found = {}
    for row in (row for family in families for row in family.trials):
        try:
            slices = read_slices(sweep.trial(row["trial"]).images, scene.subject)
        except MrisynthError:
            continue
        if scene.at < len(slices) and slices.shape[1:] == scene.low.shape:
            found[row["trial"]] = slices[scene.at]
    return found


def image_pictures(scene: Scene, family: Family, generated: dict[int, Floats], *, tile: int = TILE) -> list[Picture]:
    """Low, generated, high and the difference, a row a trial; of a forest its residual, as in the paper."""
    rows = [row for row in family.trials if row["trial"] in generated]
    pages = evenly(rows, _ROWS)
    make = _forest_sheet if family.name == "forest" else _image_sheet
    words = (
        "low-field, residual (generated - low), generated and high-field image"
        if family.name == "forest"
        else (
            "low-field, generated and high-field image, and their absolute difference |generated - high|, white where "
            "equal"
        )
    )
    pictures = []
    for at, page in enumerate(pages, 1):
        caption = f"{family.title}: from left to right {words}{page_words(at, len(pages))}. {scene.words} n = 1 slice."
        data, width = _draw(make(scene, page, generated, tile), tile)
        pictures.append(Picture(f"{family.slug}-images{_suffix(at, len(pages))}", caption, data, "png", width))
    return pictures


def difference_pictures(
    scene: Scene, family: Family, generated: dict[int, Floats], *, tile: int = TILE
) -> list[Picture]:
    """What each model changed, and what it left wrong, on one signed scale."""
    rows = [row for row in family.trials if row["trial"] in generated]
    pages = list(batched(rows, _ACROSS * 2))
    pictures = []
    for at, page in enumerate(pages, 1):
        caption = (
            f"{family.title}: differences on one signed scale{page_words(at, len(pages))}. Upper row of each pair: "
            "generated - low, what the model changed. Lower row: generated - high, what it left wrong. Blue is "
            f"brighter, red is darker, white is equal, as in the paper; the scale ends at ±{scene.window.limit:.2f} "
            "of the range [0, 1]. "
            f"Subject {scene.subject}, slice {scene.index}; n = 1 slice."
        )
        data, width = _draw(_difference_sheet(scene, page, generated, tile), tile)
        pictures.append(Picture(f"{family.slug}-differences{_suffix(at, len(pages))}", caption, data, "png", width))
    return pictures


def _scene(shown: ShownSlices) -> Scene:
    at = len(shown.indices) // 2
    window = shared_window(shown.low, shown.high)
    return Scene(shown.subject, shown.indices[at], at, shown.low[at], shown.high[at], window, shown.spacing)


def _image_sheet(scene: Scene, rows: Sequence[dict[str, Any]], generated: dict[int, Floats], tile: int) -> _Sheet:
    shades, errors = partial(grey, window=scene.window), partial(_absolute, limit=scene.window.limit)
    fit = partial(_fit, spacing=scene.spacing, tile=tile)
    low, high = fit(shades(scene.low)), fit(shades(scene.high))
    tiles = [[low, fit(shades(made)), high, fit(errors(made - scene.high))] for made in _made(rows, generated)]
    return _Sheet(
        tiles,
        [trial_label(row) for row in rows],
        [["low", "generated", "high", "|generated - high|"]],
        [
            (shades, (scene.window.black, scene.window.white), "intensity"),
            (errors, (0.0, scene.window.limit), "absolute difference"),
        ],
        colours=False,
    )


def _forest_sheet(scene: Scene, rows: Sequence[dict[str, Any]], generated: dict[int, Floats], tile: int) -> _Sheet:
    shades, changes = partial(grey, window=scene.window), partial(signed, window=scene.window)
    fit = partial(_fit, spacing=scene.spacing, tile=tile)
    low, high = fit(shades(scene.low)), fit(shades(scene.high))
    tiles = [[low, fit(changes(made - scene.low)), fit(shades(made)), high] for made in _made(rows, generated)]
    limit = scene.window.limit
    return _Sheet(
        tiles,
        [trial_label(row) for row in rows],
        [["low", "residual", "generated", "high"]],
        [
            (shades, (scene.window.black, scene.window.white), "intensity"),
            (changes, (-limit, limit), "residual: generated - low"),
        ],
        colours=True,
    )


def _difference_sheet(scene: Scene, rows: Sequence[dict[str, Any]], generated: dict[int, Floats], tile: int) -> _Sheet:
    changes, limit = partial(signed, window=scene.window), scene.window.limit
    fit = partial(_fit, spacing=scene.spacing, tile=tile)
    tiles, above = [], []
    for line in batched(rows, _ACROSS):
        for reference in (scene.low, scene.high):
            tiles.append([fit(changes(made - reference)) for made in _made(line, generated)])
        above += [[trial_label(row) for row in line], [""] * len(line)]
    left = ["generated - low", "generated - high"] * (len(tiles) // 2)
    return _Sheet(tiles, left, above, [(changes, (-limit, limit), "difference of intensity on [0, 1]")], colours=True)


def _made(rows: Sequence[dict[str, Any]], generated: dict[int, Floats]) -> list[Floats]:
    return [generated[row["trial"]] for row in rows]


def _absolute(difference: Floats, limit: float) -> Pixels:
    """The size of differences as grey levels, white at zero: (height, width, 3)."""
    levels = np.rint(255 - 255 * np.clip(np.abs(difference) / limit, 0, 1)).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def _fit(image: Pixels, spacing: tuple[float, float], tile: int) -> Pixels:
    """An image in its true proportions, `tile` pixels wide at most: enlarged by whole pixels, or made smaller."""
    rows, columns = image.shape[:2]
    finest = min(spacing)
    width, height = columns * spacing[1] / finest, rows * spacing[0] / finest
    zoom = tile // width if width <= tile else tile / width
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    how = Image.Resampling.BOX if zoom < 1 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(image).resize(size, how))


def _draw(sheet: _Sheet, tile: int) -> tuple[bytes, float]:
    """A sheet as a PNG file, a pixel of a tile on a pixel of the file, and its width in inches."""
    unit = tile / TILE
    left, gap, head, foot = (round(size * unit) for size in (_LEFT, _GAP, _HEAD, _FOOT))
    height, width = sheet.tiles[0][0].shape[:2]
    across = max(2, *map(len, sheet.tiles)) * (tile + gap) + left
    inset = (tile - width) // 2
    heads = [head if at < len(sheet.above) and any(sheet.above[at]) else gap for at in range(len(sheet.tiles))]
    total = sum(heads) + len(sheet.tiles) * height + foot
    with style():
        dpi = (_ACROSS * (tile + gap) + left) / WIDTH
        figure = new_figure(total / dpi, width=across / dpi, dpi=dpi)
        placed: list[tuple[int, int, Pixels]] = []
        top = total
        for at, (row, space) in enumerate(zip(sheet.tiles, heads, strict=True)):
            top -= space + height
            _word(figure, left * 0.62, top + height / 2, sheet.left[at], rotation=90, weight="bold", most=height)
            for column, image in enumerate(row):
                x = left + column * (tile + gap) + inset
                placed.append((x, total - top - height, image))
                if space == head:
                    _word(figure, x + width / 2, top + height + head * 0.4, sheet.above[at][column], most=tile)
        _draw_bars(figure, sheet, box=(left, tile + gap, foot))
        return png(figure, placed, colours=sheet.colours), across / dpi


def _word(
    figure: Figure, x: float, y: float, text: str, *, most: float, rotation: int = 0, weight: str = "normal"
) -> None:
    """A word in the middle of (x, y) in pixels, cut where it would be longer than `most` pixels."""
    wide, high = figure.get_size_inches() * figure.dpi
    room = int(most / (figure.dpi * 7 / 72 * 0.62))
    said = text if len(text) <= room else text[: max(1, room - 1)] + "…"
    figure.text(
        x / wide, y / high, said, rotation=rotation, weight=weight, ha="center", va="center", rotation_mode="anchor"
    )


def _draw_bars(figure: Figure, sheet: _Sheet, *, box: tuple[int, int, int]) -> None:
    """The scales, below the tiles."""
    left, step, foot = box
    wide, high = figure.get_size_inches() * figure.dpi
    for at, (paint, (least, most), words) in enumerate(sheet.bars):
        place = ((left + 2 * at * step) / wide, 0.56 * foot / high, 1.7 * step / wide, 0.16 * foot / high)
        axes = figure.add_axes(place)
        ramp = np.linspace(least, most, 256, dtype=np.float32)[None]
        axes.imshow(paint(ramp), aspect="auto", extent=(least, most, 0, 1))
        axes.set_yticks([])
        axes.set_xticks([least, (least + most) / 2, most])
        axes.set_xticklabels([f"{least:.2f}", words, f"{most:.2f}"])
        axes.tick_params(length=2, labelsize=6.5)
        for spine in axes.spines.values():
            spine.set(visible=True, color=GREY)
        labels = axes.get_xticklabels()
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")


def _suffix(at: int, pages: int) -> str:
    return f"-{at}" if pages > 1 else ""
