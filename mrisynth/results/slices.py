"""Slices as 16-bit arrays with their scale, so that windows and differences are computed, not guessed from pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.files import read_json, write_json, write_with

Floats = NDArray[np.float32]
_STEPS = 65535


@dataclass(frozen=True, slots=True)
class ShownSlices:
    """The slices of one validation subject on which every trial of a sweep is scored and shown.

    Args:
        subject: the subject's name.
        low, high, matched: (n, height, width), intensity on [0, 1]; `matched` is low with its histogram matched.
        mask: (n, height, width), True inside the tissue.
        indices: position of each slice along `axis` in the volume.
        axis: the axis across which the slices were cut.
        spacing: (height, width), size of a pixel in mm.
    """

    subject: str
    low: Floats
    high: Floats
    matched: Floats
    mask: NDArray[np.bool_]
    indices: tuple[int, ...]
    axis: int
    spacing: tuple[float, float]


def write_slices(directory: Path, name: str, values: NDArray[np.floating] | NDArray[np.bool_]) -> Path:
    """Write slices to `directory/<name>.npz`, whole, as 16-bit numbers with a scale and an offset.

    Args:
        directory: a trial's `images` folder (name: the subject), or a subject's folder in `cohort/slices`.
        name: the file's name without its ending.
        values: (n, height, width), on the scale [0, 1] (a little beyond is kept).

    Returns:
        The path of the file.

    Raises:
        ValueError: a value is NaN or infinite, or there are not three axes.
    """
    exact = np.asarray(values, dtype=np.float64)
    if exact.ndim != 3 or not np.isfinite(exact).all():
        raise ValueError(f"slices {name!r} must be finite and (n, height, width), not {exact.shape}")
    offset, scale = _scale(exact)
    steps = np.rint((exact - offset) / scale).astype(np.uint16)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.npz"
    write_with(path, lambda temporary: np.savez_compressed(temporary, steps=steps, scale=scale, offset=offset))
    return path


@dataclass(frozen=True, slots=True)
class StoredSlices:
    """Slices as they are stored; a quarter of the memory of their values in double, and exact to send.

    Args:
        steps: (n, height, width), uint16.
        scale, offset: a value on [0, 1] is `steps * scale + offset`, computed in double and rounded to float32.
    """

    steps: NDArray[np.uint16]
    scale: float
    offset: float

    def values(self, position: int | slice = slice(None)) -> Floats:
        """The values of one slice, (height, width), or of several, (n, height, width); float32."""
        return np.asarray(self.steps[position] * self.scale + self.offset, dtype=np.float32)


def read_slices(directory: Path, name: str) -> Floats:
    """The slices in `directory/<name>.npz`: (n, height, width), float32, to 1/65535 of their range.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: the file does not hold slices.
    """
    return read_stored(directory, name).values()


def read_stored(directory: Path, name: str) -> StoredSlices:
    """The slices in `directory/<name>.npz` as they are stored; raises what `read_slices` does."""
    path = directory / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = StoredSlices(file["steps"], float(file["scale"]), float(file["offset"]))
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except Exception as error:  # zip, header and dtype errors have no common base below Exception
        raise InvalidInputError(f"{path} does not hold slices: {error}") from None
    if stored.steps.ndim != 3 or stored.steps.dtype != np.uint16:
        raise InvalidInputError(f"{path} does not hold slices: it has {stored.steps.shape} of {stored.steps.dtype}")
    if not (np.isfinite(stored.scale) and np.isfinite(stored.offset)):
        raise InvalidInputError(f"{path} does not hold slices: its scale is not a number")
    return stored


def write_shown(directory: Path, shown: ShownSlices) -> None:
    """Write a subject's shown slices into `directory` (a sweep's `cohort/slices/<subject>`); the description last."""
    for name in ("low", "high", "matched", "mask"):
        write_slices(directory, name, getattr(shown, name))
    description = {"indices": list(shown.indices), "axis": shown.axis, "spacing": list(shown.spacing)}
    write_json(directory / "slices.json", {"schema_version": 1, **description})


def read_shown(directory: Path) -> ShownSlices:
    """A subject's shown slices.

    Raises:
        NotFoundError: a file is missing.
        InvalidInputError: the files do not belong together.
    """
    try:
        description = read_json(directory / "slices.json")
        indices = tuple(int(index) for index in description["indices"])
        axis, (height, width) = int(description["axis"]), map(float, description["spacing"])
    except (KeyError, TypeError, ValueError):
        raise InvalidInputError(f"{directory / 'slices.json'} does not describe slices") from None
    low, high, matched, mask = (read_slices(directory, name) for name in ("low", "high", "matched", "mask"))
    if not low.shape == high.shape == matched.shape == mask.shape or len(indices) != len(low):
        raise InvalidInputError(f"the slices in {directory} do not have the same shape")
    return ShownSlices(directory.name, low, high, matched, mask > 0.5, indices, axis, (height, width))


def _scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """Offset and step that spread the 16 bits over the range of `values`."""
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return low, (high - low) / _STEPS if high > low else 1.0
