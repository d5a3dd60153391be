"""Registration: the transform that brings the low scan onto the high scan, and the one resampling that applies it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import SimpleITK as sitk
from pydantic import Field

from mrisynth.config import Config
from mrisynth.errors import InvalidInputError

VERSION = 2
"""Raised by one whenever a registered scan changes for the same input and the same settings."""

_FEWEST_SAMPLES = 16
_FEWEST_POINTS = 5000
"""Mutual information needs some thousands of points for its joint histogram, however small the scan."""

_HISTOGRAM_BINS = 32

_MARGIN = 4
"""Voxels by which the displacement field reaches beyond the high scan on every side."""


class _Settings(Config):
    """What every method has in common."""

    interpolation: Literal["linear", "cubic"] = Field("linear", description="how the low scan is read between voxels")


class AffineConfig(_Settings):
    """Rotation, shift, scaling and shear by Mattes mutual information."""

    method: Literal["affine"] = Field("affine", description="an affine transform alone")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the voxels that the metric is computed on")
    samples: float = Field(0.02, gt=0, le=1, description="part of the voxels that the metric is computed on")
    levels: int = Field(3, ge=1, le=6, description="resolutions of the affine stage, each twice the one before")
    affine_iterations: int = Field(200, ge=1, description="most steps of the affine stage at each resolution")


class CorrelationConfig(AffineConfig):
    """The affine transform, then a displacement field by local cross-correlation (the metric of SyN, Avants 2008).

    Smoothed in every step, it stays a fold-free field; of all that was measured against phantoms' truth it is the most
    exact (docs/log.md).
    """

    method: Literal["correlation"] = Field("correlation", description="affine, then local cross-correlation")  # type: ignore[assignment]
    radius: int = Field(
        2, ge=1, le=8, description="radius of the cross-correlation's window, at half the resolution, in voxels"
    )
    iterations: int = Field(30, ge=1, description="most steps, at half the resolution")
    update_variance: float = Field(9.0, gt=0, le=100, description="smoothing of each step's field, in voxels squared")
    total_variance: float = Field(1.0, ge=0, le=100, description="smoothing of the whole field, in voxels squared")


class BsplineConfig(AffineConfig):
    """The affine transform, then a B-spline deformation by Mattes mutual information, up to full resolution.

    Stopped after a few steps at each mesh: more of them raise the mutual information and lead away from the truth.
    """

    method: Literal["bspline"] = Field("bspline", description="affine, then B-spline")  # type: ignore[assignment]
    mesh: int = Field(
        4, ge=1, le=64, description="cells of the first mesh along the longest axis; the second has twice"
    )
    iterations: int = Field(3, ge=1, description="most steps of LBFGS2 at each mesh")


class DemonsConfig(AffineConfig):
    """The affine transform, then histogram-matched diffeomorphic demons: faster, less exact."""

    method: Literal["demons"] = Field("demons", description="affine, then demons; `fast` for short")  # type: ignore[assignment]
    iterations: int = Field(60, ge=1, description="most steps at each of the two resolutions (a quarter, a half)")
    smoothing: float = Field(3.0, gt=0, le=20, description="deviation of the field's smoothing, in voxels of the level")


class GivenConfig(_Settings):
    """The transform of every subject is given in the pairs file."""

    method: Literal["given"] = Field("given", description="a transform file for every subject")


RegistrationConfig = Annotated[
    AffineConfig | CorrelationConfig | BsplineConfig | DemonsConfig | GivenConfig, Field(discriminator="method")
]


def register(low: sitk.Image, high: sitk.Image, config: AffineConfig) -> sitk.Transform:
    """The transform from points of the high scan to the points of the low scan that show the same tissue.

    Every stage runs on one thread with a fixed seed, so that the same pair gives the same bits again.

    Args:
        low: the low-field scan, float32 in [0, 1000], any grid.
        high: the high-field scan, float32 in [0, 1000], any grid.
        config: the method (affine, correlation, bspline or demons) and its settings.

    Returns:
        A transform in physical space (mm), as `resample` takes it.

    Raises:
        InvalidInputError: the two scans cannot be registered.
    """
    try:
        with _one_thread():
            return _register(low, high, config)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InvalidInputError(
            f"the low scan cannot be registered to the high scan ({reason}); "
            "check that both show the same specimen and that their headers are right"
        ) from error


def _register(low: sitk.Image, high: sitk.Image, config: AffineConfig) -> sitk.Transform:
    affine = _affine(low, high, config)
    match config:
        case CorrelationConfig():
            return sitk.CompositeTransform([affine, _correlation(low, high, affine, config)])
        case BsplineConfig():
            return sitk.CompositeTransform([affine, _bspline(low, high, affine, config)])
        case DemonsConfig():
            return sitk.CompositeTransform([affine, _demons(low, high, affine, config)])
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
    transform = _start(low, high, method)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(high, low)
    return transform


def _start(low: sitk.Image, high: sitk.Image, method: sitk.ImageRegistrationMethod) -> sitk.AffineTransform:
    """The better of two starts: as the headers say, or the two scans' centres of mass on each other.

    Scans of one session lie right by their headers; scans of two scanners may lie centimetres apart.
    """
    header = sitk.AffineTransform(3)
    header.SetCenter(high.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in high.GetSize()]))
    moments = sitk.AffineTransform(
        sitk.CenteredTransformInitializer(
            high, low, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
    )
    values = []
    for start in (header, moments):
        method.SetInitialTransform(start, inPlace=False)
        try:
            values.append(method.MetricEvaluate(high, low))
        except RuntimeError:  # no overlap at this start
            values.append(np.inf)
    return header if values[0] <= values[1] else moments


def _correlation(
    low: sitk.Image, high: sitk.Image, affine: sitk.Transform, config: CorrelationConfig
) -> sitk.DisplacementFieldTransform:
    """The deformation that comes before the affine transform, by gradient descent on a field of displacements."""
    # ITK's smoothing holds a field's border at zero: without a margin, tissue that reaches the edge is folded there.
    high = sitk.ZeroFluxNeumannPad(high, [_MARGIN] * 3, [_MARGIN] * 3)
    field = sitk.Image(high.GetSize(), sitk.sitkVectorFloat64)
    field.CopyInformation(high)
    transform = sitk.DisplacementFieldTransform(field)
    transform.SetSmoothingGaussianOnUpdate(config.update_variance, config.total_variance)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsANTSNeighborhoodCorrelation(config.radius)
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetInterpolator(sitk.sitkLinear)
    # Half the resolution, as the low scan has it: at full resolution the windows hold more noise than tissue.
    method.SetShrinkFactorsPerLevel(_shrinks(high.GetSize(), 2)[:1])
    method.SetSmoothingSigmasPerLevel([min(high.GetSpacing())])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsGradientDescent(
        learningRate=1.0,
        numberOfIterations=config.iterations,
        convergenceMinimumValue=1e-6,
        convergenceWindowSize=10,
        estimateLearningRate=method.EachIteration,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(high, low)
    return transform


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
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, sigmas), [shrink] * 3)
