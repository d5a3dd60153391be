"""Registration: the transform that brings the low scan onto the high scan, and the one resampling that applies it."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from mrisynth.data.preparation.correlation import register_by_correlation
from mrisynth.data.preparation.greedy import register_by_greedy
from mrisynth.data.preparation.methods import (
    AffineConfig,
    BsplineConfig,
    CorrelationConfig,
    DemonsConfig,
    GreedyConfig,
)
from mrisynth.errors import InvalidInputError

VERSION = 5
"""Raised by one whenever a registered scan changes for the same input and the same settings."""

_FEWEST_SAMPLES = 16
_FEWEST_POINTS = 5000
"""Mutual information needs some thousands of points for its joint histogram, however small the scan."""

_HISTOGRAM_BINS = 32

_TURNS = (0.0, -20.0, 20.0)
"""Degrees about each axis at which the affine stage may start."""


def register(low: sitk.Image, high: sitk.Image, config: AffineConfig) -> sitk.Transform:
    """The transform from points of the high scan to the points of the low scan that show the same tissue.

    Every stage runs on one thread with a fixed seed, so that the same pair gives the same bits again.

    Args:
        low: the low-field scan, float32 in [0, 1000], any grid.
        high: the high-field scan, float32 in [0, 1000], any grid.
        config: the method (affine, correlation, bspline, demons or greedy) and its settings.

    Returns:
        A transform in physical space (mm), as `resample` takes it.

    Raises:
        InvalidInputError: the two scans cannot be registered.
    """
    return register_stages(low, high, config)[1]


def register_stages(
    low: sitk.Image, high: sitk.Image, config: AffineConfig
) -> tuple[sitk.AffineTransform, sitk.Transform]:
    """As `register`: the affine stage alone, and the whole (the same where the method does not deform)."""
    try:
        with _one_thread():
            affine = _affine(low, high, config)
            return affine, _deform(low, high, affine, config)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InvalidInputError(
            f"the low scan cannot be registered to the high scan ({reason}); "
            "check that both show the same specimen and that their headers are right"
        ) from error


def _deform(low: sitk.Image, high: sitk.Image, affine: sitk.AffineTransform, config: AffineConfig) -> sitk.Transform:
    """The affine transform with the deformation of the method, if it has one."""
    match config:
        case CorrelationConfig():
            return sitk.CompositeTransform([affine, register_by_correlation(low, high, affine, config)])
        case BsplineConfig():
            return sitk.CompositeTransform([affine, _bspline(low, high, affine, config)])
        case DemonsConfig():
            return sitk.CompositeTransform([affine, _demons(low, high, affine, config)])
        case GreedyConfig():
            return register_by_greedy(low, high, affine, config)
        case _:
            return affine


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for everything: a method's own setting does not reach its metric, whose sums depend on the split."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def read_transform(path: Path) -> sitk.Transform:
    """A transform from a file (ITK's formats, ANTs' .mat included, or a displacement field as an image, in mm).

    As ITK and ANTs store what they call low to high: it maps points of the high scan to points of the low scan.

    Raises:
        InvalidInputError: the file holds no three-dimensional transform.
    """
    try:
        if path.name.endswith((".nii", ".nii.gz", ".nrrd", ".mha")):
            field = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
            transform: Any = sitk.DisplacementFieldTransform(field)
        else:
            transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InvalidInputError(f"{path} is not a transform that ITK can read; save it as .tfm, .h5 or .mat") from error
    if transform.GetDimension() != 3:
        raise InvalidInputError(f"{path} is a transform of {transform.GetDimension()} dimensions; three are needed")
    return transform


def resample(
    low: sitk.Image, high: sitk.Image, transform: sitk.Transform, *, interpolation: str = "linear"
) -> sitk.Image:
    """The low scan on the grid of the high scan: one interpolation in physical space, with everything composed.

    Args:
        low: the scan to resample, float32 in [0, 1000].
        high: the scan whose grid is wanted.
        transform: from points of the high scan to points of the low scan, in mm.
        interpolation: "linear" or "cubic" (B-spline of order three, clipped to [0, 1000]).

    Returns:
        A scan on the grid of `high`, float32; 0 where the low scan has no data.
    """
    interpolator = sitk.sitkBSpline3 if interpolation == "cubic" else sitk.sitkLinear
    moved = sitk.Resample(low, high, transform, interpolator, 0.0, sitk.sitkFloat32)
    return sitk.Clamp(moved, sitk.sitkFloat32, 0.0, 1000.0) if interpolation == "cubic" else moved


def coverage(low: sitk.Image, high: sitk.Image, transform: sitk.Transform) -> sitk.Image:
    """Where on the high scan's grid the low scan has data, uint8, 0 or 1."""
    ones = sitk.Image(low.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(low)
    return sitk.Resample(ones, high, transform, sitk.sitkNearestNeighbor, 0.0)


def _affine(low: sitk.Image, high: sitk.Image, config: AffineConfig) -> sitk.AffineTransform:
    """The affine transform, from coarse to full resolution."""
    shrinks = _shrinks(high.GetSize(), config.levels)
    method = _method(high, shrinks, config)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-4, numberOfIterations=config.affine_iterations, relaxationFactor=0.5
    )
    method.SetOptimizerScalesFromPhysicalShift()
    transform = _start(low, high, config)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(high, low)
    return transform


def _start(low: sitk.Image, high: sitk.Image, config: AffineConfig) -> sitk.AffineTransform:
    """The best of 28 starts: as the headers say, or the centres of mass on each other, turned by up to 20 degrees.

    Scans of one session lie right by their headers; scans of two scanners may lie centimetres apart, and turned. They
    are compared at the coarsest resolution, as the affine stage begins with it.
    """
    header = sitk.AffineTransform(3)
    header.SetCenter(high.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in high.GetSize()]))
    moments = sitk.CenteredTransformInitializer(
        high, low, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    starts = [header, *(_turned(sitk.Euler3DTransform(moments), angles) for angles in product(_TURNS, repeat=3))]
    coarse_low, coarse_high = (_coarser(image, _shrinks(image.GetSize(), config.levels)[0]) for image in (low, high))
    method = _method(coarse_high, [1], config)
    values = [_value(method, start, coarse_low, coarse_high) for start in starts]
    return starts[int(np.argmin(values))]


def _turned(centred: sitk.Euler3DTransform, degrees: tuple[float, ...]) -> sitk.AffineTransform:
    """An affine transform that shifts as `centred` does and turns about its centre."""
    centred.SetRotation(*np.deg2rad(degrees).tolist())
    start = sitk.AffineTransform(3)
    start.SetMatrix(centred.GetMatrix())
    start.SetTranslation(centred.GetTranslation())
    start.SetCenter(centred.GetCenter())
    return start


def _value(
    method: sitk.ImageRegistrationMethod, start: sitk.AffineTransform, low: sitk.Image, high: sitk.Image
) -> float:
    """The metric at a start: less is better, infinite where the scans do not overlap."""
    method.SetInitialTransform(start, inPlace=False)
    try:
        return float(method.MetricEvaluate(high, low))
    except RuntimeError:
        return np.inf


def _bspline(low: sitk.Image, high: sitk.Image, affine: sitk.Transform, config: BsplineConfig) -> sitk.BSplineTransform:
    """The deformation that comes before the affine transform, on a mesh that doubles once."""
    shrinks = _shrinks(high.GetSize(), 2)
    method = _method(high, shrinks, config)
    method.SetOptimizerAsLBFGS2(numberOfIterations=config.iterations, solutionAccuracy=1e-5)
    transform = sitk.BSplineTransformInitializer(high, mesh_size(high, config.mesh), order=3)
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransformAsBSpline(
        transform, inPlace=True, scaleFactors=[2**level for level in range(len(shrinks))]
    )
    method.Execute(high, low)
    return transform


def _demons(
    low: sitk.Image, high: sitk.Image, affine: sitk.Transform, config: DemonsConfig
) -> sitk.DisplacementFieldTransform:
    """The deformation by diffeomorphic demons, on the scan that the affine transform has put onto the high grid.

    This intermediate scan only serves to find the field: the result is interpolated once, from the original.
    """
    moved = sitk.HistogramMatching(resample(low, high, affine), high, 1024, 7, thresholdAtMeanIntensity=True)
    field = None
    for shrink in _shrinks(high.GetSize(), 3)[:2]:
        fixed, moving = (_coarser(image, shrink) for image in (high, moved))
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfIterations(config.iterations)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations(config.smoothing)
        if field is None:
            field = demons.Execute(fixed, moving)
        else:
            field = demons.Execute(fixed, moving, sitk.Resample(field, fixed))
    return sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))


def _method(high: sitk.Image, shrinks: list[int], config: AffineConfig) -> sitk.ImageRegistrationMethod:
    """Mattes mutual information on a few random voxels, over a pyramid."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel(
        [_percentage(high, shrink, config.samples) for shrink in shrinks], seed=config.seed + 1
    )
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(shrinks)
    method.SetSmoothingSigmasPerLevel([shrink / 2 if shrink > 1 else 0.0 for shrink in shrinks])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method


def _percentage(high: sitk.Image, shrink: int, samples: float) -> float:
    """The part of a level's voxels to sample: as asked, but never fewer than some thousands."""
    voxels = float(np.prod([size // shrink for size in high.GetSize()]))
    return min(1.0, max(samples, _FEWEST_POINTS / voxels))


def _shrinks(size: tuple[int, ...], levels: int) -> list[int]:
    """The pyramid from coarse to fine, ending at 1: powers of two that leave 16 samples on the shortest axis."""
    largest = max(1, min(size) // _FEWEST_SAMPLES)
    return [min(2**level, largest) for level in reversed(range(levels))]


def mesh_size(image: sitk.Image, longest: int) -> list[int]:
    """Cells of a B-spline mesh with about cubic cells: `longest` on the longest axis, at least 1 and 16 voxels a cell.

    Args:
        image: the scan that the mesh covers.
        longest: cells along its longest axis, in mm.
    """
    extent = np.array(image.GetSize()) * np.array(image.GetSpacing())
    cells = np.rint(longest * extent / extent.max()).astype(int)
    return [max(1, min(int(cell), size // _FEWEST_SAMPLES)) for cell, size in zip(cells, image.GetSize(), strict=True)]


def _coarser(image: sitk.Image, shrink: int) -> sitk.Image:
    """The scan smoothed and shrunk by one factor on every axis."""
    if shrink == 1:
        return image
    sigmas = [shrink / 2 * spacing for spacing in image.GetSpacing()]
    # Not Shrink: by even factors it takes voxels that lie half a voxel beside the grid that it returns.
    return sitk.BinShrink(sitk.SmoothingRecursiveGaussian(image, sigmas), [shrink] * 3)
