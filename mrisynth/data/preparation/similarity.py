"""Local cross-correlation of two scans in windows around every voxel, and its gradient by a displacement."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]

NOISE = 1e-3
"""Variance, of full scale squared, below which a window shows noise rather than tissue and counts less."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One scan that stays and one that is displaced, at one resolution.

    The squared correlation of a window is s_fm^2 / ((s_ff + NOISE) (s_mm + NOISE)), with covariance and variances in
    the part of the window that lies in the mask (Avants 2008, eq. 6, with the noise added).

    Attributes:
        fixed: (depth, height, width), in [0, 1], 0 outside the mask.
        moving: the other scan, on a grid of its own.
        inside: indices of the voxels of the mask, in the flattened fixed scan.
        start: (3, inside), where each of them lies in the moving scan without displacement, in its voxels.
        scale: voxels of the moving scan to a unit of displacement.
        radius: of the window, in voxels.
        weight: in the mask the inverse of the number of voxels of a window that lie in it; 0 elsewhere.
        mean, variance: of the fixed scan in each window.
    """

    fixed: Array
    moving: Array
    inside: NDArray[np.intp]
    start: Array
    scale: float
    radius: int
    weight: Array
    mean: Array
    variance: Array

    @classmethod
    def of(
        cls, fixed: Array, moving: Array, *, mask: NDArray[np.bool_], start: Array, scale: float, radius: int
    ) -> Self:
        """A comparison in a mask of the fixed scan; what does not change is computed here."""
        counts = _sums(mask.astype(np.float32), radius)
        weight = np.where(mask, 1 / np.maximum(counts, 1), 0).astype(np.float32)
        masked = np.where(mask, fixed, 0).astype(np.float32)
        mean = _sums(masked, radius) * weight
        variance = np.maximum(_sums(masked * masked, radius) * weight - mean * mean, 0)
        return cls(masked, moving, np.flatnonzero(mask), start, scale, radius, weight, mean, variance)

    def value(self, displacement: Array) -> tuple[float, Array]:
        """The mean squared correlation, in [0, 1], and its gradient.

        Args:
            displacement: (3, inside), on (depth, height, width).

        Returns:
            The value, and its gradient by the displacement, of the same shape.
        """
        seen, slope = _read(self.moving, self.start + np.float32(self.scale) * displacement)
        moved = np.zeros_like(self.fixed)
        moved.ravel()[self.inside] = seen
        mean = self._means(moved)
        spread = np.maximum(self._means(moved * moved) - mean * mean, 0) + np.float32(NOISE)
        shared = self._means(self.fixed * moved) - self.mean * mean
        alike = shared / ((self.variance + np.float32(NOISE)) * spread)
        squared = shared * alike
        # Every voxel takes part in the windows around it; hence sums over windows once more.
        first, second = alike * self.weight, squared / spread * self.weight
        change = self.fixed * self._sums(first) - self._sums(first * self.mean)
        change -= moved * self._sums(second) - self._sums(second * mean)
        total = float(np.sum(squared.ravel()[self.inside], dtype=np.float64))
        factor = np.float32(2 * self.scale / self.inside.size)
        return total / self.inside.size, slope * (factor * change.ravel()[self.inside])

    def _sums(self, array: Array) -> Array:
        return _sums(array, self.radius)

    def _means(self, array: Array) -> Array:
        return _sums(array, self.radius) * self.weight


def _sums(array: Array, radius: int) -> Array:
    """The sum over the window around every voxel; 0 beyond the edge."""
    width = 2 * radius + 1
    for axis in range(3):
        array = ndimage.uniform_filter1d(array, width, axis, mode="constant")
    array *= np.float32(width**3)
    return array


def _read(scan: Array, places: Array) -> tuple[Array, Array]:
    """A scan between its voxels, linearly, and its slope there; beyond its edge it stays as it is at the edge.

    Args:
        scan: (depth, height, width), two voxels or more on each axis.
        places: (3, points), in voxels.

    Returns:
        (points,) and (3, points), the latter by voxel.
    """
    # Just below the last voxel, as float32 knows it: above it there is no next one to read.
    last = np.nextafter(np.array(scan.shape, np.float32) - 1, np.float32(0))[:, None]
    places = np.clip(places, 0, last)
    whole = places.astype(np.int32)
    z, y, x = places - whole
    row, plane = scan.shape[2], scan.shape[1] * scan.shape[2]
    first = plane * whole[0] + row * whole[1] + whole[2]
    values = scan.ravel()

    def along(offset: int) -> tuple[Array, Array]:
        left = values.take(first + offset)
        step = values.take(first + (offset + 1)) - left
        return left + x * step, step

    (v00, x00), (v01, x01), (v10, x10), (v11, x11) = (along(n) for n in (0, row, plane, plane + row))
    y0, y1 = v01 - v00, v11 - v10
    v0, v1 = v00 + y * y0, v10 + y * y1
    x0, x1 = x00 + y * (x01 - x00), x10 + y * (x11 - x10)
    return v0 + z * (v1 - v0), np.stack([v1 - v0, y0 + z * (y1 - y0), x0 + z * (x1 - x0)])
