"""Real anatomy in place of procedural tissue: one scan, deformed anew for every subject."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from mrisynth.data.phantom.acquisition import Array, Size, smooth_field
from mrisynth.data.phantom.anatomy import Anatomy
from mrisynth.data.phantom.deformation import misalign
from mrisynth.data.scans.volumes import read_volume
from mrisynth.errors import InvalidInputError

_FILL = 0.92
"""The share of the grid that the anatomy's bounding box may fill on its tightest axis."""


def borrow(rng: np.random.Generator, path: Path, grid: sitk.Image) -> Anatomy:
    """A specimen whose tissue is that of a real scan, fitted into the grid whatever its true size.

    Bright tissue of the scan becomes white matter, darker tissue grey matter, continuously, as T1-weighting has it.

    Args:
        rng: random generator; every draw turns, scales and warps the scan differently.
        path: a scan that `read_volume` accepts.
        grid: the high-field grid.

    Raises:
        InvalidInputError: the scan cannot be used.
    """
    image = sitk.DICOMOrient(read_volume(path).to_image(), "LPS")
    size: Size = grid.GetSize()[::-1]
    fitted = _fit(rng, image, grid)
    if np.percentile(fitted, 99.9) <= 0:
        raise InvalidInputError(
            f"{path} shows no tissue above its background; choose a scan with bright tissue on black"
        )
    scaled = fitted / np.percentile(fitted, 99.5)
    tissue = np.clip((scaled - 0.08) / 0.12, 0, 1)
    dark, bright = np.percentile(scaled[tissue > 0.99], (20, 90))
    nothing = np.zeros(size, np.float32)
    return Anatomy(
        tissue=tissue,
        grey=np.clip((bright - scaled) / max(bright - dark, 1e-6), -0.3, 1.3),
        nucleus=nothing,
        vessel=nothing,
        stria=nothing,
        texture=0.8 * smooth_field(rng, size, 1.3) + 0.6 * smooth_field(rng, size, 3.5),
    )


def _fit(rng: np.random.Generator, image: sitk.Image, grid: sitk.Image) -> Array:
    """The scan on the grid, turned, scaled and warped at random, its background at 0; (depth, height, width)."""
    array = sitk.GetArrayViewFromImage(image)
    floor, top = np.percentile(array, (1, 99.5))
    inside = np.nonzero(array > floor + 0.15 * (top - floor))
    if not inside[0].size:
        return np.zeros(grid.GetSize()[::-1], np.float32)
    first, last = (np.array([bound(axis) for axis in inside[::-1]], float) for bound in (np.min, np.max))
    extent = (last - first + 1) * image.GetSpacing()
    room = np.array(grid.GetSize()) * grid.GetSpacing()
    shrink = float((extent / room).max() / _FILL)
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint(((first + last) / 2).tolist()))
    centre = np.array(grid.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in grid.GetSize()]))
    place = sitk.AffineTransform(3)
    place.Scale(shrink)
    place.SetCenter(centre.tolist())
    place.SetTranslation((middle - centre).tolist())
    vary = misalign(rng, grid, degrees=6, scale=0.05, shift=0.0, warp=5)
    step = shrink * min(grid.GetSpacing())
    if step > 1.2 * min(image.GetSpacing()):
        # Fewer samples than the scan has: without smoothing they would alias.
        image = sitk.SmoothingRecursiveGaussian(image, 0.4 * step)
    both = sitk.CompositeTransform([place, vary.forward])
    resampled = sitk.Resample(image, grid, both, sitk.sitkLinear, float(floor), sitk.sitkFloat32)
    return np.asarray(np.maximum(sitk.GetArrayFromImage(resampled) - np.float32(floor), 0), np.float32)
