"""Registration by local cross-correlation: displacements on B-spline knots, coarse to fine, by L-BFGS."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mrisynth.data.preparation.intensity import tissue_mask
from mrisynth.data.preparation.methods import CorrelationConfig
from mrisynth.data.preparation.similarity import Comparison
from mrisynth.data.preparation.splines import Bending, Knots, gather, move_to, spread
from mrisynth.data.store.records import FULL_SCALE
from mrisynth.errors import InvalidInputError

Array = NDArray[Any]

_MARGIN = 16
"""High-field voxels by which the moved scan and the field reach beyond the high scan on every side."""

_BORDER = 3
"""Voxels of a level beyond the tissue where the scans are still compared: the tissue's edge guides most."""

_FEWEST_SAMPLES = 16
_REMEMBERED = 8
"""Steps from which L-BFGS reckons curvature."""


@dataclass(frozen=True, slots=True)
class _Level:
    """One resolution.

    Attributes:
        shrink: high-field voxels to a voxel of the level.
        step: high-field voxels from knot to knot.
        iterations: steps of L-BFGS.
    """

    shrink: int
    step: float
    iterations: int


def register_by_correlation(
    low: sitk.Image, high: sitk.Image, affine: sitk.Transform, config: CorrelationConfig
) -> sitk.DisplacementFieldTransform:
    """The deformation that comes before an affine transform.

    First at a quarter of the resolution on knots twice as far apart, which brings large deformations within reach of
    the window; then at half, as the low scan has it.

    Args:
        low: the low-field scan, float32 in [0, 1000].
        high: the high-field scan, float32 in [0, 1000].
        affine: from points of the high scan to points of the low scan.
        config: the settings.

    Raises:
        InvalidInputError: the affine transform leaves no tissue that both scans show.
    """
    largest = max(1, min(high.GetSize()) // _FEWEST_SAMPLES)
    shape = high.GetSize()[::-1]
    coarse = _Level(4, 2 * config.knots, config.coarse_iterations)
    fine = _Level(min(2, largest), config.knots, config.iterations)
    levels = [coarse, fine] if config.coarse_iterations and coarse.shrink <= largest else [fine]
    # Between its voxels the low scan is read by cubic B-splines, once: linear reading blurs its noise more in the
    # middle between voxels than on them, and the correlation would draw the anatomy to where the noise is least.
    moved = _on_high_grid(low, high, affine)
    mask = sitk.And(tissue_mask(high), _covered(low, high, affine))
    if not sitk.GetArrayViewFromImage(mask).any():
        raise InvalidInputError(
            "after the affine registration the low scan shows nothing of the tissue in the high scan; "
            "check that both show the same specimen and that their headers are right"
        )
    knots = Knots.cover(shape, levels[0].step)
    weights = np.zeros((3, *knots.counts))
    with threadpool_limits(1, user_api="blas"):  # sums split among threads differ in their last bits
        for level in levels:
            finer = Knots.cover(shape, level.step)
            weights = move_to(weights, knots, finer, shape) if finer != knots else weights
            knots = finer
            comparison = _compare(moved, high, mask=mask, level=level, radius=config.radius)
            weights = _optimise(comparison, weights, knots=knots, level=level, bending=config.bending)
        return _as_transform(weights, knots, high, levels[-1].shrink)


def _optimise(comparison: Comparison, weights: Array, *, knots: Knots, level: _Level, bending: float) -> Array:
    """The weights of the knots, (3, knots, knots, knots) in high-field voxels, after one level."""
    shape = comparison.fixed.shape
    bases = [basis.astype(np.float32) for basis in knots.bases(_places(shape, level.shrink))]
    stiffness = Bending.of(knots)

    def cost(flat: Array) -> tuple[float, Array]:
        current = flat.reshape(weights.shape)
        field = spread(current.astype(np.float32), bases).reshape(3, -1)
        value, slope = comparison.value(field[:, comparison.inside])
        dense = np.zeros((3, comparison.fixed.size), np.float32)
        dense[:, comparison.inside] = slope
        energy, bend = stiffness.energy(current)
        gradient = bending * bend - gather(dense.reshape(3, *shape), bases)
        return bending * energy - value, gradient.ravel()

    limits: dict[str, Any] = {"maxiter": level.iterations, "maxcor": _REMEMBERED, "ftol": 0, "gtol": 0}
    found = minimize(cost, weights.ravel(), jac=True, method="L-BFGS-B", options=limits)
    return np.asarray(found.x).reshape(weights.shape)


def _compare(moved: sitk.Image, high: sitk.Image, *, mask: sitk.Image, level: _Level, radius: int) -> Comparison:
    """Both scans as a level sees them: the high scan on its voxels, the moved one on voxels half as wide."""
    sigma = 0.35 * level.shrink
    fixed = _coarser(high, sigma, level.shrink)
    finer = max(1, level.shrink // 2)
    moving = _coarser(moved, sigma, finer)
    compared = sitk.Resample(mask, fixed, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor)
    inside = sitk.GetArrayFromImage(sitk.BinaryDilate(compared, [_BORDER] * 3)) != 0
    places = _places(inside.shape, level.shrink)
    voxels = np.stack([axis[index] for axis, index in zip(places, np.nonzero(inside), strict=True)])
    start = (voxels + _MARGIN - (finer - 1) / 2) / finer
    return Comparison.of(
        sitk.GetArrayFromImage(fixed) / np.float32(FULL_SCALE),
        sitk.GetArrayFromImage(moving) / np.float32(FULL_SCALE),
        mask=inside,
        start=start.astype(np.float32),
        scale=1 / finer,
        radius=radius,
    )


def _places(shape: tuple[int, ...], shrink: int) -> list[Array]:
    """Where the voxels of a level lie on each axis, in high-field voxels."""
    return [shrink * np.arange(length) + (shrink - 1) / 2 for length in shape]


def _on_high_grid(low: sitk.Image, high: sitk.Image, affine: sitk.Transform) -> sitk.Image:
    """The low scan where the affine transform puts it, on the high scan's grid with a margin, edges continued."""
    grid = sitk.Image([length + 2 * _MARGIN for length in high.GetSize()], sitk.sitkUInt8)
    grid.SetSpacing(high.GetSpacing())
    grid.SetDirection(high.GetDirection())
    grid.SetOrigin(high.TransformContinuousIndexToPhysicalPoint([-float(_MARGIN)] * 3))
    return sitk.Resample(low, grid, affine, sitk.sitkBSpline3, 0.0, sitk.sitkFloat32, True)


def _covered(low: sitk.Image, high: sitk.Image, affine: sitk.Transform) -> sitk.Image:
    """Where on the high scan's grid the affine transform finds the low scan, 0 or 1."""
    ones = sitk.Image(low.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(low)
    return sitk.Resample(ones, high, affine, sitk.sitkNearestNeighbor, 0.0)


def _coarser(image: sitk.Image, sigma: float, shrink: int) -> sitk.Image:
    """The scan smoothed by `sigma` voxels and shrunk."""
    smooth = sitk.SmoothingRecursiveGaussian(image, [sigma * spacing for spacing in image.GetSpacing()])
    # Not Shrink: by even factors it takes voxels that lie half a voxel beside the grid that it returns.
    return sitk.BinShrink(smooth, [shrink] * 3)


def _as_transform(weights: Array, knots: Knots, high: sitk.Image, shrink: int) -> sitk.DisplacementFieldTransform:
    """The displacements in mm, on every `shrink`-th voxel of the high scan and of a margin."""
    places = [np.arange(-_MARGIN, length + _MARGIN, shrink, dtype=float) for length in high.GetSize()[::-1]]
    voxels = np.moveaxis(spread(weights, knots.bases(places)), 0, -1)[..., ::-1]
    turn = np.reshape(high.GetDirection(), (3, 3)) * high.GetSpacing()
    field = sitk.GetImageFromArray(voxels @ turn.T, isVector=True)
    field.SetOrigin(high.TransformContinuousIndexToPhysicalPoint([-float(_MARGIN)] * 3))
    field.SetSpacing([shrink * spacing for spacing in high.GetSpacing()])
    field.SetDirection(high.GetDirection())
    return sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
