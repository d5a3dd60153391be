"""What a scanner does to anatomy, simulated: smooth random fields, bias, noise, and half the resolution in k-space."""

from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import windows

Array = NDArray[np.float32]
Size = tuple[int, int, int]

LOW_EVERY = 2
"""A low-field voxel measures so many high-field voxels on each axis: low sample i lies at high index 2 i."""

_LARGEST_INT16 = 32767


def smooth_field(rng: np.random.Generator, size: Size, scale: float | tuple[float, float, float]) -> Array:
    """Smooth noise of mean 0 and deviation 1: white noise on coarse knots, joined by cubic B-splines.

    Args:
        rng: random generator.
        size: (depth, height, width) in voxels.
        scale: distance of the knots in voxels, for all axes or each; structures are about twice as wide.

    Returns:
        (depth, height, width), float32.
    """
    scales = scale if isinstance(scale, tuple) else (scale, scale, scale)
    bases = [_spline_basis(length, step, rng.random()) for length, step in zip(size, scales, strict=True)]
    field = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    for basis in bases:
        # Contracts the first axis and appends the fine one, so that three turns restore the order.
        field = np.tensordot(field, basis, axes=(0, 1))
    field -= field.mean()
    return cast(Array, field / max(float(field.std()), 1e-12))


def _spline_basis(length: int, step: float, phase: float) -> Array:
    """The (length, knots) matrix that joins knots `step` voxels apart by uniform cubic B-splines."""
    where = np.arange(length) / max(step, 1.0) + phase
    knots = np.arange(int(where[-1]) + 4) - 1
    t = np.abs(where[:, None] - knots)
    near, far = (4 - 6 * t**2 + 3 * t**3) / 6, (2 - t) ** 3 / 6
    return np.where(t < 1, near, np.where(t < 2, far, 0)).astype(np.float32)


def bias_field(rng: np.random.Generator, mask: NDArray[np.bool_], strength: float) -> Array:
    """A scan's shading: smooth, strong from one end of the specimen to the other, with dark spots.

    Args:
        rng: random generator.
        mask: (depth, height, width), where the tissue is, on the scan's grid.
        strength: deviation of the field's logarithm within the mask.

    Returns:
        (depth, height, width), float32, a factor whose geometric mean in the mask is 1.
    """
    size = cast(Size, mask.shape)
    axes = np.ogrid[tuple(slice(-1, 1, complex(0, length)) for length in size)]
    slope = rng.uniform(-1, 1, 3)
    longest = int(np.argmax(size[1:])) + 1
    slope[longest] = rng.choice([-1, 1]) * rng.uniform(1.2, 1.8)
    log_field = sum((a * axis for a, axis in zip(slope, axes, strict=True)), np.zeros(1))
    log_field = log_field + 0.5 * smooth_field(rng, size, min(size) / 2.0)
    for _ in range(3):
        centre, width = rng.uniform(-0.9, 0.9, 3), rng.uniform(0.25, 0.5)
        distance = sum((axis - at) ** 2 for at, axis in zip(centre, axes, strict=True))
        log_field = log_field - rng.uniform(0.5, 1.5) * np.exp(-distance / (2 * width**2))
    inside = log_field[mask] if mask.any() else log_field
    return np.asarray(np.exp(strength * (log_field - inside.mean()) / max(inside.std(), 1e-12)), np.float32)


def crop_kspace(array: Array, taper: float = 0.3) -> Array:
    """Half the resolution on each axis, as a scanner with half the k-space would see it.

    Sample i of the result shows the place of index 2 i of the input: the origin stays, the spacing doubles.

    Args:
        array: (depth, height, width) with even lengths, any intensity.
        taper: share of the kept k-space that the Tukey window smooths (0: none, rings; 1: Hann, blurs).

    Returns:
        (depth / 2, height / 2, width / 2), float32, same intensity.
    """
    if any(length % LOW_EVERY for length in array.shape):
        raise ValueError(f"k-space can only be halved on a grid of even lengths, not {array.shape}")
    size = tuple(length // LOW_EVERY for length in array.shape)
    spectrum = fft.rfftn(array.astype(np.float32, copy=False))
    for axis, length in enumerate(size):
        spectrum = _crop_axis(spectrum, axis, length, taper, half=axis == array.ndim - 1)
    return np.asarray(fft.irfftn(spectrum, s=size) / LOW_EVERY**array.ndim, np.float32)


def _crop_axis(
    spectrum: NDArray[np.complex64], axis: int, length: int, taper: float, *, half: bool
) -> NDArray[np.complex64]:
    """The low frequencies of one axis, windowed; `half` where only those from 0 up are stored."""
    frequencies = (fft.rfftfreq if half else fft.fftfreq)(length, 1 / length)
    window = windows.tukey(2 * length + 1, taper)[np.round(length + 2 * frequencies).astype(int)]
    shape = [-1 if other == axis else 1 for other in range(spectrum.ndim)]
    kept = np.take(spectrum, np.round(frequencies).astype(int), axis=axis, mode="wrap")
    return cast(NDArray[np.complex64], kept * window.astype(np.float32).reshape(shape))


def add_rician_noise(rng: np.random.Generator, array: Array, sigma: float) -> Array:
    """The magnitude of a signal with Gaussian noise in both channels (Gudbjartsson and Patz 1995).

    Args:
        rng: random generator.
        array: the signal, any shape.
        sigma: deviation of the noise in each channel, in the signal's unit.
    """
    real = array + sigma * rng.standard_normal(array.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(array.shape, dtype=np.float32)
    return cast(Array, np.hypot(real, imaginary).astype(np.float32))


def digitize(rng: np.random.Generator, array: Array) -> NDArray[np.int16]:
    """Whole numbers with an arbitrary gain, as scanners store magnitude images.

    Args:
        rng: random generator, draws the gain.
        array: not negative; 1 becomes 2,000 to 14,000.
    """
    gain = rng.uniform(2_000, 14_000)
    return np.clip(np.round(gain * array), 0, _LARGEST_INT16).astype(np.int16)
