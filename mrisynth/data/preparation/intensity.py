"""Intensities on one scale: clipped to percentiles and put on [0, 1000]; and where the tissue is."""

from typing import Annotated, Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mrisynth.config import Config
from mrisynth.data.store.records import FULL_SCALE
from mrisynth.errors import InvalidInputError

VERSION = 1
"""Raised by one whenever the scaled scans or the mask change for the same input and the same settings."""

BINS = 1000

_SMALLEST_PIECE = 0.05
"""A piece of tissue smaller than this part of the largest one is taken for noise or a bubble."""

Percentile = Annotated[float, Field(ge=0, le=100)]


class IntensityConfig(Config):
    """The percentiles of the whole scan that become 0 and 1000 (0.1 and 99.9 in the paper), with the rest clipped."""

    lower: Percentile = Field(0.1, description="percentile of the scan that becomes 0")
    upper: Percentile = Field(99.9, description="percentile of the scan that becomes 1000")

    @model_validator(mode="after")
    def _check_order(self) -> "IntensityConfig":
        if self.lower >= self.upper:
            raise ValueError(f"lower ({self.lower}) has to be below upper ({self.upper})")
        return self


def scale(image: sitk.Image, config: IntensityConfig) -> sitk.Image:
    """The scan clipped to two of its own percentiles and scaled to [0, 1000], float32, on the same grid.

    Raises:
        InvalidInputError: the two percentiles are the same intensity, so there is nothing to scale.
    """
    array = sitk.GetArrayFromImage(image).astype(np.float32, copy=False)
    low, high = (float(value) for value in np.percentile(array, (config.lower, config.upper)))
    if not low < high:
        raise InvalidInputError(
            f"the percentiles {config.lower} and {config.upper} of the scan are the same intensity ({low:g}): "
            "it is empty or nearly so; check the file"
        )
    array -= np.float32(low)
    array *= np.float32(FULL_SCALE / (high - low))
    scaled = sitk.GetImageFromArray(np.clip(array, 0, np.float32(FULL_SCALE), out=array))
    scaled.CopyInformation(image)
    return scaled


def tissue_mask(image: sitk.Image) -> sitk.Image:
    """Where the tissue is: Otsu's threshold on the slightly smoothed scan, small pieces dropped, holes filled.

    Args:
        image: a scan with its bias removed, on a background darker than any tissue.

    Returns:
        A mask on the same grid, uint8, 1 in the tissue. Cavities inside the specimen count as tissue.
    """
    smooth = sitk.DiscreteGaussian(image, variance=1.0, maximumKernelWidth=9, maximumError=0.01, useImageSpacing=False)
    bright = sitk.OtsuThreshold(smooth, 0, 1, 200)
    # Sorted by size: piece 1 is the largest.
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(bright))
    sizes = np.bincount(sitk.GetArrayViewFromImage(pieces).ravel())[1:]
    kept = int(np.count_nonzero(sizes >= _SMALLEST_PIECE * sizes.max(initial=1)))
    return sitk.BinaryFillhole(sitk.BinaryThreshold(pieces, 1, max(kept, 1), 1, 0))


def statistics(array: NDArray[np.float32]) -> dict[str, float | int]:
    """Mean, standard deviation (of the population) and number of a volume's voxels, intensity in [0, 1000]."""
    return {
        "mean": float(np.mean(array, dtype=np.float64)),
        "std": float(np.std(array, dtype=np.float64)),
        "count": int(array.size),
    }


def histogram(array: NDArray[Any]) -> list[int]:
    """How many voxels of a volume fall into each of 1000 equal bins over [0, 1000]; the last one includes 1000."""
    counts, _ = np.histogram(array, bins=BINS, range=(0.0, FULL_SCALE))
    return [int(count) for count in counts]
