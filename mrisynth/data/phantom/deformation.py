"""Random misalignment with a known inverse: where the low-field scan shows what the high-field scan shows."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from mrisynth.data.phantom.acquisition import Size, smooth_field

STRIDE = 4
"""The displacement is kept at every fourth high-field voxel on each axis; it is smooth on a far larger scale."""

_MARGIN = 6
_SQUARINGS = 5


@dataclass(frozen=True, slots=True)
class Misalignment:
    """`T(x) = A(x + D(x))` takes a physical point of the high-field scan to that of the low-field scan, both in mm.

    Args:
        forward: T, from high to low; what a registration of low to high should find (it resamples low onto high).
        backward: the inverse of T, from low to high.
    """

    forward: sitk.Transform
    backward: sitk.Transform


def misalign(
    rng: np.random.Generator,
    image: sitk.Image,
    *,
    degrees: float,
    scale: float,
    shift: float,
    warp: float,
    smoothness: float = 20.0,
) -> Misalignment:
    """A random misalignment of a scan with the given grid.

    Args:
        rng: random generator.
        image: the high-field grid.
        degrees: largest rotation about each axis.
        scale: largest change of size along each axis, as a share (0.02: 2 %).
        shift: largest shift along each axis, in mm.
        warp: largest displacement by D, in voxels of the smallest spacing; 70 to 100 % of it is drawn.
        smoothness: distance of the knots of D's velocity, in voxels; structures are about twice as wide.
    """
    affine = _random_affine(rng, image, degrees=degrees, scale=scale, shift=shift)
    velocity = _random_velocity(rng, image, warp * rng.uniform(0.7, 1.0), smoothness)
    forward, backward = (_as_transform(_exponential(v), image) for v in (velocity, -velocity))
    # A composite applies the transform that was added last first.
    return Misalignment(
        forward=sitk.CompositeTransform([affine, forward]),
        backward=sitk.CompositeTransform([backward, affine.GetInverse()]),
    )


def _random_affine(
    rng: np.random.Generator, image: sitk.Image, *, degrees: float, scale: float, shift: float
) -> sitk.AffineTransform:
    """Rotation, scale and shift about the middle of the grid."""
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*np.deg2rad(rng.uniform(-degrees, degrees, 3)).tolist())
    matrix = np.reshape(turn.GetMatrix(), (3, 3)) * (1 + rng.uniform(-scale, scale, 3))
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(matrix.ravel().tolist())
    affine.SetTranslation(rng.uniform(-shift, shift, 3).tolist())
    affine.SetCenter(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
    return affine


def _random_velocity(
    rng: np.random.Generator, image: sitk.Image, voxels: float, smoothness: float
) -> NDArray[np.float64]:
    """A smooth velocity, (3, depth, height, width) on the coarse grid with its margin, in coarse steps along (x, y, z).

    The path of a point is never longer than the largest velocity, so that no displacement exceeds `voxels`.
    """
    size = cast(Size, tuple(-(-n // STRIDE) + 1 + 2 * _MARGIN for n in reversed(image.GetSize())))
    velocity = np.stack([smooth_field(rng, size, smoothness / STRIDE) for _ in range(3)]).astype(float)
    spacing = np.array(image.GetSpacing()).reshape(3, 1, 1, 1)
    longest = np.sqrt(((velocity * spacing) ** 2).sum(axis=0)).max()
    return np.asarray(velocity * (voxels * spacing.min() / STRIDE / longest))


def _exponential(velocity: NDArray[np.float64]) -> NDArray[np.float64]:
    """The displacement after a unit of time at a velocity, by scaling and squaring (Arsigny et al. 2006)."""
    displacement = velocity / 2**_SQUARINGS
    grid = np.indices(velocity.shape[1:], dtype=float)
    for _ in range(_SQUARINGS):
        where = grid + displacement[::-1]
        moved = [ndimage.map_coordinates(axis, where, order=3, mode="nearest") for axis in displacement]
        displacement = displacement + np.stack(moved)
    return np.asarray(displacement)


def _as_transform(displacement: NDArray[np.float64], image: sitk.Image) -> sitk.DisplacementFieldTransform:
    """A displacement in coarse steps as a transform in mm, linear between the coarse points."""
    step = STRIDE * np.array(image.GetSpacing())
    axes = np.reshape(image.GetDirection(), (3, 3))
    vectors = np.einsum("ij,jdhw->dhwi", axes, displacement * step.reshape(3, 1, 1, 1))
    field = sitk.GetImageFromArray(vectors, isVector=True)
    field.SetSpacing(step.tolist())
    field.SetOrigin(image.TransformContinuousIndexToPhysicalPoint([-float(_MARGIN * STRIDE)] * 3))
    field.SetDirection(image.GetDirection())
    return sitk.DisplacementFieldTransform(field)
