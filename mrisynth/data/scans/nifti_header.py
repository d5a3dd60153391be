"""The header of a NIfTI-1 file, parsed as it stands (nifti1.h of the NIfTI DFWG)."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_NIFTI1: dict[str, tuple[str, int]] = {
    "dim": ("8i2", 40),
    "datatype": ("i2", 70),
    "bitpix": ("i2", 72),
    "pixdim": ("8f4", 76),
    "vox_offset": ("f4", 108),
    "slope": ("f4", 112),
    "inter": ("f4", 116),
    "units": ("u1", 123),
    "qform_code": ("i2", 252),
    "sform_code": ("i2", 254),
    "quaternion": ("3f4", 256),
    "offset": ("3f4", 268),
    "srow": ("(3,4)f4", 280),
    "magic": ("S4", 344),
}
_NIFTI1_BYTES, NIFTI2_BYTES = 348, 540
_INTEGERS = {2: "u1", 4: "i2", 8: "i4", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_FLOATS = {16: "f4", 64: "f8"}
_UNITS = {1: ("metres", 1000.0), 2: ("millimetres", 1.0), 3: ("micrometres", 0.001)}


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """What our checks need of a NIfTI header, as it stands in the file.

    Args:
        shape: voxels on each axis, in the file's order (x first), without trailing axes of 1 beyond the third.
        datatype: NIfTI's code.
        order: `<` or `>`.
        pixdim: the raw voxel size of the first three axes, in the header's unit.
        data_offset: where the voxels start, in bytes.
        bits: of one voxel, as the header says.
        scale: slope and intercept as they stand.
        unit: what the voxel size is measured in; empty where the header does not say.
        codes: of the qform and of the sform, as they stand.
        qform: (4, 4), index to RAS mm; None where it is not set.
        sform: likewise.
        magic: whether the header says that it is NIfTI (Analyze 7.5 does not).
        single: whether it says that the voxels follow in the same file.
    """

    shape: tuple[int, ...]
    datatype: int
    order: str
    pixdim: tuple[float, float, float]
    data_offset: int
    bits: int
    scale: tuple[float, float]
    unit: str
    codes: tuple[int, int]
    qform: NDArray[np.float64] | None
    sform: NDArray[np.float64] | None
    magic: bool
    single: bool

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The voxels' type, or None where it is no plain number."""
        code = (_INTEGERS | _FLOATS).get(self.datatype)
        return np.dtype(self.order + code) if code else None

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """Index to RAS mm by nibabel's reading order: the sform where it is set, else the qform, else None."""
        return self.qform if self.sform is None else self.sform


def parse_header(raw: bytes) -> NiftiHeader | None:
    """The header in the first bytes of a NIfTI-1 file, or None where they are none."""
    order = byte_order(raw, _NIFTI1_BYTES)
    if order is None:
        return None
    names = list(_NIFTI1)
    formats, offsets = zip(*_NIFTI1.values(), strict=True)
    layout = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": _NIFTI1_BYTES})
    return _header(np.frombuffer(raw, layout.newbyteorder(order), 1)[0], order)


def byte_order(raw: bytes, size: int) -> Literal["<", ">"] | None:
    """How numbers are stored in a header that begins with its own size, or None where it does not."""
    if len(raw) < size:
        return None
    return next((order for order in ("<", ">") if np.frombuffer(raw, order + "i4", 1)[0] == size), None)


def _header(record: Any, order: str) -> NiftiHeader | None:
    """The parsed header, or None where its dimensions make no sense."""
    count = int(record["dim"][0])
    shape = tuple(int(length) for length in record["dim"][1 : count + 1]) if 1 <= count <= 7 else ()
    if not shape or min(shape) < 1:
        return None
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    magic = bytes(record["magic"])
    single = magic.startswith(b"n+")
    offset = record["vox_offset"] if np.isfinite(record["vox_offset"]) else 0
    unit, scale = _UNITS.get(int(record["units"]) & 7, ("", 1.0))
    x, y, z = (float(value) for value in record["pixdim"][1:4])
    return NiftiHeader(
        shape=shape,
        datatype=int(record["datatype"]),
        order=order,
        pixdim=(x, y, z),
        data_offset=int(offset) if single or offset > 0 else 0,
        bits=int(record["bitpix"]),
        scale=(float(record["slope"]), float(record["inter"])),
        unit=unit,
        codes=(int(record["qform_code"]), int(record["sform_code"])),
        qform=_qform(record, scale) if record["qform_code"] > 0 else None,
        sform=_sform(record, scale) if record["sform_code"] > 0 else None,
        magic=single or magic.startswith(b"ni"),
        single=single,
    )


def _sform(record: Any, scale: float) -> NDArray[np.float64]:
    """Method 3 of nifti1.h, in mm."""
    affine = np.eye(4)
    affine[:3] = np.asarray(record["srow"], float) * scale
    return affine


def _qform(record: Any, scale: float) -> NDArray[np.float64]:
    """Method 2 of nifti1.h, in mm; not finite where its quaternion is longer than 1."""
    affine = np.eye(4)
    affine[:3, :3] = _rotation(np.asarray(record["quaternion"], float)) * np.asarray(record["pixdim"][1:4], float)
    affine[:3, 2] *= -1 if record["pixdim"][0] < 0 else 1
    affine[:3, 3] = record["offset"]
    affine[:3] *= scale
    return affine


def _rotation(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation matrix of a NIfTI quaternion (b, c, d); NaN where that is longer than 1 (beyond rounding)."""
    length = float(np.linalg.norm(quaternion))
    if not length <= 1 + 1e-5:
        return np.full((3, 3), np.nan)
    b, c, d = quaternion / max(length, 1.0)
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
