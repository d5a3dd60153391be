"""Whole volumes on disk: read back, and read by others."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.results.volumes import Grid, encode, read_grid, read_volume, write_volume

SPACING = (0.4, 0.2, 0.3)
VALUES = np.random.default_rng(0).normal(0.4, 0.3, (5, 6, 7)).astype(np.float32)
TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "volumes" / "rat.nii.gz"
    write_volume(path, VALUES, Grid(SPACING, (-3.0, 4.5, 6.0), TURNED))
    return path


def test_a_volume_comes_back_to_the_precision_of_16_bits(path):
    step = np.ptp(VALUES) / 65535
    np.testing.assert_allclose(read_volume(path), VALUES, atol=step)


def test_nibabel_reads_the_same_numbers(path):
    image = nibabel.load(path)
    assert image.header.get_data_dtype() == np.uint16
    np.testing.assert_allclose(image.get_fdata().transpose(2, 1, 0), read_volume(path), atol=1e-6)


def test_simpleitk_reads_the_grid_that_was_given(path):
    image = sitk.ReadImage(str(path))
    np.testing.assert_allclose(image.GetSpacing(), SPACING[::-1], rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), (-3.0, 4.5, 6.0), atol=1e-5)
    np.testing.assert_allclose(image.GetDirection(), TURNED, atol=1e-6)


def test_the_grid_comes_back(path):
    grid = read_grid(path)
    np.testing.assert_allclose(grid.spacing, SPACING, rtol=1e-6)
    np.testing.assert_allclose(grid.origin, (-3.0, 4.5, 6.0))
    np.testing.assert_allclose(grid.direction, TURNED, atol=1e-6)


def test_a_flat_volume_and_the_same_bytes_each_time(tmp_path):
    flat = np.full((2, 3, 4), 0.25, np.float32)
    write_volume(tmp_path / "flat.nii.gz", flat, Grid(SPACING))
    np.testing.assert_array_equal(read_volume(tmp_path / "flat.nii.gz"), flat)
    assert encode(flat, Grid(SPACING)) == encode(flat, Grid(SPACING))


@pytest.mark.parametrize("values", [np.full((2, 2, 2), np.nan, np.float32), np.zeros((2, 2), np.float32)])
def test_what_is_no_volume_is_not_written(values):
    with pytest.raises(ValueError, match="must be finite"):
        encode(values, Grid(SPACING))


def test_a_missing_or_damaged_file_is_told(path, tmp_path):
    with pytest.raises(NotFoundError):
        read_volume(tmp_path / "gone.nii.gz")
    whole = path.read_bytes()
    for broken in (whole[:-20], b"nothing", whole[:100] + b"\0" * 50 + whole[150:], b""):
        path.write_bytes(broken)
        with pytest.raises(InvalidInputError):
            read_volume(path)
