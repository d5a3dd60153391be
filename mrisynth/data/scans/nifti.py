"""The raw bytes of a NIfTI file against what its header promises (nifti1.h of the NIfTI DFWG)."""

import math
from pathlib import Path

import numpy as np

from mrisynth.data.scans import packed
from mrisynth.data.scans.inspection import Problem, check_shape, check_spacing, error, not_finite, sheared, warning
from mrisynth.data.scans.nifti_header import NIFTI2_BYTES, NiftiHeader, byte_order, parse_header

ENDINGS = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz")

_COMPLEX = (32, 1792, 2048)
_COLOURS = (128, 2304)
_FARTHEST = 1e5
"""How far from the origin a scan may lie, in mm."""
_LEAST_SLOPE = 1e-15
_GREATEST_CODE = 5  # NIFTI_XFORM_TEMPLATE_OTHER
_RIGHT_ANGLE = 0.1
"""How far from right angles axes may be, in degrees: more moves the end of 600 voxels by one."""


def is_nifti(path: Path) -> bool:
    """Whether a path is named like a NIfTI (or Analyze) file."""
    return path.name.lower().endswith(ENDINGS)


def check_nifti(path: Path, volume_index: int | None = None) -> tuple[list[Problem], NiftiHeader | None]:
    """Read a NIfTI file to its last byte and compare it with its header.

    Args:
        path: a single file, or either half of a .hdr/.img pair.
        volume_index: which volume of a 4-D file is wanted, from 0; only its voxels are judged.

    Returns:
        the problems, and the header, or None where there is none.
    """
    header_path, data_path = _parts(path)
    if not header_path.is_file() or not data_path.is_file():
        missing = data_path if header_path.is_file() else header_path
        return [error("missing", f"has no partner '{missing.name}'", "keep both halves in one folder")], None
    problems = _check_name(data_path)
    if any(problem.severity == "error" for problem in problems):
        return problems, None
    raw = packed.read_start(header_path, NIFTI2_BYTES)
    header = parse_header(raw)
    if header is None:
        return [*problems, *_explain(header_path, raw)], None
    problems += _check_header(header, volume_index) or _check_voxels(header, data_path, volume_index)
    return problems, header


def _explain(path: Path, raw: bytes) -> list[Problem]:
    """Why the first bytes of a file are no NIfTI-1 header."""
    if packed.is_packed(path) and len(raw) < NIFTI2_BYTES:
        broken = [p for p in packed.read_promised(path, NIFTI2_BYTES)[1] if p.severity == "error"]
        if broken:
            return broken
    if byte_order(raw, NIFTI2_BYTES):
        return [error("nifti2", "is NIfTI-2, which SimpleITK does not read", "save it as NIfTI-1")]
    return [error("header", "has no valid NIfTI header", packed.COPY_AGAIN)]


def _check_name(path: Path) -> list[Problem]:
    """A name that does not say whether the file is compressed."""
    named = path.name.lower().endswith(".gz")
    if packed.is_packed(path) == named:
        return []
    if named:
        remedy = "rename it without .gz, or compress it"
        return [warning("misnamed", "is named .gz but not compressed", remedy)]
    return [error("misnamed", "is compressed but not named .gz", f"rename it to '{path.name}.gz'")]


def _parts(path: Path) -> tuple[Path, Path]:
    """The file with the header and the file with the voxels."""
    name = path.name.lower()
    if ".nii" in name:
        return path, path
    stem = path.name[: name.rindex(".hdr" if name.endswith(".hdr") else ".img")]
    data = [path.with_name(stem + ending) for ending in (".img", ".img.gz")]
    return path.with_name(stem + ".hdr"), data[1] if data[1].is_file() and not data[0].is_file() else data[0]


def _check_header(header: NiftiHeader, volume_index: int | None) -> list[Problem]:
    """What the header alone tells; the first error ends it, since the voxels then make no sense."""
    if header.datatype in _COMPLEX:
        return [error("complex", "holds complex numbers", "save its magnitude")]
    if header.datatype in _COLOURS:
        return [error("vector", "holds colours", "save one grey value a voxel")]
    if header.dtype is None:
        return [error("datatype", f"has voxels of NIfTI type {header.datatype}", "save it as float32 or int16")]
    wrong = _check_scale(*header.scale)
    if wrong:
        return wrong
    if len(header.shape) > 4 and max(header.shape[4:]) > 1 and (header.shape[3] == 1 or len(header.shape) == 5):
        count = math.prod(header.shape[4:])
        return [error("vector", f"holds {count} values a voxel", "take the magnitude, or save one channel")]
    return (
        check_shape(header.shape, volume_index)
        or _check_layout(header)
        or _check_pixdim(header)
        or _check_place(header)
    )


def _check_scale(slope: float, inter: float) -> list[Problem]:
    """A rescaling that is no number, or that programs understand differently."""
    text = f"has a rescale slope of {slope:g} and intercept of {inter:g}"
    if not math.isfinite(slope) or not math.isfinite(inter):
        return [error("scale", text, "correct its header")]
    if 0 < abs(slope) < _LEAST_SLOPE:
        return [error("scale", f"{text}: SimpleITK takes a slope as small as that for none", "save it as float32")]
    if slope == 0 and inter != 0:
        return [error("scale", f"{text}: some programs add it, others do not", "set the slope to 1, or both to 0")]
    return []


def _check_layout(header: NiftiHeader) -> list[Problem]:
    """A header that contradicts itself about where its voxels are, and how long each is."""
    dtype = header.dtype
    assert dtype is not None
    if header.bits not in (0, 8 * dtype.itemsize):
        message = f"says that a voxel has {header.bits} bits, and a type of {8 * dtype.itemsize} bits"
        return [error("header", message, packed.COPY_AGAIN)]
    if not all(0 <= code <= _GREATEST_CODE for code in header.codes):
        codes = " and ".join(map(str, header.codes))
        message = f"has {codes} as its qform_code and sform_code, which programs that do not know them read differently"
        return [error("header", message, packed.COPY_AGAIN)]
    if header.data_offset < (352 if header.single else 0):
        message = f"says that its voxels start at byte {header.data_offset}, within its header"
        return [error("header", message, packed.COPY_AGAIN)]
    return []


def _check_pixdim(header: NiftiHeader) -> list[Problem]:
    """A voxel size that SimpleITK would silently replace by 1 mm; its range is judged later, in mm."""
    if all(math.isfinite(size) and size > 0 for size in header.pixdim):
        return []
    return check_spacing(header.pixdim)


def _check_place(header: NiftiHeader) -> list[Problem]:
    """An orientation that is no number, lies absurdly far away, or has axes that are not at right angles."""
    for name, affine in (("qform", header.qform), ("sform", header.sform)):
        if affine is not None and not np.abs(affine).max() < _FARTHEST:
            message = f"has a {name} that is not finite, or metres away"
            return [error("orientation", message, f"correct its {name}, or unset it (code 0)")]
    if header.sform is None:
        return []
    lengths = np.linalg.norm(header.sform[:3, :3], axis=0)
    if not lengths.min() > 0:
        return [
            error("orientation", "has an sform with an axis of no length", "correct its sform, or unset it (code 0)")
        ]
    axes = header.sform[:3, :3] / lengths
    off = float(np.degrees(np.arcsin(min(1.0, np.abs(axes.T @ axes - np.eye(3)).max()))))
    if off <= _RIGHT_ANGLE:
        return []
    return [sheared(f"has a sheared sform: its axes are {off:.1f} degrees off right angles")]


def _check_voxels(header: NiftiHeader, path: Path, volume_index: int | None) -> list[Problem]:
    """Too few bytes, too many, or NaN among them."""
    dtype = header.dtype
    assert dtype is not None
    size = math.prod(header.shape[:3]) * dtype.itemsize
    promised = size * math.prod(header.shape[3:])
    data, problems = packed.read_promised(path, header.data_offset + promised)
    if any(problem.severity == "error" for problem in problems):
        return problems
    short = packed.check_enough(len(data) - header.data_offset, promised)
    if short:
        return short
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
