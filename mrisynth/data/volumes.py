"""Volumes: one scan's array and geometry, read with our own checks before SimpleITK is trusted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mrisynth.data import inspection
from mrisynth.data.inspection import Problem
from mrisynth.data.nifti import check_nifti, is_nifti
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
    affine = None
    if not problems and path.is_dir():
        problems = inspection.check_dicom_folder(path)
    elif not problems and is_nifti(path):
        problems, affine = check_nifti(path, volume_index)
    if _refused(problems):
        return None, problems
    try:
        image = _load(path)
    except RuntimeError as reason:
        return None, [*problems, _explain(str(reason))]
    problems += inspection.check_image(image, volume_index) or inspection.check_spacing(image.GetSpacing()[:3])
    if _refused(problems):
        return None, problems
    volume = Volume.from_image(_one_volume(image, volume_index))
    problems += inspection.check_values(volume.array)
    if affine is not None:
        problems += check_geometry(volume, affine)
    return volume, problems


def check_geometry(volume: Volume, affine: NDArray[np.float64]) -> list[Problem]:
    """A file that programs place differently, by more than half a voxel at a corner: its qform and sform disagree.

    Args:
        volume: as SimpleITK placed it.
        affine: (4, 4), index to RAS mm, as nibabel places it.
    """
    last = np.array(volume.array.shape[::-1]) - 1
    corners = np.array([[*(last * pick), 1] for pick in np.ndindex(2, 2, 2)], float)
    ours = corners @ index_to_point(volume).T
    theirs = corners @ (_RAS_TO_LPS @ affine).T
    apart = float(np.linalg.norm(ours - theirs, axis=1).max())
    if apart <= 0.5 * min(volume.spacing):
        return []
    message = f"has a qform and an sform (or voxel size) that disagree by up to {apart:.1f} mm"
    return [inspection.error("orientation", message, "copy the right one over the other in its header")]


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


def _load(path: Path) -> sitk.Image:
    if not path.is_dir():
        return sitk.ReadImage(str(path))
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path))
    return sitk.ReadImage(names)


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
        remedy = "resample it onto a grid with right angles, or set a qform without shear"
        return inspection.error("sheared", "has a sheared or scaled orientation matrix", remedy)
    if "spacing is not supported" in reason:
        message = "has a spacing that is zero or negative"
        return inspection.error("spacing", message, "correct the voxel size in its header")
    if "Unable to determine ImageIO" in reason:
        message = "is in a format that SimpleITK does not know"
        return inspection.error("format", message, "convert it to NIfTI, NRRD, MetaImage or DICOM")
    remedy = "copy it again from where it came, or convert it to NIfTI"
    return inspection.error("unreadable", "cannot be read: it is incomplete or damaged", remedy)
