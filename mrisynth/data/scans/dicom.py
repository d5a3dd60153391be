"""Folders with DICOM files: exactly one series, without a gap."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from mrisynth.data.scans.inspection import Problem, error


def check_dicom_folder(folder: Path) -> list[Problem]:
    """A folder that is not exactly one gapless DICOM series."""
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        return [error("unreadable", "is a folder without DICOM files", "name a scan file or a folder with one series")]
    if len(series) > 1:
        message = f"holds {len(series)} DICOM series"
        return [error("dicom-series", message, "put each series into a folder of its own")]
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    dropped = sorted({path for path in folder.iterdir() if _is_dicom(path)} - {Path(name) for name in names})
    if dropped:
        message = f"holds a DICOM file that cannot be read or has no picture: '{dropped[0].name}'"
        return [error("unreadable", message, "copy it again, or move it elsewhere")]
    return check_slice_positions(names)


def _is_dicom(path: Path) -> bool:
    """Whether a file is marked as DICOM, and is a slice (a DICOMDIR is a table of contents)."""
    if not path.is_file() or path.name.upper() == "DICOMDIR":
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def check_slice_positions(names: tuple[str, ...]) -> list[Problem]:
    """Slices of a series that do not follow each other in equal steps (1 % of a step is tolerated)."""
    if len(names) < 3:
        return []
    positions = np.sort([_slice_position(name) for name in names])
    if not np.isfinite(positions).all():
        message = f"has {np.isnan(positions).sum()} DICOM slices that do not say where they lie"
        return [error("dicom-gap", message, "export the series again with ImagePositionPatient")]
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
