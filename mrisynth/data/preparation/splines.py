"""Smooth displacements: cubic B-splines on a regular grid of knots, and how much they bend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_BENDINGS = {(2, 0, 0): 1, (0, 2, 0): 1, (0, 0, 2): 1, (1, 1, 0): 2, (1, 0, 1): 2, (0, 1, 1): 2}
"""The second derivatives, by their order on each axis, and how often each of them counts (Rueckert 1999, eq. 8)."""


@dataclass(frozen=True, slots=True)
class Knots:
    """A regular grid of knots over a scan, one beyond its edge on every side.

    Attributes:
        step: distance of two knots, in voxels of the scan.
        counts: knots on each axis (depth, height, width).
        first: where the first of them lies on each axis, in voxels of the scan.
    """

    step: float
    counts: tuple[int, ...]
    first: tuple[float, ...]

    @classmethod
    def cover(cls, shape: Sequence[int], step: float) -> Self:
        """The knots that cover a scan of `shape` (depth, height, width) voxels, its middle in their middle."""
        counts = tuple(int(np.ceil(length / step)) + 3 for length in shape)
        first = tuple(((n - 1) - (count - 1) * step) / 2 for n, count in zip(shape, counts, strict=True))
        return cls(step, counts, first)

    def bases(self, places: Sequence[Array]) -> list[Array]:
        """What every knot adds at the given places of each axis, as (places, knots), one array an axis.

        Args:
            places: coordinates on each axis (depth, height, width), in voxels of the scan.
        """
        return [
            cubic((axis[:, None] - first) / self.step - np.arange(count))
            for axis, first, count in zip(places, self.first, self.counts, strict=True)
        ]


def cubic(distance: Array) -> Array:
    """The cubic B-spline at a distance from its knot, in knots."""
    far = np.abs(distance)
    near = 2 / 3 - far**2 + far**3 / 2
    return np.where(far < 1, near, np.maximum(2 - far, 0) ** 3 / 6)


def spread(weights: Array, bases: Sequence[Array]) -> Array:
    """Displacements (3, depth, height, width) from the weights (3, knots, knots, knots) of the knots."""
    return np.asarray(np.einsum("ai,bj,dk,cijk->cabd", *bases, weights, optimize=True))


def gather(gradient: Array, bases: Sequence[Array]) -> Array:
    """The gradient by the weights (3, knots, knots, knots) from that by displacements: the transpose of `spread`."""
    return np.asarray(np.einsum("ai,bj,dk,cabd->cijk", *bases, gradient, optimize=True))


def move_to(weights: Array, old: Knots, new: Knots, shape: Sequence[int]) -> Array:
    """The weights on other knots that come nearest to the same displacements of a scan of `shape` voxels."""
    places = [np.arange(0, length, new.step / 8) for length in shape]
    inverses = [np.linalg.pinv(basis) for basis in new.bases(places)]
    return spread(spread(weights, old.bases(places)), inverses)


@dataclass(frozen=True, slots=True)
class Bending:
    """The mean bending energy of displacements: the squares of their second derivatives, in knots.

    Attributes:
        products: for each axis and each order of derivative, the integrals (knots, knots) of two knots' product.
    """

    products: list[list[Array]]

    @classmethod
    def of(cls, knots: Knots) -> Self:
        """For displacements on these knots."""
        return cls([_products(count) for count in knots.counts])

    def energy(self, weights: Array) -> tuple[float, Array]:
        """The energy of the weights (3, knots, knots, knots), and its gradient by them."""
        half = np.zeros_like(weights)
        for orders, often in _BENDINGS.items():
            half += often * spread(weights, [axis[order] for axis, order in zip(self.products, orders, strict=True)])
        half /= weights[0].size
        return float(np.sum(weights * half)), 2 * half


def _products(count: int) -> list[Array]:
    """The products of one axis, for derivatives of order 0, 1 and 2, between the second knot and the last but one.

    Beyond them a knot is missing whose spline would reach there, and even a plain shift would seem to bend.
    """
    finest, delta = 8, 1e-3
    places = 1 + np.arange((count - 3) * finest + 1)[:, None] / finest - np.arange(count)
    below, at, above = (cubic(places + shift) for shift in (-delta, 0, delta))
    derivatives = (at, (above - below) / (2 * delta), (above - 2 * at + below) / delta**2)
    return [derivative.T @ derivative / finest for derivative in derivatives]
