"""Every metric of the table, against values by hand and against scikit-image."""

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from mrisynth.training.metrics import METRICS

Images = NDArray[np.float32]


def _images(shape: tuple[int, int, int] = (3, 40, 53)) -> tuple[Images, Images, NDArray[np.bool_]]:
    random = np.random.default_rng(0)
    high = random.random(shape, dtype=np.float32)
    generated = (0.8 * high + 0.2 * random.random(shape)).astype(np.float32)
    return generated, high, random.random(shape) > 0.3


def _score(name: str, generated: Images, high: Images, mask: NDArray[np.bool_] | None = None) -> float:
    return METRICS[name].function(generated, high, np.ones_like(high, dtype=bool) if mask is None else mask)


@pytest.mark.parametrize("name", METRICS)
def test_metrics_prefer_the_better_image_and_stay_in_their_range(name: str) -> None:
    metric = METRICS[name]
    generated, high, mask = _images()
    values = [metric.function((1 - t) * high + t * generated, high, mask) for t in (0.0, 0.5, 1.0)]
    assert values == sorted(values, reverse=metric.direction == "maximize")
    assert len(set(values)) == 3
    for value in values:
        assert isinstance(value, float)
        assert metric.range[0] is None or value >= metric.range[0]
        assert metric.range[1] is None or value <= metric.range[1]


@pytest.mark.parametrize("name", METRICS)
def test_equal_images_have_the_best_value_and_json_can_hold_it(name: str) -> None:
    _, high, mask = _images()
    value = METRICS[name].function(high, high, mask)
    json.dumps(value, allow_nan=False)
    best = METRICS[name].range[METRICS[name].direction == "maximize"]
    assert best is None or value == pytest.approx(best)


@pytest.mark.parametrize("name", METRICS)
def test_what_a_diverged_network_puts_out_is_never_a_good_score(name: str) -> None:
    generated, high, mask = _images()
    generated[0] = np.nan
    assert math.isnan(METRICS[name].function(generated, high, mask))


@pytest.mark.parametrize("name", METRICS)
def test_descriptions_go_into_the_manifest(name: str) -> None:
    described = json.loads(json.dumps(METRICS[name].describe(), allow_nan=False))
    assert set(described) == {"unit", "direction", "range", "description"}
    assert described["description"].endswith(".")


@pytest.mark.parametrize(("offset", "expected"), [(0.1, 20.0), (0.01, 40.0), (1.0, 0.0), (-0.1, 20.0)])
def test_psnr_of_a_constant_offset(offset: float, expected: float) -> None:
    high = np.zeros((2, 12, 12), dtype=np.float32)
    assert _score("psnr", high + np.float32(offset), high) == pytest.approx(expected, abs=1e-5)


def test_psnr_of_equal_images_is_100() -> None:
    _, high, mask = _images()
    assert _score("psnr", high, high, mask) == 100


def test_psnr_and_mse_are_those_of_scikit_image() -> None:
    generated, high, mask = _images()
    expected = peak_signal_noise_ratio(high[mask].astype(float), generated[mask].astype(float), data_range=1)
    assert _score("psnr", generated, high, mask) == pytest.approx(expected, abs=1e-9)
    whole = peak_signal_noise_ratio(high.astype(float), generated.astype(float), data_range=1)
    assert _score("psnr_whole", generated, high, mask) == pytest.approx(whole, abs=1e-9)
    error = mean_squared_error(high[mask].astype(float), generated[mask].astype(float))
    assert _score("mse", generated, high, mask) == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("name", ["psnr", "mse", "mae"])
def test_what_is_outside_the_mask_does_not_count(name: str) -> None:
    generated, high, mask = _images()
    before = _score(name, generated, high, mask)
    generated[~mask] = 7
    assert _score(name, generated, high, mask) == before


@pytest.mark.parametrize("name", ["psnr_whole", "ssim", "psnr_255", "mse_study"])
def test_what_is_outside_the_mask_counts(name: str) -> None:
    generated, high, mask = _images()
    before = _score(name, generated, high, mask)
    generated[~mask] = 7
    assert _score(name, generated, high, mask) != before


@pytest.mark.parametrize("name", ["psnr", "mse", "mae"])
def test_an_empty_mask_is_refused(name: str) -> None:
    generated, high, mask = _images()
    with pytest.raises(ValueError, match=r"mask .* is empty"):
        _score(name, generated, high, np.zeros_like(mask))


def test_mae_by_hand() -> None:
    high = np.zeros((1, 1, 2), dtype=np.float32)
    assert _score("mae", np.array([[[0.25, -0.75]]], dtype=np.float32), high) == 0.5


@pytest.mark.parametrize("shape", [(3, 40, 53), (1, 11, 11), (2, 11, 64), (1, 27, 26), (1, 160, 160)])
def test_ssim_is_that_of_scikit_image(shape: tuple[int, int, int]) -> None:
    generated, high, _ = _images(shape)
    settings = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = np.mean(
        [
            structural_similarity(a, b, **settings)
            for a, b in zip(generated.astype(float), high.astype(float), strict=True)
        ]
    )
    assert _score("ssim", generated, high) == pytest.approx(expected, abs=2e-6)


def test_ssim_of_smooth_images_is_that_of_scikit_image() -> None:
    # Where hardly anything varies, variances are small differences of large numbers.
    rows, columns = np.mgrid[0:48, 0:64] / 64
    high = (0.9 + 0.01 * np.sin(5 * rows) * columns)[None].astype(np.float32)
    generated = (high + 0.003 * rows).astype(np.float32)
    settings = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(generated[0].astype(float), high[0].astype(float), **settings)
    assert _score("ssim", generated, high) == pytest.approx(expected, abs=2e-6)


def test_ssim_refuses_slices_smaller_than_its_window() -> None:
    small = np.zeros((1, 10, 40), dtype=np.float32)
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, not 10 x 40"):
        _score("ssim", small, small)


def test_the_papers_scale_by_hand() -> None:
    # Slices of variance 1/4 and 1/16 with errors of 0.1 and 0.2: on the standardised scale 0.04 and 0.64.
    high = np.array([[[0.0, 1.0]], [[0.25, 0.75]]], dtype=np.float32)
    generated = high + np.array([0.1, 0.2], dtype=np.float32)[:, None, None]
    assert _score("mse_study", generated, high) == pytest.approx((0.04 + 0.64) / 2, rel=1e-5)
    decibels = (20 * math.log10(255 / math.sqrt(0.04)) + 20 * math.log10(255 / math.sqrt(0.64))) / 2
    assert _score("psnr_255", generated, high) == pytest.approx(decibels, abs=1e-4)


@pytest.mark.parametrize("name", ["psnr_255", "mse_study"])
def test_the_papers_scale_does_not_know_the_intensity_scale(name: str) -> None:
    generated, high, _ = _images()
    assert _score(name, 3 * generated + 1, 3 * high + 1) == pytest.approx(_score(name, generated, high), rel=1e-5)


@pytest.mark.parametrize("name", ["psnr_255", "mse_study"])
def test_constant_slices_have_no_standardised_scale(name: str) -> None:
    generated, high, _ = _images()
    expected = _score(name, generated[1:], high[1:])
    high[0] = 0.5
    assert _score(name, generated, high) == expected
    with pytest.raises(ValueError, match="constant"):
        _score(name, generated[:1], high[:1])
