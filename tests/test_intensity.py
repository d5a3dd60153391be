import numpy as np
import pytest
import SimpleITK as sitk
from pydantic import ValidationError

from mrisynth.data.preparation.intensity import IntensityConfig, histogram, scale, statistics, tissue_mask
from mrisynth.errors import InvalidInputError


def as_image(array):
    return sitk.GetImageFromArray(np.asarray(array, np.float32))


def scaled(array, **settings):
    return sitk.GetArrayFromImage(scale(as_image(array), IntensityConfig(**settings)))


def test_percentiles_become_0_and_1000():
    # Of 0..1000 the percentile 0.1 is 1 and the percentile 99.9 is 999.
    values = np.random.default_rng(0).permutation(1001)
    expected = np.clip((values - 1) * 1000 / 998, 0, 1000).reshape(7, 11, 13)
    np.testing.assert_allclose(scaled(values.reshape(7, 11, 13)), expected, atol=1e-3)


def test_other_percentiles_clip_more():
    values = np.arange(1001).reshape(7, 11, 13)
    result = scaled(values, lower=10, upper=60)
    np.testing.assert_allclose(result, np.clip((values - 100) * 2, 0, 1000), atol=1e-3)


@pytest.mark.parametrize("offset", [-5e4, 0.0, 3e4])
def test_scaled_scan_fills_its_range_whatever_the_unit(offset):
    array = offset + 1234 * np.random.default_rng(1).standard_normal((8, 9, 10))
    result = scaled(array)
    assert result.dtype == np.float32
    assert (result.min(), result.max()) == (0, 1000)


def test_scaling_keeps_the_grid_and_the_scan_itself():
    image = as_image(np.arange(60).reshape(3, 4, 5))
    image.SetSpacing((0.1, 0.2, 0.3))
    image.SetOrigin((4, 5, 6))
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    result = scale(image, IntensityConfig())
    assert result.IsSameImageGeometryAs(image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).ravel(), np.arange(60))


@pytest.mark.parametrize("bright", [0, 1], ids=["constant", "one bright voxel"])
def test_scan_without_contrast_is_refused(bright):
    array = np.full((16, 16, 16), 7.0)
    array[:1, :1, :bright] = 5000
    with pytest.raises(InvalidInputError, match=r"same intensity \(7\).*check the file"):
        scale(as_image(array), IntensityConfig())


@pytest.mark.parametrize("settings", [{"lower": 50, "upper": 50}, {"lower": -1}, {"upper": 100.5}])
def test_impossible_percentiles_are_refused(settings):
    with pytest.raises(ValidationError):
        IntensityConfig(**settings)


def test_statistics_equal_numpy_in_double_precision():
    array = np.random.default_rng(2).uniform(990, 1000, (40, 50, 60)).astype(np.float32)
    wide = array.astype(np.float64)
    assert statistics(array) == {
        "mean": pytest.approx(wide.mean(), rel=1e-12),
        "std": pytest.approx(wide.std(), rel=1e-9),
        "count": 120_000,
    }


def test_histogram_counts_every_voxel_in_bins_of_one():
    counts = histogram(np.array([0, 0.5, 1, 499.5, 999, 999.99, 1000], np.float32))
    assert len(counts) == 1000
    assert {index: count for index, count in enumerate(counts) if count} == {0: 2, 1: 1, 499: 1, 999: 3}


def test_histogram_of_a_volume_sums_to_its_voxels():
    array = np.random.default_rng(3).uniform(0, 1000, (12, 13, 14)).astype(np.float32)
    counts = histogram(array)
    assert sum(counts) == 12 * 13 * 14
    assert counts == np.bincount(np.minimum(array.astype(int), 999).ravel(), minlength=1000).tolist()


def test_tissue_is_the_specimen_with_its_cavities_and_without_specks():
    distance = np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0)
    array = np.random.default_rng(4).normal(50, 10, (40, 40, 40))
    array[distance < 13] += 600
    array[distance < 5] = 50  # a cavity
    array[1:4, 1:4, 1:4] += 600  # a speck
    mask = sitk.GetArrayFromImage(tissue_mask(as_image(array)))
    assert mask.dtype == np.uint8
    ball = distance < 13
    overlap = 2 * np.count_nonzero(mask * ball) / (np.count_nonzero(mask) + np.count_nonzero(ball))
    assert overlap > 0.95
    assert mask[distance < 11].all()
    assert not mask[:5, :5, :5].any()
