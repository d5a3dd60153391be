import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from mrisynth.data.phantom.acquisition import add_rician_noise, bias_field, crop_kspace, digitize, smooth_field


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def waves(shape: tuple[int, int, int], cycles: tuple[int, int, int]) -> NDArray[np.float32]:
    """A product of cosines with whole numbers of cycles, which k-space holds exactly."""
    axes = [np.cos(2 * np.pi * k * np.arange(n) / n + 0.3) for k, n in zip(cycles, shape, strict=True)]
    return np.einsum("i,j,k->ijk", *axes).astype(np.float32)


@pytest.mark.parametrize("shape", [(16, 16, 16), (16, 24, 18)])
def test_low_sample_i_shows_high_index_2i(shape: tuple[int, int, int]) -> None:
    slow = waves(shape, (1, 2, 1)) + 0.5
    np.testing.assert_allclose(crop_kspace(slow), slow[::2, ::2, ::2], atol=1e-5)


def test_what_half_the_kspace_does_not_hold_is_lost() -> None:
    np.testing.assert_allclose(crop_kspace(waves((16, 16, 16), (5, 0, 0))), 0, atol=1e-5)


def test_without_a_window_the_crop_is_fourier_resampling() -> None:
    # Lengths whose half is odd: there is no Nyquist frequency, which scipy treats in its own way.
    noise = np.random.default_rng(0).random((18, 22, 26))
    expected = noise
    for axis in range(3):
        expected = signal.resample(expected, noise.shape[axis] // 2, axis=axis)
    np.testing.assert_allclose(crop_kspace(noise.astype(np.float32), taper=0), expected, atol=1e-5)


def test_odd_lengths_have_no_half() -> None:
    with pytest.raises(ValueError, match=r"\(8, 9, 8\)"):
        crop_kspace(np.zeros((8, 9, 8), np.float32))


def test_background_becomes_rayleigh_noise(rng: np.random.Generator) -> None:
    noisy = add_rician_noise(rng, np.zeros((50, 50, 50), np.float32), 0.04)
    assert noisy.mean() == pytest.approx(0.04 * np.sqrt(np.pi / 2), rel=0.02)
    assert noisy.std() == pytest.approx(0.04 * np.sqrt(2 - np.pi / 2), rel=0.02)


def test_smooth_fields_are_smooth_and_standardised(rng: np.random.Generator) -> None:
    field = smooth_field(rng, (40, 50, 60), 10)
    assert field.shape == (40, 50, 60)
    assert (field.mean(), field.std()) == pytest.approx((0, 1), abs=1e-4)
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in range(3)) < 0.5


def test_smooth_fields_follow_the_scale_of_each_axis(rng: np.random.Generator) -> None:
    field = smooth_field(rng, (60, 60, 60), (4, 12, 36))
    steps = [np.abs(np.diff(field, axis=axis)).mean() for axis in range(3)]
    assert steps[0] > 2 * steps[1] > 4 * steps[2]


def test_bias_has_its_strength_within_the_mask(rng: np.random.Generator) -> None:
    mask = np.zeros((20, 30, 16), bool)
    mask[5:15, 4:26, 4:12] = True
    field = bias_field(rng, mask, 0.17)
    assert np.log(field[mask]).mean() == pytest.approx(0, abs=1e-4)
    assert np.log(field[mask]).std() == pytest.approx(0.17, rel=1e-3)
    np.testing.assert_array_equal(bias_field(rng, mask, 0), 1)


def test_scans_are_stored_as_whole_numbers_with_some_gain(rng: np.random.Generator) -> None:
    ramp = np.linspace(0, 1, 11, dtype=np.float32)
    stored = digitize(rng, ramp)
    assert stored.dtype == np.int16
    assert 2_000 <= stored[-1] <= 14_000
    np.testing.assert_allclose(stored / stored[-1], ramp, atol=1e-3)
