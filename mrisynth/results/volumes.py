"""Whole volumes as compressed NIfTI files, for viewers: 16-bit numbers with their scale, on the grid of the scans.

trials/<number>/volumes/<subject>.nii.gz    what a trial generated; volumes.json says after which epoch
cohort/volumes/<subject>/low.nii.gz         the scans themselves, once a sweep; and high.nii.gz

Only what is written here is read here: one image, little-endian, no extensions.
"""

import gzip
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.files import write_bytes
from mrisynth.results.slices import Floats

_STEPS = 65535
_UINT16, _BEGIN, _MILLIMETRES = 512, 352, 2
_HEADER = struct.Struct("<i35xB8h3f4h8f3fh2B4f2i80s24s2h6f12f16s4s")
_SPACING, _SCALE, _ROWS = 18, 26, 47  # which of the header's fields: the offset follows the scale
_LEVEL = 1  # of gzip: noise hardly shrinks further, and takes six times as long


@dataclass(frozen=True, slots=True)
class Grid:
    """Where a volume's voxels lie.

    Args:
        spacing: (depth, height, width), distance of two voxels in mm.
        origin: (x, y, z) of the first voxel in mm, x to the left and y to the back, as DICOM and ITK have it.
        direction: of the axes x, y and z, row by row, likewise.
    """

    spacing: tuple[float, float, float]
    origin: Sequence[float] = (0, 0, 0)
    direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1)

    def affine(self) -> NDArray[np.float64]:
        """From (width, height, depth) in voxels to NIfTI's millimetres (right, front, up): (3, 4)."""
        turn = np.reshape(self.direction, (3, 3)) * np.array(self.spacing[::-1])
        affine: NDArray[np.float64] = np.column_stack([turn, self.origin]) * np.array([[-1], [-1], [1]])
        return affine


def encode(values: Floats, grid: Grid) -> bytes:
    """A volume as a compressed NIfTI file; the same volume gives the same bytes.

    Args:
        values: (depth, height, width), on [0, 1] or, for differences, around 0; kept to 1/65535 of their range.
        grid: where its voxels lie.

    Raises:
        ValueError: a value is NaN or infinite, or there are not three axes.
    """
    if values.ndim != 3 or not np.isfinite(values).all():
        raise ValueError(f"a volume must be finite and (depth, height, width), not {values.shape}")
    least, most = float(values.min()), float(values.max())
    scale = (most - least) / _STEPS if most > least else 1.0
    steps = np.rint((values - np.float32(least)) / np.float32(scale)).clip(0, _STEPS).astype("<u2")
    return gzip.compress(_header(values.shape, grid, scale, least) + steps.tobytes(), _LEVEL, mtime=0)


def write_volume(path: Path, values: Floats, grid: Grid) -> None:
    """Write a volume, whole; see `encode`."""
    write_bytes(path, encode(values, grid))


def read_volume(path: Path) -> Floats:
    """A volume that `write_volume` wrote: (depth, height, width), float32.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is damaged, or not ours.
    """
    data, fields = _read(path)
    width, height, depth = fields[3:6]
    scale, offset = fields[_SCALE : _SCALE + 2]
    steps = np.frombuffer(data, "<u2", offset=_BEGIN).reshape(depth, height, width)
    return steps * np.float32(scale) + np.float32(offset)


def read_grid(path: Path) -> Grid:
    """Where the voxels of a volume that `write_volume` wrote lie; raises what `read_volume` does."""
    fields = _read(path)[1]
    width, height, depth = fields[_SPACING : _SPACING + 3]
    affine = np.reshape(fields[_ROWS : _ROWS + 12], (3, 4)) * np.array([[-1], [-1], [1]])
    turn = affine[:, :3] / np.array([width, height, depth])
    return Grid((depth, height, width), affine[:, 3].tolist(), turn.ravel().tolist())


def _read(path: Path) -> tuple[bytes, tuple[Any, ...]]:
    """The whole file and the fields of its header, which were checked."""
    try:
        data = gzip.decompress(path.read_bytes())
        fields = _HEADER.unpack_from(data)
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise InvalidInputError(f"{path} is not a whole volume: {error}") from None
    (axes, width, height, depth), kind = fields[2:6], fields[14]
    if (axes, kind) != (3, _UINT16) or len(data) != _BEGIN + 2 * width * height * depth:
        raise InvalidInputError(f"{path} is not a whole volume of ours")
    if not np.isfinite(fields[_SCALE : _SCALE + 2]).all():
        raise InvalidInputError(f"{path} is not a volume: its scale is not a number")
    return data, fields


def _header(shape: tuple[int, ...], grid: Grid, scale: float, offset: float) -> bytes:
    """NIfTI-1: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h."""
    depth, height, width = shape
    fields = (
        348, 0, 3, width, height, depth, 1, 1, 1, 1, 0, 0, 0, 0, _UINT16, 16, 0,
        1, *grid.spacing[::-1], 0, 0, 0, 0, _BEGIN, scale, offset, 0, 0, _MILLIMETRES, 0, 0, 0, 0, 0, 0,
        b"mrisynth", b"", 0, 1, 0, 0, 0, 0, 0, 0, *grid.affine().ravel(), b"", b"n+1\0",
    )  # fmt: skip
    return _HEADER.pack(*fields) + bytes(4)
