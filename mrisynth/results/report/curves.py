"""Loss curves as small multiples, in the form of the paper's Figures 5, 6 and 12."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mrisynth.results.index import Index
from mrisynth.results.report.drawing import COLOURS, GREY, TERMS, WIDTH, Picture, new_figure, style, svg
from mrisynth.results.report.selection import Family
from mrisynth.results.report.words import batched, evenly, loss_words, trial_label, weights

Curve = list[tuple[int, float]]
"""(epoch, value) by epoch."""
Curves = Mapping[str, Curve]
"""Of one trial, by key: "train.l1"."""

_PARTS = {"train": "training, as trained", "train_eval": "training, evaluation mode", "validation": "validation"}
_ACROSS, _ROWS = 3, 5
_PAIRS = 2
_LOGARITHMIC = 12  # the ratio of the greatest to the least value from which an axis is logarithmic
_SHORT = 40  # epochs up to which each is marked
_ADVERSARIAL = "adversarial"


def curves_of(index: Index, trials: Sequence[int]) -> dict[int, dict[str, Curve]]:
    """The history of some trials."""
    found: dict[int, dict[str, Curve]] = {trial: {} for trial in trials}
    history = index.history.filter(pc.is_in(index.history["trial"], pa.array([*trials], pa.int64())))
    for row in history.to_pylist():
        found[row["trial"]].setdefault(row["key"], []).append((row["epoch"], row["value"]))
    return found


def fit_pictures(index: Index, family: Family) -> list[Picture]:
    """How well each network fits the patches it trains on, and those it does not; by loss, several to a figure."""
    curves = curves_of(index, [row["trial"] for row in family.trials])
    fits = {row["trial"]: fit_losses(curves[row["trial"]], weights(row)) for row in family.trials}
    rows = sorted((row for row in family.trials if fits[row["trial"]]), key=_loss_group)
    pages = evenly(rows, _ACROSS * _ROWS)
    return [_fit_picture(family, page, fits, of=(at, len(pages))) for at, page in enumerate(pages, 1)]


def psnr_picture(index: Index, family: Family) -> list[Picture]:
    """The PSNR of validation patches by epoch, all trials in one panel; none of forests, which are grown in one go."""
    curves = curves_of(index, [row["trial"] for row in family.trials])
    rows = [row for row in family.trials if curves[row["trial"]].get("validation.l2") and family.name != "forest"]
    if not rows:
        return []
    with style():
        figure = new_figure(max(2.2, 0.15 * len(rows) + 0.4))
        (axes,) = _grid(figure, 1, 1, 1)
        colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
        for at, row in enumerate(rows):
            values = patch_psnr(curves[row["trial"]]["validation.l2"])
            _line(axes, values, colours[(2 * at + at // 10) % len(colours)], trial_label(row))
        axes.set_ylabel("dB")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        data = svg(figure)
    caption = (
        f"{family.title}: PSNR of the validation patches by epoch, on the paper's scale: a peak of 255 over the mean "
        f"squared error of all standardised patches. {family.which}."
    )
    return [Picture(f"{family.slug}-psnr", caption, data, "svg")]


def patch_psnr(errors: Curve) -> Curve:
    """The paper's PSNR in dB (its equation 7) of mean squared errors of standardised patches, by epoch."""
    return [(epoch, 20 * math.log10(255 / math.sqrt(error))) for epoch, error in errors if error > 0]


def adversarial_pictures(index: Index, family: Family) -> list[Picture]:
    """The generator's losses by term and the discriminator's, trial by trial; none where no trial has an adversary."""
    curves = curves_of(index, [row["trial"] for row in family.trials])
    rows = [row for row in family.trials if "train.discriminator" in curves[row["trial"]]]
    pages = evenly(rows, _PAIRS * (_ROWS + 1))
    return [_adversarial_picture(family, page, curves, of=(at, len(pages))) for at, page in enumerate(pages, 1)]


def fit_losses(curves: Curves, losses: Mapping[str, float]) -> dict[str, Curve]:
    """The weighted sum of the losses that need no adversary, by epoch, for each part that has them all.

    Args:
        curves: a trial's history by key: "train.l1", "train_eval.l1", "validation.l1".
        losses: the weights of the losses that it minimises.

    Returns:
        "train", "train_eval" and "validation", as far as the history has them.
    """
    terms = {name: weight for name, weight in losses.items() if name != _ADVERSARIAL}
    found = {}
    for part in _PARTS:
        each = [dict(curves.get(f"{part}.{name}", [])) for name in terms]
        epochs = sorted(set.intersection(*map(set, each))) if each else []
        if epochs:
            mixed = zip(terms.values(), each, strict=True)
            values = np.sum([[weight * one[epoch] for epoch in epochs] for weight, one in mixed], axis=0)
            found[part] = list(zip(epochs, values.tolist(), strict=True))
    return found


def page_words(at: int, pages: int) -> str:
    """Which part of a figure in several parts this is."""
    return f" (part {at} of {pages})" if pages > 1 else ""


def _fit_picture(
    family: Family, rows: Sequence[dict[str, Any]], fits: Mapping[int, Mapping[str, Curve]], *, of: tuple[int, int]
) -> Picture:
    down = math.ceil(len(rows) / _ACROSS)
    with style():
        figure = new_figure(1.55 * down + 0.5)
        axes = _grid(figure, down, _ACROSS, len(rows))
        for group in dict.fromkeys(_loss_group(row) for row in rows):
            members = [(each, row) for each, row in zip(axes, rows, strict=True) if _loss_group(row) == group]
            limits = [value for _, row in members for fit in fits[row["trial"]].values() for _, value in fit]
            for each, row in members:
                for part, fit in fits[row["trial"]].items():
                    _line(each, fit, COLOURS[part], _PARTS[part])
                _title(each, trial_label(row), group)
                _scale(each, limits)
        _legend(figure, axes)
        data = svg(figure)
    seen = "Evaluation mode: on up to 256 training patches after the epoch, as the validation patches are."
    if not any("train_eval" in fits[row["trial"]] for row in rows):
        seen = "Training losses in evaluation mode were not recorded."
    caption = (
        f"{family.title}: the loss that each generator minimises, by epoch{page_words(*of)}: its weighted terms "
        "without the adversarial one, on standardised patches. As trained: while the weights change, with BatchNorm's "
        f"statistics of each batch. {seen} Panels with the same loss share one axis. {family.which}."
    )
    return Picture(f"{family.slug}-fit{_suffix(*of)}", caption, data, "svg")


def _adversarial_picture(
    family: Family, rows: Sequence[dict[str, Any]], curves: Mapping[int, Curves], *, of: tuple[int, int]
) -> Picture:
    down = math.ceil(len(rows) / _PAIRS)
    with style():
        figure = new_figure(1.45 * down + 0.5)
        axes = _grid(figure, down, 2 * _PAIRS, 2 * len(rows))
        highest = [value for row in rows for _, value in curves[row["trial"]]["train.discriminator"]]
        for (generator, judge), row in zip(batched(axes, 2), rows, strict=True):
            own = curves[row["trial"]]
            for name, weight in weights(row).items():
                fit = [(epoch, weight * value) for epoch, value in own.get(f"train.{name}", [])]
                _line(generator, fit, TERMS.get(name, GREY), name)
            _line(generator, own.get("train.total", []), COLOURS["total"], "total")
            generator.set_ylim(bottom=0)
            _title(generator, trial_label(row), loss_words(weights(row)))
            _line(judge, own["train.discriminator"], "#b03060", "discriminator")
            judge.axhline(math.log(2), color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), label="ln 2: undecided")
            judge.set_ylim(0, 1.08 * max(*highest, math.log(2)))
            _title(judge, "", "discriminator")
        _legend(figure, axes)
        data = svg(figure)
    caption = (
        f"{family.title}: training losses by epoch{page_words(*of)}. Left of each pair: the terms of the generator's "
        "loss, each times its weight, and their sum. Right: the discriminator's loss, half the sum of its two binary "
        "cross-entropies; dashed at ln 2 = 0.693, the loss of a discriminator that cannot tell generated from true "
        f"patches. The discriminators share one axis. {family.which}."
    )
    return Picture(f"{family.slug}-adversarial{_suffix(*of)}", caption, data, "svg")


def _suffix(at: int, pages: int) -> str:
    return f"-{at}" if pages > 1 else ""


def _loss_group(row: Mapping[str, Any]) -> str:
    return loss_words({name: weight for name, weight in weights(row).items() if name != _ADVERSARIAL})


def _grid(figure: Figure, down: int, across: int, count: int) -> list[Axes]:
    figure.set_layout_engine(
        "constrained", h_pad=0.03, w_pad=0.03, hspace=0.04, rect=(0, 0, 1, 1 - 0.22 / _high(figure))
    )
    grid = figure.add_gridspec(down, across)
    axes = [figure.add_subplot(grid[at // across, at % across]) for at in range(count)]
    for at, each in enumerate(axes):
        each.grid(axis="y", color="#e3e6ea", linewidth=0.5)
        each.set_axisbelow(True)
        each.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if at + across >= count:
            each.set_xlabel("epoch")
    return axes


def _high(figure: Figure) -> float:
    return float(figure.get_size_inches()[1])


def _line(axes: Axes, curve: Iterable[tuple[int, float]], colour: Any, label: str) -> None:
    points = list(curve)
    marker = "o" if len(points) <= _SHORT else None
    axes.plot([epoch for epoch, _ in points], [value for _, value in points], color=colour, label=label, marker=marker)


def _title(axes: Axes, name: str, below: str) -> None:
    """The trial in bold, what is shown in grey after it."""
    room = int(WIDTH * 22 / 4)
    axes.set_title(f"{name[:room]}\n", loc="left", fontweight="bold", pad=2)
    axes.text(0, 1.03, below[:room], transform=axes.transAxes, fontsize=6, color=GREY)


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """One range for all panels of a group, logarithmic where the values differ much."""
    least, most = min(values), max(values)
    if least > 0 and most / least > _LOGARITHMIC:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(least / 1.15, most * 1.15)
    else:
        axes.set_ylim(min(0.0, least), 1.05 * most or 1.0)


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    handles = {}
    for each in axes:
        handles.update({label: handle for handle, label in zip(*each.get_legend_handles_labels(), strict=True)})
    known = [*TERMS, "total", "discriminator"]
    labels = sorted(handles, key=lambda label: known.index(label) if label in known else len(known))
    figure.legend([handles[label] for label in labels], labels, loc="upper center", ncols=len(handles))
