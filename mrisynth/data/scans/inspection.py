"""What can be wrong with one scan, found by our own eyes: SimpleITK reads the worst inputs without a word.

A truncated NIfTI file reads as zeros, NaN becomes 0, a spacing of 0 becomes 1 mm, a missing DICOM slice is dropped. So
the raw bytes are judged here and in `nifti`, and the volume that SimpleITK made of them is judged again.
"""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import SimpleITK as sitk
from numpy.typing import NDArray

SPACING_RANGE = (0.01, 20.0)
"""What a voxel of a scan may measure, in mm; anything else is a wrong unit."""

EXTENT_RANGE = (1.0, 1000.0)
"""What the longest side of a scan usually measures, in mm; anything else is doubtful."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file, and what to do about it.

    Args:
        code: a short fixed word, the same in every version.
        severity: `error` (the scan is refused) or `warning`.
        message: what is wrong, without the file's name; it reads on after "scan.nii.gz ".
        remedy: what to do.
    """

    code: str
    severity: str
    message: str
    remedy: str


def error(code: str, message: str, remedy: str) -> Problem:
    """A problem for which the scan is refused."""
    return Problem(code, "error", message, remedy)


def warning(code: str, message: str, remedy: str) -> Problem:
    """A problem that the user should know of, and may accept."""
    return Problem(code, "warning", message, remedy)


def suggest(path: Path) -> str:
    """`did you mean '...'?` for a path that does not exist, or an instruction where nothing resembles it."""
    existing = path.absolute()
    while not existing.parent.is_dir():
        existing = existing.parent
    siblings = {entry.name: entry for entry in existing.parent.iterdir()}
    close = difflib.get_close_matches(existing.name, siblings, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{siblings[close[0]]}'?"
    return f"check the path; '{existing.parent}' has nothing named like '{existing.name}'"


def check_exists(path: Path) -> list[Problem]:
    """A file or folder that is missing, empty, not readable, or neither file nor folder."""
    try:
        if not path.exists():
            return [_missing(path)]
        if not (path.is_file() or path.is_dir()):
            return [error("not-a-file", "is neither a file nor a folder", "name a scan file or a DICOM folder")]
        if path.is_file() and path.stat().st_size == 0:
            return [error("empty", "is empty (0 bytes)", "copy it again from where it came")]
    except PermissionError:
        return [unreadable_by_us()]
    except (OSError, ValueError) as reason:
        return [error("missing", f"cannot be looked up ({reason})", "correct the path")]
    allowed = os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0))
    return [] if allowed else [unreadable_by_us()]


def _missing(path: Path) -> Problem:
    """A path that leads to nothing, perhaps over a link."""
    if path.is_symlink():
        message = "is a symbolic link that leads nowhere, or to itself"
        return error("broken-link", message, "point it at the scan, or name the scan itself")
    return error("missing", "does not exist", suggest(path))


def unreadable_by_us() -> Problem:
    """A file that the system does not let us read."""
    return error("no-permission", "may not be read by you", "ask its owner, or change its mode (chmod u+r)")


def sheared(message: str) -> Problem:
    """Axes that are not at right angles, which no reader of ours can represent."""
    return error("sheared", message, "resample it onto a grid with right angles, or set a qform without shear")


def too_large(size: int) -> list[Problem]:
    """More bytes than this machine has memory.

    Args:
        size: of the voxels, unpacked, in bytes.
    """
    memory = psutil.virtual_memory().total
    if size <= memory:
        return []
    message = f"promises {size / 2**30:.0f} GiB of voxels; this machine has {memory / 2**30:.0f} GiB of memory"
    return [error("too-large", message, "if its header is right, crop it or take a larger machine")]


def check_image(image: sitk.Image | sitk.ImageFileReader, volume_index: int | None) -> list[Problem]:
    """Pixels or dimensions that are not one 3-D grey volume.

    Args:
        image: as SimpleITK read it, of any dimension, or its reader.
        volume_index: which volume of a 4-D image is wanted, from 0.
    """
    if image.GetPixelIDValue() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        return [error("complex", "holds complex numbers", "save its magnitude")]
    count = _components(image)
    if count > 1:
        return [error("vector", f"holds {count} values a voxel", "take the magnitude, or save one channel")]
    return check_shape(image.GetSize(), volume_index)


def check_shape(shape: tuple[int, ...], volume_index: int | None) -> list[Problem]:
    """A shape that is not one volume.

    Args:
        shape: voxels on each axis, time or channel last.
        volume_index: which volume of a 4-D image is wanted, from 0.
    """
    if min((*shape, 1, 1)[:3]) < 2 or len(shape) < 3:
        return [error("flat", f"is a single slice (shape {_by(shape)})", "give the whole stack as one 3-D file")]
    if len(shape) > 4 and max(shape[4:]) > 1:
        return [error("dimensions", f"has {len(shape)} dimensions ({_by(shape)})", "save one 3-D volume of it")]
    count = shape[3] if len(shape) > 3 else 1
    if count > 1 and volume_index is None:
        remedy = f"choose one of its volumes (volume index 0 to {count - 1}), or save that volume as a 3-D file"
        return [error("four-dimensional", f"is 4-D ({_by(shape)})", remedy)]
    if volume_index is not None and not 0 <= volume_index < count:
        message = f"has no volume {volume_index}: it holds {count}"
        return [error("volume-index", message, f"choose a volume index from 0 to {count - 1}")]
    return []


def check_spacing(spacing: tuple[float, ...], unit: str = "") -> list[Problem]:
    """Voxels without a size, or of a size that no scan has.

    Args:
        spacing: in mm, any order.
        unit: what the header says it is measured in, where it says so.
    """
    text = " x ".join(f"{value:g}" for value in spacing)
    if not all(np.isfinite(spacing)) or min(spacing) <= 0:
        return [error("spacing", f"has a spacing of {text} mm", "correct the voxel size in its header")]
    low, high = SPACING_RANGE
    if min(spacing) < low or max(spacing) > high:
        message = f"has a spacing of {text} mm, outside {low:g} to {high:g} mm"
        meant = "micrometres or metres" if unit == "" else f"another unit than the {unit} that its header names"
        return [error("spacing", message, f"correct the voxel size or its unit: it may be meant in {meant}")]
    return []


def check_extent(size: tuple[float, ...]) -> list[Problem]:
    """A whole scan so small or so large that its voxel size is in doubt.

    Args:
        size: of the whole grid along each axis, in mm.
    """
    low, high = EXTENT_RANGE
    if low <= max(size) <= high:
        return []
    message = f"measures {' x '.join(f'{value:.4g}' for value in size)} mm as a whole"
    return [warning("extent", message, "check the voxel size and its unit in its header")]


def check_values(array: NDArray[np.floating]) -> list[Problem]:
    """Values that are not finite, or all the same.

    Args:
        array: (depth, height, width), intensity in the file's own unit.
    """
    bad = not_finite(array)
    if bad:
        return bad
    low, high = np.percentile(array, (0.1, 99.9))
    if low == high:
        message = f"is constant: 99.8 % of its voxels are {low:g}"
        return [error("constant", message, "export the scan again: there is no anatomy in it")]
    return []


def not_finite(values: NDArray[np.floating]) -> list[Problem]:
    """NaN or infinity among the values of any array."""
    count = int(values.size - np.count_nonzero(np.isfinite(values)))
    if not count:
        return []
    message = f"has {count} voxels that are NaN or infinite"
    return [error("not-finite", message, "replace them (by 0 in the background) where the file was made")]


def _components(image: sitk.Image | sitk.ImageFileReader) -> int:
    reader = isinstance(image, sitk.ImageFileReader)
    return int(image.GetNumberOfComponents() if reader else image.GetNumberOfComponentsPerPixel())


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
