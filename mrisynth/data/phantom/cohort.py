"""A paired cohort with known truth: procedural (or borrowed) anatomy, scanned at two field strengths.

The low-field scan has another tissue contrast, half the resolution (a k-space crop), its own shading and more noise,
and shows the anatomy turned, shifted and warped. It stands in for data that one does not have; it is not 7T or 9.4T
data.
"""

from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydantic import Field

import mrisynth
from mrisynth.config import Config
from mrisynth.data.pairs import claim_folder, write_pairs
from mrisynth.data.phantom import anatomy as tissue
from mrisynth.data.phantom.acquisition import (
    LOW_EVERY,
    Array,
    Size,
    add_rician_noise,
    bias_field,
    crop_kspace,
    digitize,
)
from mrisynth.data.phantom.anatomy import Anatomy
from mrisynth.data.phantom.deformation import STRIDE, Misalignment, misalign
from mrisynth.data.phantom.template import borrow
from mrisynth.data.phantom.truth import Truth, coarse_points, map_points
from mrisynth.data.scans.volumes import read_volume, write_image
from mrisynth.data.workers import map_in_processes
from mrisynth.errors import InvalidInputError

SIZE: Size = (160, 192, 128)
_LEAST, _BYTES_A_VOXEL = 16, 300
_BACKGROUND = 8
"""Voxels beside the tissue in a low-field scan that follows the specimen."""


class PhantomConfig(Config):
    """How the two scans of a phantom differ; 0 switches any difference off."""

    spacing: float = Field(
        0.2, ge=0.01, le=10, description="high-field voxel in mm; a low-field voxel is twice as wide"
    )
    degrees: float = Field(4.0, ge=0, le=30, description="largest rotation of the low-field anatomy about each axis")
    scale: float = Field(0.02, ge=0, le=0.2, description="largest change of its size along each axis, as a share")
    shift: float = Field(0.6, ge=0, le=20, description="largest shift along each axis, in mm")
    warp: float = Field(3.0, ge=0, le=30, description="largest smooth deformation, in high-field voxels")
    smoothness: float = Field(20.0, ge=10, le=100, description="distance of the deformation's knots, in those voxels")
    follow: bool = Field(False, description="the low-field scan covers the specimen wherever it moved to")
    high_bias: float = Field(0.17, ge=0, le=1, description="deviation of the logarithm of the high-field shading")
    low_bias: float = Field(0.09, ge=0, le=1, description="deviation of the logarithm of the low-field shading")
    high_noise: float = Field(0.018, ge=0, le=1, description="Rician noise of the high-field scan, of full scale")
    low_noise: float = Field(0.035, ge=0, le=1, description="Rician noise of the low-field scan, of full scale")


def make_cohort(
    out: Path,
    *,
    subjects: int = 8,
    size: Size = SIZE,
    seed: int = 0,
    anatomy: Path | None = None,
    config: PhantomConfig | None = None,
    jobs: int | None = None,
) -> Path:
    """Write a phantom cohort: `<subject>_low.nii.gz`, `<subject>_high.nii.gz`, `truth/<subject>.npz` (see `Truth`).

    A subject depends on (seed, its number) and the settings alone: a larger cohort contains the smaller one.

    Args:
        out: folder; made if missing, a phantom cohort in it is replaced.
        subjects: how many, from 1.
        size: (depth, height, width) of the high-field scans in voxels, even; low-field scans have half of each.
        seed: any number from 0.
        anatomy: a real scan that supplies the tissue instead of procedural anatomy.
        config: how the two scans differ.
        jobs: processes at most.

    Returns:
        the cohort's `pairs.csv`, written last.

    Raises:
        InvalidInputError: the size is impossible, the anatomy cannot be used, or the folder holds another cohort.
    """
    _check(subjects, size)
    if anatomy is not None:
        read_volume(anatomy)
    config = config or PhantomConfig()
    record = {"seed": seed, "subjects": subjects, "size": list(size), "config": config.model_dump()}
    record |= {"anatomy": str(anatomy.absolute()) if anatomy else None, "mrisynth": mrisynth.__version__}
    claim_folder(out, "phantom.json", record)
    make = partial(_make_subject, out=out, size=size, seed=seed, anatomy=anatomy, config=config)
    memory = 2**28 + _BYTES_A_VOXEL * size[0] * size[1] * size[2]
    names = map_in_processes(make, range(1, subjects + 1), jobs=jobs, memory=memory)
    return write_pairs(out, [(name, f"{name}_low.nii.gz", f"{name}_high.nii.gz") for name in names])


def _check(subjects: int, size: Size) -> None:
    if subjects < 1:
        raise InvalidInputError(f"a phantom cohort of {subjects} subjects is empty; ask for 1 or more")
    if len(size) != 3 or any(length % LOW_EVERY or length < _LEAST for length in size):
        text = " x ".join(map(str, size))
        raise InvalidInputError(
            f"phantom size {text} is impossible: give three even lengths from {_LEAST} on (the low-field grid is half)"
        )


def _make_subject(number: int, *, out: Path, size: Size, seed: int, anatomy: Path | None, config: PhantomConfig) -> str:
    """Write one subject and return its name."""
    name = f"phantom-{number:02d}"
    # A stream for each part: switching one off leaves the others as they were.
    shape_rng, contrast_rng, place_rng, high_rng, low_rng = np.random.default_rng([seed, number]).spawn(5)
    grid = _grid(size, config.spacing)
    specimen = borrow(shape_rng, anatomy, grid) if anatomy else tissue.grow(shape_rng, size)
    clean_high = specimen.render(tissue.HIGH.jittered(contrast_rng))
    mask = specimen.tissue > 0.5
    move = misalign(place_rng, grid, **config.model_dump(include={"degrees", "scale", "shift", "warp", "smoothness"}))
    frame = _frame(grid, mask, move) if config.follow else grid
    clean_low, low_mask = _see_low(specimen, move, grid=grid, frame=frame, rng=contrast_rng)
    high_bias, low_bias = bias_field(high_rng, mask, config.high_bias), bias_field(low_rng, low_mask, config.low_bias)
    high = digitize(high_rng, add_rician_noise(high_rng, clean_high * high_bias, config.high_noise))
    low = digitize(low_rng, add_rician_noise(low_rng, clean_low * low_bias, config.low_noise))
    write_image(out / f"{name}_high.nii.gz", _placed(high, grid, 1))
    write_image(out / f"{name}_low.nii.gz", _placed(low, frame, LOW_EVERY))
    points = coarse_points(grid)
    seen = map_points(move.forward, points).astype(np.float32)
    truth = Truth(points.astype(np.float32), seen, high_bias, low_bias, clean_high, mask, low_mask)
    truth.save(out / "truth" / f"{name}.npz")
    return name


def _grid(size: Size, spacing: float) -> sitk.Image:
    """The high-field grid, empty, its middle at the origin of physical space."""
    grid = sitk.Image([int(length) for length in reversed(size)], sitk.sitkUInt8)
    grid.SetSpacing([spacing] * 3)
    grid.SetOrigin([-0.5 * (length - 1) * spacing for length in reversed(size)])
    return grid


def _frame(grid: sitk.Image, mask: NDArray[np.bool_], move: Misalignment) -> sitk.Image:
    """The box around the moved tissue, with some background on every side: high-field voxels, even lengths."""
    seen = map_points(move.forward, coarse_points(grid)[mask[::STRIDE, ::STRIDE, ::STRIDE]])
    index = (seen - grid.GetOrigin()) / grid.GetSpacing()
    first = np.floor(index.min(axis=0)).astype(int) - _BACKGROUND
    length = -(-(np.ceil(index.max(axis=0)).astype(int) + _BACKGROUND - first) // LOW_EVERY) * LOW_EVERY
    frame = sitk.Image(length.tolist(), sitk.sitkUInt8)
    frame.SetSpacing(grid.GetSpacing())
    frame.SetOrigin(grid.TransformIndexToPhysicalPoint(first.tolist()))
    return frame


def _see_low(
    specimen: Anatomy, move: Misalignment, *, grid: sitk.Image, frame: sitk.Image, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    """The noiseless low-field scan of the misaligned specimen, and where it shows tissue, on the low-field grid."""
    contrast = tissue.LOW.jittered(rng)
    moved = [
        sitk.GetArrayFromImage(sitk.Resample(_placed(array, grid, 1), frame, move.backward, interpolator, default))
        for array, interpolator, default in (
            (specimen.render(contrast), sitk.sitkBSpline, contrast.background),
            (specimen.tissue, sitk.sitkLinear, 0.0),
        )
    ]
    step = slice(None, None, LOW_EVERY)
    return cast(Array, np.maximum(crop_kspace(moved[0]), 0)), moved[1][step, step, step] > 0.5


def _placed(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], grid: sitk.Image, every: int) -> sitk.Image:
    """An array as an image that lies where the grid lies, with voxels `every` times as wide."""
    image = sitk.GetImageFromArray(array)
    image.SetOrigin(grid.GetOrigin())
    image.SetDirection(grid.GetDirection())
    image.SetSpacing([every * step for step in grid.GetSpacing()])
    return image
