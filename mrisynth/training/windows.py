"""Images seen through separable windows: local means, smoothed gradients and greatest values, as metrics need them.

A window of weights is a product with a banded matrix from either side, taken in blocks along the band: most of a whole
matrix would be zeros (0.4 against 2.5 ms a slice of 160 x 160 on one core).
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Window = tuple[float, ...]
"""The weights along one axis, an odd number of them."""

_BLOCK = 16  # rows or columns that one product gives
_EDGE_TAPS = 9  # four deviations to each side


def uniform(taps: int) -> Window:
    """Equal weights of sum 1."""
    return (1 / taps,) * taps


def gaussian(taps: int, sigma: float) -> Window:
    """A Gaussian's weights, of sum 1; sigma in pixels."""
    offsets = np.arange(taps) - taps // 2
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    return tuple((weights / weights.sum()).tolist())


def gaussian_slope(taps: int, sigma: float) -> Window:
    """The weights that give the slope of an image smoothed by `gaussian`, in intensity a pixel."""
    return tuple((place - taps // 2) / sigma**2 * weight for place, weight in enumerate(gaussian(taps, sigma)))


class WindowSums:
    """Weighted sums under a window, wherever it lies inside the image, for many stacks of images of one shape.

    It keeps its memory, as asking the system for it at every slice took twice as long as the sums.

    Args:
        shape: (n, height, width) of the images.
        down: the window's weights along the height.
        across: its weights along the width.
    """

    def __init__(self, shape: tuple[int, int, int], down: Window, across: Window) -> None:
        count, height, width = shape
        self._down, self._across = down, across
        self._half = np.empty((count, height - len(down) + 1, width))
        self._sums = np.empty((count, height - len(down) + 1, width - len(across) + 1))

    def __call__(self, images: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sums, (n, height - len(down) + 1, width - len(across) + 1), until the next call overwrites them."""
        reach, half = len(self._down) - 1, self._half
        for start in range(0, half.shape[1], _BLOCK):
            end = min(start + _BLOCK, half.shape[1])
            np.matmul(_band(self._down, end - start), images[:, start : end + reach], out=half[:, start:end])
        reach, flat = len(self._across) - 1, half.reshape(-1, half.shape[2])
        sums = self._sums.reshape(len(flat), -1)
        for start in range(0, sums.shape[1], _BLOCK):
            end = min(start + _BLOCK, sums.shape[1])
            np.matmul(flat[:, start : end + reach], _band(self._across, end - start).T, out=sums[:, start:end])
        return self._sums


def gradients(image: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The gradient of an image smoothed by a Gaussian of 1 pixel; beyond its borders it stays the same.

    Args:
        image: (height, width).

    Returns:
        Down and across, (2, height, width), intensity a pixel.
    """
    smooth, slope = gaussian(_EDGE_TAPS, 1.0), gaussian_slope(_EDGE_TAPS, 1.0)
    padded = np.pad(image.astype(np.float64), _EDGE_TAPS // 2, mode="edge")[None]
    return np.concatenate(
        [WindowSums(padded.shape, *windows)(padded) for windows in ((slope, smooth), (smooth, slope))]
    )


def greatest_nearby(image: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """The greatest value in the square `reach` pixels to each side of every pixel: (height, width) to the same."""
    height, width = image.shape
    padded = np.pad(image, reach, mode="edge")
    down, span = padded[:height].copy(), range(1, 2 * reach + 1)
    for step in span:
        np.maximum(down, padded[step : step + height], out=down)
    greatest = down[:, :width].copy()
    for step in span:
        np.maximum(greatest, down[:, step : step + width], out=greatest)
    return greatest


@lru_cache(maxsize=128)
def _band(window: Window, places: int) -> NDArray[np.float64]:
    """The matrix that takes the window's sums at neighbouring places: (places, places + taps - 1), read-only."""
    matrix = np.zeros((places, places + len(window) - 1))
    for row in range(places):
        matrix[row, row : row + len(window)] = window
    matrix.flags.writeable = False
    return matrix
