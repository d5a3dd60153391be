"""Bias correction: the smooth shading that coil and field put over a scan, estimated by N4 and divided out."""

import SimpleITK as sitk
from pydantic import Field

from mrisynth.config import Config

VERSION = 1
"""Raised by one whenever the corrected scans change for the same input and the same settings."""

_FEWEST_SAMPLES = 24
"""N4 fits a spline of several control points to the shrunken scan: with fewer samples it fits the anatomy."""

_HISTOGRAM_BINS = 200


class BiasConfig(Config):
    """N4 (Tustison et al., IEEE TMI 2010) of both scans."""

    enabled: bool = Field(True, description="correct both scans; switch off for scans that were corrected before")
    shrink: int = Field(4, ge=1, le=16, description="estimate on a grid this many times coarser, down to 24 samples")
    iterations: tuple[int, ...] = Field(
        (50, 50, 50), min_length=1, max_length=8, description="most iterations at each level of the spline"
    )
    tolerance: float = Field(1e-3, gt=0, le=0.1, description="stop a level when the field changes less than this")


def correct(image: sitk.Image, config: BiasConfig) -> sitk.Image:
    """The scan without its bias field: divided by the exponential of the field at the scan's own resolution.

    Args:
        image: a scan of float32; voxels that are not positive take no part in the estimate.
        config: the settings of N4; where it is not enabled, the scan is returned as it is.

    Returns:
        A scan on the same grid, float32, in the same arbitrary unit.
    """
    if not config.enabled:
        return image
    # SimpleITK divides into float64.
    return sitk.Cast(image / sitk.Exp(log_field(image, config)), sitk.sitkFloat32)


def log_field(image: sitk.Image, config: BiasConfig) -> sitk.Image:
    """The logarithm of the scan's bias field, on the scan's grid, float32.

    One thread only: N4's sums depend on how they are split, and the same scan shall give the same bits everywhere.
    """
    shrunk = sitk.Shrink(image, shrink_factors(image.GetSize(), config.shrink))
    # Above the shading's dark end: Otsu on the raw scan, whose background is far darker than any tissue.
    mask = sitk.OtsuThreshold(shrunk, 0, 1, _HISTOGRAM_BINS)
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetNumberOfThreads(1)
    corrector.SetMaximumNumberOfIterations(list(config.iterations))
    corrector.SetConvergenceThreshold(config.tolerance)
    corrector.Execute(shrunk, mask)
    return sitk.Cast(corrector.GetLogBiasFieldAsImage(image), sitk.sitkFloat32)


def shrink_factors(size: tuple[int, ...], largest: int) -> list[int]:
    """How many voxels become one on each axis: at most `largest`, and few enough to leave 24 samples.

    Args:
        size: voxels on each axis.
        largest: the factor for an axis that is long enough.
    """
    return [max(1, min(largest, voxels // _FEWEST_SAMPLES)) for voxels in size]
