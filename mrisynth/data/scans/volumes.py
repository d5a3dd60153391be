"""Volumes: one scan's array and geometry, read with our own checks before SimpleITK is trusted."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mrisynth.data.scans import inspection
from mrisynth.data.scans.dicom import check_dicom_folder
from mrisynth.data.scans.inspection import Problem
from mrisynth.data.scans.nifti import check_nifti, is_nifti
from mrisynth.data.scans.nifti_header import NiftiHeader
from mrisynth.data.scans.text_headers import check_text_header, is_text_header
from mrisynth.errors import InvalidInputError
from mrisynth.files import write_with

WRITABLE = (".nii.gz", ".nii", ".mha", ".nrrd")
"""Endings that hold a volume in one file."""

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Volume:
    """One 3-D scan.

    Args:
        array: (depth, height, width), float32, intensity in the scan's own unit unless said otherwise.
        spacing: voxel size in mm, in the array's order (depth, height, width).
        origin: physical position of voxel (0, 0, 0) in mm, in SimpleITK's order (x, y, z; LPS).
        direction: the nine cosines of SimpleITK's direction matrix, row by row, columns in the order (x, y, z).
    """

    array: NDArray[np.float32]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def to_image(self) -> sitk.Image:
        """The same volume as a SimpleITK image (a copy)."""
        image = sitk.GetImageFromArray(self.array)
        image.SetSpacing(self.spacing[::-1])
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image

    @classmethod
    def from_image(cls, image: sitk.Image) -> Self:
        """The volume of a 3-D scalar SimpleITK image (a copy)."""
        array = sitk.GetArrayFromImage(image).astype(np.float32, copy=False)
        return cls(array, image.GetSpacing()[::-1], image.GetOrigin(), image.GetDirection())


def read_volume(path: Path, *, volume_index: int | None = None) -> Volume:
    """Read one scan in any format that SimpleITK knows, or a folder with one DICOM series.

    Args:
        path: file or DICOM folder.
        volume_index: which volume of a 4-D file, from 0.

    Raises:
        InvalidInputError: the scan is missing, damaged, or not one finite 3-D grey volume; with what to do.
    """
    volume, problems = examine(path, volume_index=volume_index)
    errors = [problem for problem in problems if problem.severity == "error"]
    if volume is None or errors:
        raise InvalidInputError(f"{path} {errors[0].message}; {errors[0].remedy}")
    return volume


def inspect(path: Path, *, volume_index: int | None = None) -> list[Problem]:
    """Everything that is wrong with a scan; `read_volume` accepts it exactly where no error is among it."""
    return examine(path, volume_index=volume_index)[1]


def examine(path: Path, *, volume_index: int | None = None) -> tuple[Volume | None, list[Problem]]:
    """Read and judge a scan in one go: its volume (None where it could not be read) and its problems."""
    problems = inspection.check_exists(path)
    if problems:
        return None, problems
    try:
        return _examine(path, volume_index)
    except PermissionError:
        return None, [inspection.unreadable_by_us()]
    except (OSError, MemoryError) as reason:
        remedy = "copy it again, or free memory and disk"
        return None, [inspection.error("unreadable", f"cannot be read ({reason or 'out of memory'})", remedy)]


def _examine(path: Path, volume_index: int | None) -> tuple[Volume | None, list[Problem]]:
    """As `examine`, of what exists; raises what the system raises."""
    problems, header = _check_bytes(path, volume_index)
    if _refused(problems):
        return None, problems
    try:
        image, found = _load(path, volume_index, header.unit if header else "")
    except RuntimeError as reason:
        return None, [*problems, _explain(str(reason))]
    problems += found
    if image is None or _refused(problems):
        return None, problems
    volume = Volume.from_image(_one_volume(image, volume_index))
    problems += inspection.check_values(volume.array)
    if header is not None:
        problems += check_geometry(volume, header)
    return volume, problems


def _check_bytes(path: Path, volume_index: int | None) -> tuple[list[Problem], NiftiHeader | None]:
    """What the raw bytes tell before SimpleITK sees them."""
    if path.is_dir():
        return check_dicom_folder(path), None
    if is_nifti(path):
        return check_nifti(path, volume_index)
    return check_text_header(path) if is_text_header(path) else [], None


def check_geometry(volume: Volume, header: NiftiHeader) -> list[Problem]:
    """A qform and an sform that lie more than half a voxel apart at a corner.

    An error where programs then place the file differently; a warning where all take the sform.

    Args:
        volume: as SimpleITK placed it.
        header: where nibabel finds its place.
    """
    if header.affine is None:
        return []
    ours, theirs = index_to_point(volume), _RAS_TO_LPS @ header.affine
    tolerance = 0.5 * min(volume.spacing)
    apart = _apart(volume, ours, theirs)
    if apart > tolerance:
        message = f"has a qform and an sform (or voxel size) that disagree by up to {apart:.1f} mm"
        return [inspection.error("orientation", message, "copy the right one over the other in its header")]
    if header.qform is None or header.sform is None:
        return []
    apart = _apart(volume, header.qform, header.sform)
    if apart <= tolerance:
        return []
    message = f"has a qform that lies up to {apart:.1f} mm from its sform; the sform is used"
    return [inspection.warning("qform-sform", message, "copy the right one over the other in its header")]


def _apart(volume: Volume, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """How far, at most, two (4, 4) matrices place the corners of a volume from each other, in mm."""
    last = np.array(volume.array.shape[::-1]) - 1
    corners = np.array([[*(last * pick), 1] for pick in np.ndindex(2, 2, 2)], float)
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())


def index_to_point(volume: Volume) -> NDArray[np.float64]:
    """The (4, 4) matrix from an index (x, y, z, 1) to its physical point in mm (LPS)."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(volume.direction, (3, 3)) * volume.spacing[::-1]
    matrix[:3, 3] = volume.origin
    return matrix


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume as float32, whole or not at all.

    Args:
        path: ends in .nii.gz, .nii, .mha or .nrrd; missing folders are made.
        volume: what to write.

    Raises:
        InvalidInputError: the ending is none of these.
    """
    write_image(path, volume.to_image())


def write_image(path: Path, image: sitk.Image) -> None:
    """Write a SimpleITK image with its own pixel type, whole or not at all; see `write_volume`."""
    ending = next((ending for ending in WRITABLE if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise InvalidInputError(f"{path} cannot be written: name it with one of {', '.join(WRITABLE)}")

    def write(temporary: Path) -> None:
        # SimpleITK goes by the name's ending, and the temporary name may end in a part of it, or in it twice.
        scratch = temporary.with_name("." + temporary.name.replace(".", "_") + ending)
        try:
            sitk.WriteImage(image, str(scratch), useCompression=ending != ".nii")
            scratch.replace(temporary)
        finally:
            scratch.unlink(missing_ok=True)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_with(path, write)


def _refused(problems: list[Problem]) -> bool:
    return any(problem.severity == "error" for problem in problems)


def _load(path: Path, volume_index: int | None, unit: str) -> tuple[sitk.Image | None, list[Problem]]:
    """The image, and what its header says that refuses it; None where that forbids to read its voxels."""
    if path.is_dir():
        image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
        return image, inspection.check_image(image, volume_index) or _check_grid(image)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    problems = inspection.check_image(reader, volume_index) or _check_grid(reader, unit)
    problems += inspection.too_large(4 * math.prod(reader.GetSize()))
    return (None if _refused(problems) else reader.Execute()), problems


def _check_grid(image: sitk.Image | sitk.ImageFileReader, unit: str = "") -> list[Problem]:
    """Voxels and a whole of a size that no scan has."""
    spacing = image.GetSpacing()[:3]
    size = tuple(step * count for step, count in zip(spacing, image.GetSize(), strict=False))
    return inspection.check_spacing(spacing, unit) or inspection.check_extent(size)


def _one_volume(image: sitk.Image, volume_index: int | None) -> sitk.Image:
    """The 3-D volume asked for, of an image with three or more dimensions."""
    if image.GetDimension() == 3:
        return image
    size = [*image.GetSize()[:3], *[0] * (image.GetDimension() - 3)]
    index = [0, 0, 0, volume_index or 0, *[0] * (image.GetDimension() - 4)]
    return sitk.Extract(image, size, index, sitk.ExtractImageFilter.DIRECTIONCOLLAPSETOSUBMATRIX)


def _explain(reason: str) -> Problem:
    """What SimpleITK's refusal means to the user."""
    if "orthonormal" in reason:
        return inspection.sheared("has a sheared or scaled orientation matrix")
    if "spacing is not supported" in reason:
        message = "has a spacing that is zero or negative"
        return inspection.error("spacing", message, "correct the voxel size in its header")
    if "Unable to determine ImageIO" in reason:
        message = "is in a format that SimpleITK does not know"
        return inspection.error("format", message, "convert it to NIfTI, NRRD, MetaImage or DICOM")
    remedy = "copy it again from where it came, or convert it to NIfTI"
    return inspection.error("unreadable", "cannot be read: it is incomplete or damaged", remedy)
