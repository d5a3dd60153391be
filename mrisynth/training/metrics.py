"""What a trial is judged by: one number a subject, from its stitched slices and the true high-field ones.

Every metric takes (n, height, width) arrays of one subject on [0, 1], prepared intensity / 1000, and the tissue mask of
the same shape; averages over subjects are the caller's. A new metric is one function and one line in `METRICS`. The
formulas with their settings are in `docs/metrics.md`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

_LEAST_ERROR = (
    1e-10  # the mean squared error of images that are equal: it caps psnr at 100 dB, as JSON knows no infinity
)
_SSIM_TAPS, _SSIM_SIGMA, _SSIM_K1, _SSIM_K2 = 11, 1.5, 0.01, 0.03
_SSIM_BLOCK = 16  # rows or columns that one product gives


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of merit.

    Args:
        function: (generated, high, mask), each (n, height, width), to one number.
        unit: of that number; "" where it has none.
        direction: whether more or less is better.
        range: least and greatest possible value; None where unbounded.
        description: what is measured, where and on which scale, in one sentence.
    """

    function: Callable[[Images, Images, Mask], float]
    unit: str
    direction: Literal["maximize", "minimize"]
    range: tuple[float | None, float | None]
    description: str

    def describe(self) -> dict[str, Any]:
        """All but the function, for the manifest of a sweep's index."""
        return {
            "unit": self.unit,
            "direction": self.direction,
            "range": list(self.range),
            "description": self.description,
        }


def psnr(generated: Images, high: Images, mask: Mask) -> float:
    """Peak signal-to-noise ratio in dB over all voxels in the mask, for a data range of 1; 100 for equal images."""
    return _decibels(1.0, mse(generated, high, mask))


def psnr_whole(generated: Images, high: Images, mask: Mask) -> float:
    """As `psnr`, but over every voxel of the slices, background and all."""
    return psnr(generated, high, np.ones_like(mask, dtype=bool))


def mse(generated: Images, high: Images, mask: Mask) -> float:
    """Mean squared difference over all voxels in the mask."""
    return float(np.mean(_differences(generated, high, mask) ** 2))


def mae(generated: Images, high: Images, mask: Mask) -> float:
    """Mean absolute difference over all voxels in the mask."""
    return float(np.mean(np.abs(_differences(generated, high, mask))))


def ssim(generated: Images, high: Images, mask: Mask) -> float:
    """Mean structural similarity of the slices with the settings of Wang et al. (2004), for a data range of 1.

    A Gaussian window of 11 x 11 pixels with sigma 1.5, K1 = 0.01, K2 = 0.03, at every pixel where the window lies
    inside the slice.

    Raises:
        ValueError: a slice is smaller than the window.
    """
    return float(np.mean([_ssim_slice(*pair) for pair in zip(generated, high, strict=True)]))


def mse_study(generated: Images, high: Images, mask: Mask) -> float:
    """Mean squared difference on the paper's scale (true slices of mean 0 and variance 1), averaged over slices."""
    return float(np.mean(_study_errors(generated, high)))


def psnr_255(generated: Images, high: Images, mask: Mask) -> float:
    """The paper's PSNR in dB: its peak of 255 over errors on the standardised scale, slice by slice, then averaged."""
    return float(np.mean([_decibels(255.0, error) for error in _study_errors(generated, high)]))


def _differences(generated: Images, high: Images, mask: Mask) -> NDArray[np.float64]:
    """Differences in the mask, (voxels,)."""
    if not mask.any():
        raise ValueError("the mask of these slices is empty, so that there is nothing to score")
    return np.subtract(generated[mask], high[mask], dtype=np.float64)


def _study_errors(generated: Images, high: Images) -> NDArray[np.float64]:
    """Mean squared difference of each slice over the true slice's variance, (n,), constant slices left out."""
    errors = np.mean(np.subtract(generated, high, dtype=np.float64) ** 2, axis=(-2, -1))
    variances = np.var(high, axis=(-2, -1), dtype=np.float64)
    scaled = variances > 0
    if not scaled.any():
        raise ValueError("every true slice is constant, so that the paper's standardised scale does not exist")
    study: NDArray[np.float64] = errors[scaled] / variances[scaled]
    return study


def _decibels(peak: float, error: float) -> float:
    """PSNR in dB of a mean squared error; NaN stays NaN."""
    return float(10 * np.log10(peak**2 / np.maximum(error, _LEAST_ERROR)))


def _ssim_slice(generated: Images, high: Images) -> float:
    """SSIM of one slice, (height, width)."""
    x, y = generated.astype(np.float64), high.astype(np.float64)
    mean_x, mean_y, mean_squares, mean_product = _window_means(np.stack([x, y, x * x + y * y, x * y]))
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    c1, c2 = _SSIM_K1**2, _SSIM_K2**2
    luminance = (2 * product + c1) / (squares + c1)
    structure = (2 * (mean_product - product) + c2) / (mean_squares - squares + c2)
    return float(np.mean(luminance * structure))


def _window_means(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means under the Gaussian window wherever it fits: (n, height, width) to (n, height - 10, width - 10).

    The window is a product with a banded matrix from either side, taken in blocks along the band: most of a whole
    matrix would be zeros (0.4 against 2.5 ms a slice of 160 x 160 on one core).
    """
    count, height, width = images.shape
    reach = _SSIM_TAPS - 1
    if min(height, width) <= reach:
        raise ValueError(f"ssim needs slices of at least {_SSIM_TAPS} x {_SSIM_TAPS} pixels, not {height} x {width}")
    down = np.empty((count, height - reach, width))
    for start in range(0, height - reach, _SSIM_BLOCK):
        rows = min(_SSIM_BLOCK, height - reach - start)
        np.matmul(_band(rows), images[:, start : start + rows + reach], out=down[:, start : start + rows])
    down = down.reshape(-1, width)
    across = np.empty((len(down), width - reach))
    for start in range(0, width - reach, _SSIM_BLOCK):
        columns = min(_SSIM_BLOCK, width - reach - start)
        np.matmul(down[:, start : start + columns + reach], _band(columns).T, out=across[:, start : start + columns])
    return across.reshape(count, height - reach, width - reach)


@lru_cache(maxsize=_SSIM_BLOCK)
def _band(places: int) -> NDArray[np.float64]:
    """The matrix that takes the window's mean at neighbouring places: (places, places + 10), read-only."""
    offsets = np.arange(_SSIM_TAPS) - _SSIM_TAPS // 2
    window = np.exp(-(offsets**2) / (2 * _SSIM_SIGMA**2))
    matrix = np.zeros((places, places + _SSIM_TAPS - 1))
    for row in range(places):
        matrix[row, row : row + _SSIM_TAPS] = window / window.sum()
    matrix.flags.writeable = False
    return matrix


METRICS: Mapping[str, Metric] = {
    "psnr": Metric(
        psnr, "dB", "maximize", (None, 100.0), "Peak signal-to-noise ratio in the tissue mask, data range 1."
    ),
    "psnr_whole": Metric(psnr_whole, "dB", "maximize", (None, 100.0), "As psnr, over the whole slices."),
    "ssim": Metric(
        ssim, "", "maximize", (-1.0, 1.0), "Structural similarity of whole slices, Wang's settings, data range 1."
    ),
    "mse": Metric(mse, "", "minimize", (0.0, None), "Mean squared error in the tissue mask, intensities on 0 to 1."),
    "mae": Metric(mae, "", "minimize", (0.0, None), "Mean absolute error in the tissue mask, intensities on 0 to 1."),
    "psnr_255": Metric(
        psnr_255, "dB", "maximize", (None, None), "The paper's PSNR: peak 255 on standardised slices; only to compare."
    ),
    "mse_study": Metric(
        mse_study,
        "",
        "minimize",
        (0.0, None),
        "The paper's mean squared error on standardised slices; only to compare.",
    ),
}
