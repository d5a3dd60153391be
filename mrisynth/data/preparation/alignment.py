"""How well the low-field scan lies on the high-field scan: correlation, residual shift, folding; and what to flag."""

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Array = NDArray[Any]

_REACH = 3
_INFORMATION_BINS = 32
_LEAST_COVERAGE = 0.95
_LARGEST_SHIFT = 1.0


class Alignment(BaseModel):
    """The figures kept with a subject.

    Attributes:
        correlation_before: of the two scans in the tissue, aligned by their headers alone, in [-1, 1].
        correlation_after: the same after registration.
        residual_shift: mm on the axes (depth, height, width) by which the low scan would still have to move.
        residual_voxels: the same in voxels of the high scan.
        jacobian_min: least local change of volume by the transform in the tissue; folding where it is not positive.
        jacobian_max: the largest.
        coverage: part of the high scan's tissue that the low scan shows, in [0, 1].
        information_before: mutual information in nats, in the tissue, by the headers alone; None in older records.
        information_after: the same after registration.
    """

    model_config = ConfigDict(frozen=True)

    correlation_before: float
    correlation_after: float
    residual_shift: tuple[float, float, float]
    residual_voxels: tuple[float, float, float]
    jacobian_min: float
    jacobian_max: float
    coverage: float
    information_before: float | None = None
    information_after: float | None = None

    def flags(self) -> list[str]:
        """What a person should look at, one sentence each; empty where all is well."""
        flags = []
        before, after = self.correlation_before, self.correlation_after
        if after < before:
            flags.append(f"registration lowered the correlation in the tissue from {before:.3f} to {after:.3f}")
        if self.jacobian_min <= 0:
            flags.append(f"the transform folds the tissue (least Jacobian determinant {self.jacobian_min:.3f})")
        largest = max(abs(shift) for shift in self.residual_voxels)
        if largest > _LARGEST_SHIFT:
            flags.append(f"the low scan still lies {largest:.1f} voxels beside the high scan")
        if self.coverage < _LEAST_COVERAGE:
            flags.append(f"the low scan shows only {self.coverage:.0%} of the high scan's tissue")
        return flags


def measure(
    before: sitk.Image,
    after: sitk.Image,
    high: sitk.Image,
    *,
    transform: sitk.Transform,
    tissue: sitk.Image,
    mask: sitk.Image,
) -> Alignment:
    """The figures of one registration.

    Args:
        before: the low scan on the high scan's grid, by the headers alone.
        after: the same by the transform.
        high: the high scan.
        transform: from points of the high scan to points of the low scan.
        tissue: tissue of the high scan, 0 or 1, on its grid.
        mask: the part of it that the low scan shows; not empty.
    """
    low, fixed, inside = (sitk.GetArrayViewFromImage(image) for image in (after, high, mask))
    whole = sitk.GetArrayViewFromImage(tissue)
    voxels = residual_shift(low, fixed, inside)
    least, largest = jacobian_range(transform, mask)
    unmoved = sitk.GetArrayViewFromImage(before)
    depth, height, width = (shift * mm for shift, mm in zip(voxels, high.GetSpacing()[::-1], strict=True))
    return Alignment(
        correlation_before=correlation(unmoved, fixed, whole),
        correlation_after=correlation(low, fixed, whole),
        residual_shift=(depth, height, width),
        residual_voxels=voxels,
        jacobian_min=least,
        jacobian_max=largest,
        coverage=float(np.count_nonzero(inside) / np.count_nonzero(whole)),
        information_before=mutual_information(unmoved, fixed, whole),
        information_after=mutual_information(low, fixed, whole),
    )


def correlation(low: Array, high: Array, mask: Array) -> float:
    """Pearson's correlation of two scans in a mask, in [-1, 1]; 0 where one of them is constant.

    Args:
        low: (depth, height, width), any unit.
        high: the same shape, any unit.
        mask: the same shape; not zero where the voxels count.
    """
    inside = mask != 0
    one, two = low[inside].astype(np.float64), high[inside].astype(np.float64)
    if one.size == 0 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])


def mutual_information(low: Array, high: Array, mask: Array) -> float:
    """Mutual information of two scans in a mask, in nats, from a joint histogram of 32 by 32 bins; 0 if it is empty.

    Args:
        low: (depth, height, width), intensity in [0, 1000].
        high: the same shape, intensity in [0, 1000].
        mask: the same shape; not zero where the voxels count.
    """
    inside = mask != 0
    if not inside.any():
        return 0.0
    counts, _, _ = np.histogram2d(low[inside], high[inside], bins=_INFORMATION_BINS, range=[[0, 1000], [0, 1000]])
    joint = counts / counts.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float(np.sum(joint[filled] * np.log(joint[filled] / apart[filled])))


def residual_shift(low: Array, high: Array, mask: Array) -> tuple[float, float, float]:
    """How far the low scan would still have to move on each axis, in voxels, to correlate best with the high scan.

    The correlation at whole shifts up to three voxels either way, with a parabola through the best and its neighbours.

    Args:
        low: the registered low scan, (depth, height, width), any unit.
        high: the high scan, same shape.
        mask: the tissue, same shape.

    Returns:
        Shifts on (depth, height, width) in voxels of the grid, each in [-3, 3].
    """
    depth, height, width = (_shift(low, high, mask, axis) for axis in range(3))
    return (depth, height, width)


def jacobian_range(transform: sitk.Transform, mask: sitk.Image) -> tuple[float, float]:
    """The least and the largest determinant of a transform's Jacobian in a mask: 1 keeps volumes, 0 and less folds.

    Args:
        transform: from points of the high scan to points of the low scan.
        mask: the tissue on the high scan's grid.
    """
    inside = sitk.GetArrayFromImage(jacobian(transform, mask))[sitk.GetArrayViewFromImage(mask) != 0]
    return float(inside.min()), float(inside.max())


def jacobian(transform: sitk.Transform, grid: sitk.Image) -> sitk.Image:
    """The determinant of a transform's Jacobian at every voxel of a grid, float32, without the grid's direction."""
    geometry = (grid.GetSize(), grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection())
    field = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat32, *geometry)
    # ITK's filter ignores the direction matrix: turn the displacements into the axes of the grid.
    direction = np.reshape(grid.GetDirection(), (3, 3)).astype(np.float32)
    array = sitk.GetArrayViewFromImage(field) @ direction
    del field  # a third copy of the displacements would be the most memory that the whole preparation takes
    turned = sitk.GetImageFromArray(array, isVector=True)
    del array
    turned.SetSpacing(grid.GetSpacing())
    return sitk.DisplacementFieldJacobianDeterminant(turned)


def _shift(low: Array, high: Array, mask: Array, axis: int) -> float:
    """The residual shift on one axis, in voxels."""
    reach = min(_REACH, (low.shape[axis] - 1) // 4)
    shifts = range(-reach, reach + 1)
    values = [_shifted_correlation(low, high, mask, axis=axis, shift=shift) for shift in shifts]
    best = int(np.argmax(values))
    if best in (0, len(values) - 1):
        return float(shifts[best])
    left, middle, right = values[best - 1 : best + 2]
    curvature = left - 2 * middle + right
    return float(shifts[best] + (0.5 * (left - right) / curvature if curvature < 0 else 0.0))


def _shifted_correlation(low: Array, high: Array, mask: Array, *, axis: int, shift: int) -> float:
    """The correlation once the low scan has moved by `shift` voxels along an axis, where both have data."""
    length = low.shape[axis]
    moved: list[slice] = [slice(None)] * 3
    fixed: list[slice] = [slice(None)] * 3
    moved[axis] = slice(max(0, -shift), length - max(0, shift))
    fixed[axis] = slice(max(0, shift), length - max(0, -shift))
    return correlation(low[tuple(moved)], high[tuple(fixed)], mask[tuple(fixed)])
