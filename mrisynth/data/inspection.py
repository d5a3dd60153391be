"""What can be wrong with one scan, found by our own eyes: SimpleITK reads the worst inputs without a word.

A truncated NIfTI file reads as zeros, NaN becomes 0, a spacing of 0 becomes 1 mm, a missing DICOM slice is dropped. So
the raw bytes are judged here and in `nifti`, and the volume that SimpleITK made of them is judged again.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

SPACING_RANGE = (0.01, 20.0)
"""What a voxel of a scan may measure, in mm; anything else is a wrong unit."""


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
    """A missing file, a folder without files, or an empty file."""
    if not path.exists():
        return [error("missing", "does not exist", suggest(path))]
    if path.is_file() and path.stat().st_size == 0:
        return [error("empty", "is empty (0 bytes)", "copy it again from where it came")]
    return []


def check_image(image: sitk.Image, volume_index: int | None) -> list[Problem]:
    """Pixels or dimensions that are not one 3-D grey volume.

    Args:
        image: as SimpleITK read it, of any dimension.
        volume_index: which volume of a 4-D image is wanted, from 0.
    """
    if image.GetPixelIDValue() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        return [error("complex", "holds complex numbers", "save its magnitude")]
    if image.GetNumberOfComponentsPerPixel() > 1:
        count = image.GetNumberOfComponentsPerPixel()
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


def check_spacing(spacing: tuple[float, ...]) -> list[Problem]:
    """Voxels without a size, or of a size that no scan has.

    Args:
        spacing: in mm, any order.
    """
    text = " x ".join(f"{value:g}" for value in spacing)
    if not all(np.isfinite(spacing)) or min(spacing) <= 0:
        return [error("spacing", f"has a spacing of {text} mm", "correct the voxel size in its header")]
    low, high = SPACING_RANGE
    if min(spacing) < low or max(spacing) > high:
        message = f"has a spacing of {text} mm, outside {low:g} to {high:g} mm"
        return [error("spacing", message, "correct the unit of the voxel size in its header")]
    return []


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


def check_dicom_folder(folder: Path) -> list[Problem]:
    """A folder that is not exactly one gapless DICOM series."""
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        return [error("unreadable", "is a folder without DICOM files", "name a scan file or a folder with one series")]
    if len(series) > 1:
        message = f"holds {len(series)} DICOM series"
        return [error("dicom-series", message, "put each series into a folder of its own")]
    return check_slice_positions(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))


def check_slice_positions(names: tuple[str, ...]) -> list[Problem]:
    """Slices of a series that do not follow each other in equal steps (1 % of a step is tolerated)."""
    if len(names) < 3:
        return []
    positions = np.sort([_slice_position(name) for name in names])
    steps = np.diff(positions)
    step = float(np.median(steps))
    if step > 0 and np.allclose(steps, step, rtol=0, atol=0.01 * step):
        return []
    worst = int(np.argmax(np.abs(steps - step)))
    message = (
        f"has unequal steps between its DICOM slices: {steps[worst]:.3f} mm from {positions[worst]:.3f} mm on, "
        f"elsewhere {step:.3f} mm"
    )
    return [error("dicom-gap", message, "copy the missing slices, or take out the double ones")]


def _slice_position(name: str) -> float:
    """Where a DICOM slice lies along the normal of its plane, in mm; NaN where the file does not say."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    reader.ReadImageInformation()
    try:
        position = np.array(reader.GetMetaData("0020|0032").split("\\"), float)
        rows = np.array(reader.GetMetaData("0020|0037").split("\\"), float)
    except (RuntimeError, ValueError):
        return float("nan")
    return float(position @ np.cross(rows[:3], rows[3:]))


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
