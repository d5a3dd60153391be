"""What a trial is judged by: one number a subject, from its stitched slices and the true high-field ones.

Every metric takes the slices of one subject as `Scored`; averages over subjects are the caller's. A new metric is one
function and one line in `METRICS`. The formulas with their settings are in `docs/metrics.md`.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mrisynth.training.windows import Window, WindowSums, gaussian, gradients, greatest_nearby, uniform

Images = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

_LEAST_ERROR = (
    1e-10  # the mean squared error of images that are equal: it caps psnr at 100 dB, as JSON knows no infinity
)
_LEAST_CHANGE = 1e-6  # from pixel to pixel, about what float32 can tell apart: less counts as no change
_SSIM_K1, _SSIM_K2 = 0.01, 0.03
_SSIM_WINDOW = gaussian(11, 1.5)
_SSIM_STUDY_WINDOW = uniform(7)
_SSIM_SLICES = 16  # at least so many for each thread: fewer are done before another has started
_NEARBY = 2  # pixels


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The slices of one subject that are scored together.

    Args:
        generated, high: (n, height, width), prepared intensity / 1000: on [0, 1], but the generated ones not clipped.
        mask: tissue, (n, height, width).
        rows, columns: the first voxel after each line where patches meet, ascending; empty where nothing was stitched.
    """

    generated: Images
    high: Images
    mask: Mask
    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of merit.

    Args:
        function: one subject's slices to one number.
        unit: of that number; "" where it has none.
        direction: whether more or less is better.
        range: least and greatest possible value; None where unbounded.
        description: what is measured, where and on which scale, in one sentence.
        formula: how, in plain text: g is generated, h the true high-field slice, M the tissue mask.
        settings: what else decides its size; "" where nothing does.
    """

    function: Callable[[Scored], float]
    unit: str
    direction: Literal["maximize", "minimize"]
    range: tuple[float | None, float | None]
    description: str
    formula: str
    settings: str = ""

    def describe(self) -> dict[str, Any]:
        """All but the function, for the manifest of a sweep's index."""
        return {
            "unit": self.unit,
            "direction": self.direction,
            "range": list(self.range),
            "description": self.description,
            "formula": self.formula,
            "settings": self.settings,
        }


def psnr(scored: Scored) -> float:
    """Peak signal-to-noise ratio in dB over all voxels in the mask, for a data range of 1; 100 for equal images."""
    return _decibels(1.0, mse(scored))


def psnr_whole(scored: Scored) -> float:
    """As `psnr`, but over every voxel of the slices, background and all."""
    return _decibels(1.0, float(np.mean(_errors(scored) ** 2)))


def mse(scored: Scored) -> float:
    """Mean squared difference over all voxels in the mask."""
    return float(np.mean(_errors_in_mask(scored) ** 2))


def mae(scored: Scored) -> float:
    """Mean absolute difference over all voxels in the mask."""
    return float(np.mean(np.abs(_errors_in_mask(scored))))


def ssim(scored: Scored) -> float:
    """Mean structural similarity of the slices with the settings of Wang et al. (2004), for a data range of 1.

    A Gaussian window of 11 x 11 pixels with sigma 1.5, K1 = 0.01, K2 = 0.03, at every pixel where the window lies
    inside the slice.

    Raises:
        ValueError: a slice is smaller than the window.
    """
    return _similarity(scored.generated, scored.high, window=_SSIM_WINDOW, data_range=1.0)


def mse_study(scored: Scored) -> float:
    """Mean squared difference on the paper's scale (true slices of mean 0 and variance 1), averaged over slices."""
    return float(np.mean(_study_errors(scored)))


def psnr_255(scored: Scored) -> float:
    """The paper's PSNR in dB: its peak of 255 over errors on the standardised scale, slice by slice, then averaged."""
    return float(np.mean([_decibels(255.0, error) for error in _study_errors(scored)]))


def seam(scored: Scored) -> float:
    """How much more the error changes across the lines where patches meet than elsewhere: 1 where no seam shows.

    The mean of |e(p) - e(q)| over pairs of neighbouring pixels on either side of a line, over what it would be if these
    pairs were as all others of the same direction are; e is generated - high, and both pixels lie in the mask.
    1 where there are no lines, or nothing to compare them with.
    """
    error = _errors(scored)
    at_lines, elsewhere, count = 0.0, 0.0, 0
    for axis, lines in ((1, scored.rows), (2, scored.columns)):
        changes, pairs = _changes(error, scored.mask, axis)
        at_line = np.zeros(len(pairs), dtype=bool)
        at_line[np.asarray(lines, dtype=np.int64) - 1] = True
        crossing, other = int(pairs[at_line].sum()), int(pairs[~at_line].sum())
        if crossing and other:
            at_lines += changes[at_line].sum()
            elsewhere += crossing * changes[~at_line].sum() / other
            count += crossing
    floor = _LEAST_CHANGE * max(count, 1)
    return float((at_lines + floor) / (elsewhere + floor))


def hallucination(scored: Scored) -> float:
    """Edges that the generator invented, as a share of the true ones: 0 where there is none.

    By how much the gradient of the generated image exceeds the greatest gradient of the true one within 2 pixels (in
    rows and columns), summed over the mask, over the sum of the true gradients. Gradients are magnitudes, of images
    smoothed by a Gaussian of 1 pixel. A contrast that is too strong everywhere is no invention: where a straight line
    through the origin from the true to the generated gradients is steeper than 1, these are divided by its slope.
    """
    _refuse_empty(scored.mask)
    # Slice by slice: whole stacks of them would leave the processor's cache.
    slices = [
        (gradients(generated) * mask, gradients(high), mask)
        for generated, high, mask in zip(scored.generated, scored.high, scored.mask, strict=True)
    ]
    squares = sum(float(np.sum(true * true * mask)) for _, true, mask in slices)
    slope = sum(float(np.sum(made * true)) for made, true, _ in slices) / max(squares, _LEAST_CHANGE)
    excess, edges = 0.0, 0.0
    for made, true, mask in slices:
        true_edges = _magnitude(true)
        made_edges = _magnitude(made) / np.maximum(slope, 1.0)
        excess += float(np.sum(np.maximum(made_edges - greatest_nearby(true_edges, _NEARBY), 0)))
        edges += float(np.sum(true_edges * mask))
    return excess / max(edges, _LEAST_CHANGE * int(scored.mask.sum()))


def background(scored: Scored) -> float:
    """By how much the mean intensity outside the mask is off, averaged over the slices that have an outside; else 0."""
    outside = ~scored.mask
    counts = outside.sum(axis=(1, 2))
    sums = np.sum(_errors(scored) * outside, axis=(1, 2))
    if not counts.any():
        return 0.0
    return float(np.mean(np.abs(sums[counts > 0] / counts[counts > 0])))


def psnr_255_pooled(scored: Scored) -> float:
    """As `psnr_255`, but of the mean error of all slices: never more than `psnr_255` (Jensen's inequality)."""
    return _decibels(255.0, mse_study(scored))


def ssim_study(scored: Scored) -> float:
    """Mean structural similarity as scikit-image had it by default: what the paper may have called SSIM.

    A uniform window of 7 x 7 pixels with sample covariances, on slices standardised as for `mse_study`, for a data
    range of 2, which scikit-image assumed of images in floating point before version 0.20.
    """
    means, deviations = _study_scale(scored)
    varied = deviations > 0
    scale = (means[varied, None, None], deviations[varied, None, None])
    generated, high = ((images[varied] - scale[0]) / scale[1] for images in (scored.generated, scored.high))
    return _similarity(generated, high, window=_SSIM_STUDY_WINDOW, data_range=2.0, sample=True)


def _errors(scored: Scored) -> NDArray[np.float64]:
    """Generated minus high, (n, height, width)."""
    errors: NDArray[np.float64] = np.subtract(scored.generated, scored.high, dtype=np.float64)
    return errors


def _errors_in_mask(scored: Scored) -> NDArray[np.float64]:
    """Generated minus high in the mask, (voxels,)."""
    _refuse_empty(scored.mask)
    return _errors(scored)[scored.mask]


def _refuse_empty(mask: Mask) -> None:
    if not mask.any():
        raise ValueError("the mask of these slices is empty, so that there is nothing to score")


def _study_errors(scored: Scored) -> NDArray[np.float64]:
    """Mean squared difference of each slice over the true slice's variance, (n,), constant slices left out."""
    errors = np.mean(_errors(scored) ** 2, axis=(1, 2))
    _, deviations = _study_scale(scored)
    study: NDArray[np.float64] = errors[deviations > 0] / deviations[deviations > 0] ** 2
    return study


def _study_scale(scored: Scored) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each true slice, both (n,)."""
    means: NDArray[np.float64] = np.mean(scored.high, axis=(1, 2), dtype=np.float64)
    deviations: NDArray[np.float64] = np.std(scored.high, axis=(1, 2), dtype=np.float64)
    if not deviations.any():
        raise ValueError("every true slice is constant, so that the paper's standardised scale does not exist")
    return means, deviations


def _decibels(peak: float, error: float) -> float:
    """PSNR in dB of a mean squared error; NaN stays NaN."""
    return float(10 * np.log10(peak**2 / np.maximum(error, _LEAST_ERROR)))


def _similarity(generated: Images, high: Images, *, window: Window, data_range: float, sample: bool = False) -> float:
    """Mean SSIM of slices, (n, height, width), on torch's number of threads: one in a trial.

    `sample` divides variances by one less than the window's pixels.
    """
    threads = max(1, min(torch.get_num_threads(), len(high) // _SSIM_SLICES))
    similarities = partial(_similarities, window=window, data_range=data_range, sample=sample)
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(similarities, np.array_split(generated, threads), np.array_split(high, threads))
        return float(np.mean([value for part in parts for value in part]))


def _similarities(
    generated: Images, high: Images, *, window: Window, data_range: float, sample: bool
) -> list[np.floating[Any]]:
    """The SSIM of each slice."""
    taps, (height, width) = len(window), high.shape[1:]
    if min(height, width) < taps:
        raise ValueError(f"ssim needs slices of at least {taps} x {taps} pixels, not {height} x {width}")
    scale = taps**2 / (taps**2 - 1) if sample else 1.0
    c1, c2 = (_SSIM_K1 * data_range) ** 2, (_SSIM_K2 * data_range) ** 2
    moments, means = np.empty((4, height, width)), WindowSums((4, height, width), window, window)
    values = []
    for made, true in zip(generated, high, strict=True):
        moments[0], moments[1] = made, true
        np.multiply(moments[0], moments[1], out=moments[2])
        np.add(moments[0] ** 2, moments[1] ** 2, out=moments[3])
        mean_x, mean_y, mean_product, mean_squares = means(moments)
        product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
        alike = (2 * product + c1) * (2 * scale * (mean_product - product) + c2)
        values.append(np.mean(alike / ((squares + c1) * (scale * (mean_squares - squares) + c2))))
    return values


def _changes(error: NDArray[np.float64], mask: Mask, axis: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """|e(p) - e(q)| of neighbours in the mask along an axis: sums and numbers of pairs by place, each (length - 1,)."""
    error, mask = np.moveaxis(error, axis, 0), np.moveaxis(mask, axis, 0)
    both = mask[1:] & mask[:-1]
    return np.sum(np.abs(np.diff(error, axis=0)) * both, axis=(1, 2)), np.sum(both, axis=(1, 2))


def _magnitude(gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a gradient (2, height, width), (height, width)."""
    down, across = gradient
    magnitude: NDArray[np.float64] = np.sqrt(down * down + across * across)
    return magnitude


_SSIM_FORMULA = "mean of (2 mg mh + C1) (2 sgh + C2) / ((mg^2 + mh^2 + C1) (sg^2 + sh^2 + C2))"
_SSIM_MOMENTS = "m: means, sg^2, sh^2, sgh: variances and covariance in a "
_STUDY = "g and h minus the mean of the true slice, over its deviation; constant slices left out"
METRICS: Mapping[str, Metric] = {
    "psnr": Metric(
        psnr,
        "dB",
        "maximize",
        (None, 100.0),
        "Peak signal-to-noise ratio in the tissue mask, data range 1.",
        "10 log10(1 / mse)",
        "mse at least 1e-10, so that equal images have 100 dB",
    ),
    "psnr_whole": Metric(
        psnr_whole,
        "dB",
        "maximize",
        (None, 100.0),
        "As psnr, over the whole slices.",
        "10 log10(1 / mean (g - h)^2)",
        "mean squared error at least 1e-10",
    ),
    "ssim": Metric(
        ssim,
        "",
        "maximize",
        (-1.0, 1.0),
        "Structural similarity of whole slices, Wang's settings, data range 1.",
        _SSIM_FORMULA,
        _SSIM_MOMENTS
        + "Gaussian window of 11 x 11 pixels, deviation 1.5; C1 = 0.01^2, C2 = 0.03^2; inside the slice only",
    ),
    "mse": Metric(
        mse,
        "",
        "minimize",
        (0.0, None),
        "Mean squared error in the tissue mask, intensities on 0 to 1.",
        "mean over M of (g - h)^2",
    ),
    "mae": Metric(
        mae,
        "",
        "minimize",
        (0.0, None),
        "Mean absolute error in the tissue mask, intensities on 0 to 1.",
        "mean over M of |g - h|",
    ),
    "psnr_255": Metric(
        psnr_255,
        "dB",
        "maximize",
        (None, None),
        "The paper's PSNR: peak 255 on standardised slices; only to compare.",
        "mean over slices of 10 log10(255^2 / mean (g - h)^2)",
        _STUDY,
    ),
    "mse_study": Metric(
        mse_study,
        "",
        "minimize",
        (0.0, None),
        "The paper's mean squared error on standardised slices; only to compare.",
        "mean over slices of mean (g - h)^2",
        _STUDY,
    ),
    "seam": Metric(
        seam,
        "",
        "minimize",
        (0.0, None),
        "Change of the error across the lines where patches meet, over elsewhere; 1 is none.",
        "mean |e(p) - e(q)| of neighbours across the lines / the same of all others, e = g - h",
        "both pixels in M; each direction against itself; lines of the trial's own stitching",
    ),
    "hallucination": Metric(
        hallucination,
        "",
        "minimize",
        (0.0, None),
        "Gradients beyond any true one nearby, in the tissue mask, as a share of the true ones.",
        "sum over M of max(0, |grad g| / max(1, a) - greatest |grad h| nearby) / sum over M of |grad h|",
        "Gaussian of 1 pixel first; nearby is 5 x 5 pixels; a is the slope from true to generated gradients",
    ),
    "background": Metric(
        background,
        "",
        "minimize",
        (0.0, None),
        "Absolute drift of the mean outside the tissue mask, slice by slice, intensities on 0 to 1.",
        "mean over slices of |mean outside M of g - mean outside M of h|",
        "slices without an outside left out; 0 where none has one",
    ),
    "psnr_255_pooled": Metric(
        psnr_255_pooled,
        "dB",
        "maximize",
        (None, None),
        "As psnr_255, from the mean error of all slices; only to compare.",
        "10 log10(255^2 / mse_study)",
        _STUDY,
    ),
    "ssim_study": Metric(
        ssim_study,
        "",
        "maximize",
        (-1.0, 1.0),
        "A reading of the paper's structural similarity, on standardised slices; only to compare.",
        _SSIM_FORMULA,
        _SSIM_MOMENTS + "uniform window of 7 x 7 pixels, C1 = 0.02^2, C2 = 0.06^2; " + _STUDY,
    ),
}
