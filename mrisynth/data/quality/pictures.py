"""One picture a subject: do both scans lie on each other, where does the transform bend, what did N4 change."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mrisynth.data.quality.figures import read_volumes
from mrisynth.data.quality.flips import AXES
from mrisynth.data.quality.slices import middle, read_slices, to_grey
from mrisynth.data.store.prepared import PreparedSubject
from mrisynth.files import write_bytes

_TILES = 8
_GREY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "nearest"}
_TITLES = ("before registration,\noutline of high in orange", "after registration,\noutline of high in orange",
           "checkerboard of\nlow and high, after", "change of volume (Jacobian)\n1 keeps, 0 folds")  # fmt: skip


def draw_subject(subject: PreparedSubject) -> bytes:
    """A PNG of four columns: a row for each axis, and one for the bias correction; one grey window, [0, 1000]."""
    arrays, kept = read_volumes(subject), read_slices(subject.path)
    position = middle(arrays["mask"])
    figure = Figure(figsize=(9.6, 10.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, 4)
    for row, axis in enumerate((0, 1, 2)):
        cuts = {name: np.take(array, position[axis], axis=axis) for name, array in arrays.items()}
        scans = {"low": to_grey(cuts["low"]), "high": to_grey(cuts["high"]), "mask": cuts["mask"]}
        _draw_row(axes[row], scans, kept, axis=axis, aspect=_aspect(subject, axis))
        axes[row, 0].set_ylabel(f"slice {position[axis]} on {AXES[axis]}", fontsize=9)
    for column, title in enumerate(_TITLES):
        axes[0, column].set_title(title, fontsize=9)
    bias = ("low_before_bias_0", "low", "high_before_bias_0", "high")
    titles = ("low before N4", "low after N4", "high before N4", "high after N4")
    for column, (name, title) in enumerate(zip(bias, titles, strict=True)):
        cut = to_grey(arrays[name][position[0]]) if name in arrays else kept.get(name)
        _show(axes[3, column], cut, _aspect(subject, 0))
        axes[3, column].set_title(title, fontsize=9)
    maps = [panel.images[0] for panel in axes[:3, 3] if panel.images]
    if maps:
        bar = figure.colorbar(maps[0], ax=axes[:3, 3], shrink=0.6, extend="both")
        bar.ax.tick_params(labelsize=8)
    return _png(figure)


def draw_histograms(subject: PreparedSubject) -> bytes:
    """A PNG of the histograms of both prepared scans, intensity in [0, 1000], voxels on a logarithmic axis."""
    figure = Figure(figsize=(4.8, 1.9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, colour in (("low", "#d9702b"), ("high", "#1b4f9c")):
        counts = np.reshape(subject.record["histograms"][name], (100, -1)).sum(axis=1)
        axes.stairs(counts, np.linspace(0, 1000, 101), color=colour, label=f"{name} scan")
    axes.set_yscale("log")
    axes.set_xlabel("intensity", fontsize=8)
    axes.set_ylabel("voxels", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def checkerboard(low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """Two slices of one shape in turns, eight tiles on the longer side; the first tile is of the low scan."""
    tile = max(1, max(low.shape) // _TILES)
    rows, columns = np.indices(low.shape) // tile
    return np.where((rows + columns) % 2 == 0, low, high)


def _draw_row(row: Any, scans: dict[str, NDArray[Any]], kept: dict[str, Any], *, axis: int, aspect: float) -> None:
    """The four panels of one axis; `scans` has its slices of low and high (grey levels) and the mask."""
    low, high, mask = scans["low"], scans["high"], scans["mask"] != 0
    for panel, cut in zip(row, (kept.get(f"low_before_registration_{axis}"), low), strict=False):
        _show(panel, cut, aspect)
        if cut is not None and mask.any() and np.ptp(high[mask]) > 0:
            levels = sorted({float(np.percentile(high[mask], 50)), max(1.0, 0.3 * float(high[mask].mean()))})
            panel.contour(high, levels=levels, colors="#ff9a1f", linewidths=0.7)
    _show(row[2], checkerboard(low, high), aspect)
    jacobian = kept.get(f"jacobian_{axis}")
    _show(row[3], None if jacobian is None else np.where(mask, jacobian, np.nan), aspect, cmap="RdBu", vmin=0, vmax=2)


def _show(panel: Any, cut: NDArray[Any] | None, aspect: float, **look: Any) -> None:
    """One slice, or a word on why there is none."""
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)
    if cut is None:
        panel.text(0.5, 0.5, "not kept by the\nversion that\nprepared it", ha="center", va="center", fontsize=9)
    else:
        panel.imshow(cut, aspect=aspect, **(look or _GREY))


def _aspect(subject: PreparedSubject, axis: int) -> float:
    """Height of a voxel by its width, on a slice across an axis."""
    rows, columns = (mm for at, mm in enumerate(subject.spacing) if at != axis)
    return rows / columns


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def write_picture(subject: PreparedSubject, folder: Path) -> bytes:
    """Draw a subject's picture, and keep it as FOLDER/<subject's key>.png."""
    data = draw_subject(subject)
    write_bytes(folder / f"{subject.key}.png", data)
    return data
