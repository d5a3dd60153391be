"""Whether the low scan is the mirror image of what it should be: a common slip of converters, which no registration
mends and every registration hides, since it bends the one side into the other."""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

AXES = ("depth", "height", "width")
_SAMPLES = 40
_REACH = 4


def measure_flips(low: sitk.Image, high: sitk.Image, mask: sitk.Image) -> dict[str, float]:
    """How well the unbent low scan fits as it is, and mirrored on each axis of the high scan's grid.

    Both centres of brightness are laid on each other, then every shift of up to four coarse voxels is tried.

    Args:
        low: the corrected low scan on its own grid.
        high: the corrected high scan.
        mask: the tissue on the high scan's grid, 0 or 1, not empty.

    Returns:
        "none", "depth", "height", "width" -> the best correlation in the tissue, in [-1, 1].
    """
    factors = [max(1, round(size / _SAMPLES)) for size in high.GetSize()]
    fixed = sitk.BinShrink(high, factors)
    inside = sitk.GetArrayFromImage(sitk.BinShrink(sitk.Cast(mask, sitk.sitkFloat32), factors)) > 0.5
    whole = _centred(sitk.GetArrayFromImage(fixed), inside)
    direction = np.reshape(high.GetDirection(), (3, 3))
    centres = _centre(low), _centre(fixed)
    results = {}
    for name, axis in (("none", None), *zip(AXES, (2, 1, 0), strict=True)):  # SimpleITK counts width first
        signs = np.ones(3)
        if axis is not None:
            signs[axis] = -1
        mirror = direction @ np.diag(signs) @ direction.T
        transform = sitk.AffineTransform(3)
        transform.SetMatrix(mirror.ravel().tolist())
        transform.SetTranslation((centres[0] - mirror @ centres[1]).tolist())
        moved = sitk.GetArrayFromImage(sitk.Resample(low, fixed, transform, sitk.sitkLinear, 0.0))
        results[name] = _best_correlation(_centred(moved, inside), whole)
    return results


def _centre(image: sitk.Image) -> NDArray[np.float64]:
    """The centre of brightness in mm."""
    weights = sitk.GetArrayFromImage(image).astype(np.float64)
    weights *= weights > weights.mean()
    total = max(float(weights.sum()), 1e-9)
    index = [
        float((weights.sum(axis=tuple({0, 1, 2} - {axis})) @ np.arange(n)) / total)
        for axis, n in enumerate(weights.shape)
    ]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(index[::-1]))


def _centred(array: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intensities less their mean in the tissue; 0 elsewhere."""
    if not inside.any():
        return np.zeros(array.shape)
    return np.where(inside, array - array[inside].mean(dtype=np.float64), 0.0)


def _best_correlation(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """The largest correlation over all small shifts; 0 where one of both is constant."""
    norm = float(np.sqrt((low**2).sum() * (high**2).sum()))
    if norm == 0:
        return 0.0
    size = [length + 2 * _REACH for length in low.shape]
    spectra = [np.fft.rfftn(array, size, axes=(0, 1, 2)) for array in (high, low)]
    values = np.fft.irfftn(spectra[0] * spectra[1].conj(), size, axes=(0, 1, 2))
    near = np.roll(values, [_REACH] * 3, axis=(0, 1, 2))[tuple([slice(0, 2 * _REACH + 1)] * 3)]
    return float(near.max() / norm)
