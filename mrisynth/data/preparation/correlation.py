"""Registration by local cross-correlation: a field of displacements, coarse to fine, by gradient descent."""

from dataclasses import dataclass

import SimpleITK as sitk

from mrisynth.data.preparation.intensity import tissue_mask
from mrisynth.data.preparation.methods import CorrelationConfig

_MARGIN = 4
"""Voxels by which the displacement field reaches beyond the high scan on every side."""

_BORDER = 3
"""Voxels of a level beyond the tissue where the scans are still compared: the tissue's edge guides most."""

_FEWEST_SAMPLES = 16


@dataclass(frozen=True, slots=True)
class _Level:
    """One resolution.

    Attributes:
        shrink: high-field voxels to a voxel of the level.
        iterations: steps.
        largest_step: how far a step may move a point, in high-field voxels.
        update_variance, total_variance: smoothing of a step's and of the whole field, in voxels of the level squared.
    """

    shrink: int
    iterations: int
    largest_step: float
    update_variance: float
    total_variance: float


def register_by_correlation(
    low: sitk.Image, high: sitk.Image, affine: sitk.Transform, config: CorrelationConfig
) -> sitk.DisplacementFieldTransform:
    """The deformation that comes before an affine transform.

    First at a quarter of the resolution, strongly smoothed, which brings large deformations within reach of the window;
    then at half, as the low scan has it: at full resolution the windows hold more noise than tissue (docs/log.md).

    Args:
        low: the low-field scan, float32 in [0, 1000].
        high: the high-field scan, float32 in [0, 1000].
        affine: from points of the high scan to points of the low scan.
        config: the settings.
    """
    levels = [
        _Level(4, config.coarse_iterations, 2.0, 16.0, 2.0),
        _Level(2, config.iterations, 1.0, config.update_variance, config.total_variance),
    ]
    largest = max(1, min(high.GetSize()) // _FEWEST_SAMPLES)
    tissue, found = tissue_mask(high), None
    for level in levels:
        if level.iterations and (level.shrink <= largest or level is levels[-1]):
            shrink = min(level.shrink, largest)
            found = _descend(
                low, high, affine, tissue=tissue, level=level, radius=config.radius, start=found, shrink=shrink
            )
    assert found is not None, "the last level always runs"
    return found


def _descend(
    low: sitk.Image,
    high: sitk.Image,
    affine: sitk.Transform,
    *,
    tissue: sitk.Image,
    level: _Level,
    radius: int,
    start: sitk.DisplacementFieldTransform | None,
    shrink: int,
) -> sitk.DisplacementFieldTransform:
    """The deformation after one level; its field lies on the level's grid and its margin."""
    voxel = min(high.GetSpacing())
    moving = _smooth(low, 0.35 * level.shrink * voxel)
    # Not Shrink: by even factors it takes voxels that lie half a voxel beside the grid that it returns.
    fixed = sitk.BinShrink(_smooth(high, 0.35 * level.shrink * voxel), [shrink] * 3)
    # ITK's smoothing holds a field's border at zero: without a margin, tissue that reaches the edge is folded there.
    fixed = sitk.ZeroFluxNeumannPad(fixed, [_MARGIN] * 3, [_MARGIN] * 3)
    if start is None:
        field = sitk.Image(fixed.GetSize(), sitk.sitkVectorFloat64)
        field.CopyInformation(fixed)
    else:
        identity = sitk.Transform(3, sitk.sitkIdentity)
        # `start` owns the field's buffer, and outlives this call.
        field = sitk.Resample(
            start.GetDisplacementField(), fixed, identity, sitk.sitkLinear, 0.0, sitk.sitkVectorFloat64
        )
    mask = sitk.Resample(tissue, fixed, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor)
    transform = sitk.DisplacementFieldTransform(field)
    transform.SetSmoothingGaussianOnUpdate(level.update_variance, level.total_variance)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsANTSNeighborhoodCorrelation(radius)
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetMetricFixedMask(sitk.BinaryDilate(mask, [_BORDER] * 3))  # beyond it is noise, and a quarter of the time
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescent(
        learningRate=1.0,
        numberOfIterations=level.iterations,
        convergenceMinimumValue=1e-12,  # every step: the usual test ends a level while it still comes nearer
        convergenceWindowSize=10,
        estimateLearningRate=method.EachIteration,
        maximumStepSizeInPhysicalUnits=level.largest_step * voxel,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return transform


def _smooth(image: sitk.Image, sigma: float) -> sitk.Image:
    """The scan smoothed by a Gaussian of `sigma` mm."""
    return sitk.SmoothingRecursiveGaussian(image, [sigma] * 3)
