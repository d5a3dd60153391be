"""The raw bytes of a NIfTI file against what its header promises (nifti1.h of the NIfTI DFWG)."""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrisynth.data.inspection import Problem, check_shape, check_spacing, error, not_finite, warning

ENDINGS = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz")

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
_NIFTI1_BYTES, _NIFTI2_BYTES = 348, 540
_INTEGERS = {2: "u1", 4: "i2", 8: "i4", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_FLOATS = {16: "f4", 64: "f8"}
_COMPLEX = (32, 1792, 2048)
_COLOURS = (128, 2304)
_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
_COPY_AGAIN = "copy it again from where it came; if it is damaged there too, export the scan again"


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """What our checks need of a NIfTI header, as it stands in the file.

    Args:
        shape: voxels on each axis, in the file's order (x first), without trailing axes of 1 beyond the third.
        datatype: NIfTI's code.
        order: `<` or `>`.
        pixdim: the raw voxel size of the first three axes, in the header's unit.
        data_offset: where the voxels start, in bytes.
        scale: slope and intercept as they stand.
        affine: (4, 4), index to RAS mm by the reading order of nibabel (sform, then qform); None where neither is set.
        magic: whether the header says that it is NIfTI (Analyze 7.5 does not).
    """

    shape: tuple[int, ...]
    datatype: int
    order: str
    pixdim: tuple[float, float, float]
    data_offset: int
    scale: tuple[float, float]
    affine: NDArray[np.float64] | None
    magic: bool

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The voxels' type, or None where it is no plain number."""
        code = (_INTEGERS | _FLOATS).get(self.datatype)
        return np.dtype(self.order + code) if code else None


def is_nifti(path: Path) -> bool:
    """Whether a path is named like a NIfTI (or Analyze) file."""
    return path.name.lower().endswith(ENDINGS)


def check_nifti(path: Path, volume_index: int | None = None) -> tuple[list[Problem], NDArray[np.float64] | None]:
    """Read a NIfTI file to its last byte and compare it with its header.

    Args:
        path: a single file, or either half of a .hdr/.img pair.
        volume_index: which volume of a 4-D file is wanted, from 0; only its voxels are judged.

    Returns:
        the problems, and the affine (index to RAS mm) that nibabel would use, or None.
    """
    header_path, data_path = _parts(path)
    if not header_path.is_file() or not data_path.is_file():
        missing = data_path if header_path.is_file() else header_path
        return [error("missing", f"has no partner '{missing.name}'", "keep both halves in one folder")], None
    data, problems = _read_bytes(data_path)
    raw = data if header_path == data_path else header_path.read_bytes()
    if data is None or raw is None:
        return problems, None
    header = parse_header(raw)
    if header is None and _byte_order(raw, _NIFTI2_BYTES):
        return [*problems, error("nifti2", "is NIfTI-2, which SimpleITK does not read", "save it as NIfTI-1")], None
    if header is None:
        return [*problems, error("header", "has no valid NIfTI header", _COPY_AGAIN)], None
    problems += _check_header(header, volume_index) or _check_voxels(header, data, volume_index)
    return problems, header.affine


def parse_header(raw: bytes) -> NiftiHeader | None:
    """The header in the first bytes of a NIfTI-1 file, or None where they are none."""
    order = _byte_order(raw, _NIFTI1_BYTES)
    if order is None:
        return None
    names = list(_NIFTI1)
    formats, offsets = zip(*_NIFTI1.values(), strict=True)
    layout = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": _NIFTI1_BYTES})
    return _header(np.frombuffer(raw, layout.newbyteorder(order), 1)[0], order)


def _byte_order(raw: bytes, size: int) -> Literal["<", ">"] | None:
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
    x, y, z = (float(value) for value in record["pixdim"][1:4])
    return NiftiHeader(
        shape=shape,
        datatype=int(record["datatype"]),
        order=order,
        pixdim=(x, y, z),
        data_offset=int(offset) if single or offset > 0 else 0,
        scale=(float(record["slope"]), float(record["inter"])),
        affine=_affine(record),
        magic=single or magic.startswith(b"ni"),
    )


def _affine(record: Any) -> NDArray[np.float64] | None:
    """Index to RAS mm: the sform where it is set, else the qform, else None (method 3, then 2, of nifti1.h)."""
    scale = _MM_PER_UNIT.get(int(record["units"]) & 7, 1.0)
    affine = np.eye(4)
    if record["sform_code"] > 0:
        affine[:3] = record["srow"]
    elif record["qform_code"] > 0:
        affine[:3, :3] = _rotation(np.asarray(record["quaternion"], float)) * np.asarray(record["pixdim"][1:4], float)
        affine[:3, 2] *= -1 if record["pixdim"][0] < 0 else 1
        affine[:3, 3] = record["offset"]
    else:
        return None
    affine[:3] *= scale
    return affine


def _rotation(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation matrix of a NIfTI quaternion (b, c, d)."""
    b, c, d = quaternion
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )


def _parts(path: Path) -> tuple[Path, Path]:
    """The file with the header and the file with the voxels."""
    name = path.name.lower()
    if ".nii" in name:
        return path, path
    stem = path.name[: name.rindex(".hdr" if name.endswith(".hdr") else ".img")]
    data = [path.with_name(stem + ending) for ending in (".img", ".img.gz")]
    return path.with_name(stem + ".hdr"), data[1] if data[1].is_file() and not data[0].is_file() else data[0]


def _read_bytes(path: Path) -> tuple[bytes | None, list[Problem]]:
    """A file's content, unpacked to the end so that gzip's length and checksum are verified."""
    data = path.read_bytes()
    packed, named = data[:2] == b"\x1f\x8b", path.name.lower().endswith(".gz")
    if packed and not named:
        return None, [error("misnamed", "is compressed but not named .gz", f"rename it to '{path.name}.gz'")]
    if not packed:
        remedy = "rename it without .gz, or compress it"
        return data, [warning("misnamed", "is named .gz but not compressed", remedy)] if named else []
    try:
        return gzip.decompress(data), []
    except EOFError:
        return None, [error("truncated", "ends in the middle of its compressed data", _COPY_AGAIN)]
    except (gzip.BadGzipFile, zlib.error) as reason:
        return None, [error("damaged", f"is damaged: {str(reason).lower()}", _COPY_AGAIN)]


def _check_header(header: NiftiHeader, volume_index: int | None) -> list[Problem]:
    """What the header alone tells; the first error ends it, since the voxels then make no sense."""
    if header.datatype in _COMPLEX:
        return [error("complex", "holds complex numbers", "save its magnitude")]
    if header.datatype in _COLOURS:
        return [error("vector", "holds colours", "save one grey value a voxel")]
    if header.dtype is None:
        return [error("datatype", f"has voxels of NIfTI type {header.datatype}", "save it as float32 or int16")]
    slope, inter = header.scale
    if not math.isfinite(slope) or not math.isfinite(inter):
        return [error("scale", f"has a rescale slope of {slope:g} and intercept of {inter:g}", "correct its header")]
    if len(header.shape) > 4 and max(header.shape[4:]) > 1 and (header.shape[3] == 1 or len(header.shape) == 5):
        count = math.prod(header.shape[4:])
        return [error("vector", f"holds {count} values a voxel", "take the magnitude, or save one channel")]
    return check_shape(header.shape, volume_index) or _check_pixdim(header)


def _check_pixdim(header: NiftiHeader) -> list[Problem]:
    """A voxel size that SimpleITK would silently replace by 1 mm; its range is judged later, in mm."""
    if all(math.isfinite(size) and size > 0 for size in header.pixdim):
        return []
    return check_spacing(header.pixdim)


def _check_voxels(header: NiftiHeader, data: bytes, volume_index: int | None) -> list[Problem]:
    """Too few bytes, too many, or NaN among them."""
    dtype = header.dtype
    assert dtype is not None
    size = math.prod(header.shape[:3]) * dtype.itemsize
    need = header.data_offset + size * math.prod(header.shape[3:])
    if len(data) < need:
        share = 100 * max(0, len(data) - header.data_offset) / (need - header.data_offset)
        return [error("truncated", f"holds {share:.0f} % of the voxels that its header promises", _COPY_AGAIN)]
    problems = []
    if len(data) > need:
        message = f"has {len(data) - need} bytes more than its header promises"
        problems.append(warning("extra-bytes", message, "check that its header belongs to it"))
    if not header.magic:
        remedy = "convert it to NIfTI, which knows its orientation"
        problems.append(warning("analyze", "is Analyze 7.5, whose orientation is not defined", remedy))
    elif header.affine is None:
        remedy = "set its qform or sform, or rely on registration alone"
        problems.append(warning("no-orientation", "does not say where it lies (qform and sform are unset)", remedy))
    if dtype.kind == "f":
        start = header.data_offset + size * (volume_index or 0)
        problems += not_finite(np.frombuffer(data, dtype, size // dtype.itemsize, start))
    return problems
