"""The few slices that a preparation keeps for quality control, since the volumes no longer show them.

STORE/subjects/<key>/slices.npz: for each axis A (0 depth, 1 height, 2 width), through the middle of the tissue,

low_before_registration_A   the low scan by the headers alone, uint8, 255 for an intensity of 1000
low_before_bias_A           the registered low scan without N4, likewise
high_before_bias_A          the high scan without N4, likewise
jacobian_A                  the Jacobian determinant of the registration, float32
position_A                  the slice's index, shape ()

The content key does not cover this file: the prepared volumes are the same with and without it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mrisynth.data.store.mirror import fetch_beside
from mrisynth.files import write_with

_FILE = "slices.npz"


def middle(mask: NDArray[Any]) -> tuple[int, int, int]:
    """The indices (depth, height, width) of the middle of the tissue's bounding box.

    Args:
        mask: (depth, height, width), not zero in the tissue, which is not empty.
    """
    depth, height, width = (
        int(np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]].mean()) for axis in range(3)
    )
    return depth, height, width


def cut_slices(images: Mapping[str, sitk.Image], mask: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The middle slices of images on one grid, named as in the file.

    Args:
        images: name -> a scan, intensity in [0, 1000], or "jacobian".
        mask: the tissue on the same grid, (depth, height, width).
    """
    slices: dict[str, NDArray[Any]] = {}
    for axis, position in enumerate(middle(mask)):
        slices[f"position_{axis}"] = np.array(position)
        for name, image in images.items():
            cut = np.take(sitk.GetArrayFromImage(image), position, axis=axis)
            slices[f"{name}_{axis}"] = cut.astype(np.float32) if name == "jacobian" else to_grey(cut)
    return slices


def to_grey(cut: NDArray[Any]) -> NDArray[np.uint8]:
    """Intensities in [0, 1000] as grey levels from 0 to 255."""
    grey: NDArray[np.uint8] = np.rint(np.clip(cut, 0, 1000) * 0.255).astype(np.uint8)
    return grey


def write_slices(folder: Path, slices: Mapping[str, NDArray[Any]]) -> None:
    """Write the slices into a subject's folder, a few dozen kilobytes."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **slices)

    write_with(folder / _FILE, write)


def read_slices(folder: Path) -> dict[str, NDArray[Any]]:
    """The slices in a subject's folder; empty where it was prepared by a version that kept none."""
    fetch_beside(folder, _FILE)
    try:
        with np.load(folder / _FILE, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        return {}
