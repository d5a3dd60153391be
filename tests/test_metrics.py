"""Every metric of the table, against values by hand and against scikit-image."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from mrisynth.data.stitching import plan_stitch
from mrisynth.training.metrics import METRICS, Scored

Images = NDArray[np.float32]


def _images(shape: tuple[int, int, int] = (3, 40, 53)) -> tuple[Images, Images, NDArray[np.bool_]]:
    random = np.random.default_rng(0)
    high = random.random(shape, dtype=np.float32)
    generated = (0.8 * high + 0.2 * random.random(shape)).astype(np.float32)
    return generated, high, random.random(shape) > 0.3


def _score(
    name: str,
    generated: Images,
    high: Images,
    mask: NDArray[np.bool_] | None = None,
    *,
    rows: tuple[int, ...] = (),
    columns: tuple[int, ...] = (),
) -> float:
    mask = np.ones_like(high, dtype=bool) if mask is None else mask
    return METRICS[name].function(Scored(generated, high, mask, rows, columns))


LINES = {"rows": (20,), "columns": (20, 40)}
TILES = (np.arange(40)[:, None] // 20 + np.arange(53) // 20) % 2 - 0.5


@pytest.mark.parametrize("name", METRICS)
def test_metrics_prefer_the_better_image_and_stay_in_their_range(name: str) -> None:
    metric = METRICS[name]
    generated, high, mask = _images()
    # Errors that grow as a whole, and at the lines most of all.
    flaw = generated - high
    images = [high + t * (flaw + t * TILES.astype(np.float32)) for t in (0.1, 0.5, 1.0)]
    values = [_score(name, image, high, mask, **LINES) for image in images]
    assert values == sorted(values, reverse=metric.direction == "maximize")
    assert len(set(values)) == 3
    for value in values:
        assert isinstance(value, float)
        assert metric.range[0] is None or value >= metric.range[0]
        assert metric.range[1] is None or value <= metric.range[1]


@pytest.mark.parametrize("name", METRICS)
def test_equal_images_have_the_best_value_and_json_can_hold_it(name: str) -> None:
    _, high, mask = _images()
    value = _score(name, high, high, mask, **LINES)
    json.dumps(value, allow_nan=False)
    best = 1.0 if name == "seam" else METRICS[name].range[METRICS[name].direction == "maximize"]
    assert best is None or value == pytest.approx(best)


@pytest.mark.parametrize("name", METRICS)
def test_what_a_diverged_network_puts_out_is_never_a_good_score(name: str) -> None:
    generated, high, mask = _images()
    generated[0] = np.nan
    assert math.isnan(_score(name, generated, high, mask, **LINES))


@pytest.mark.parametrize("name", METRICS)
def test_descriptions_go_into_the_manifest(name: str) -> None:
    described = json.loads(json.dumps(METRICS[name].describe(), allow_nan=False))
    assert set(described) == {"unit", "direction", "range", "description", "formula", "settings"}
    assert described["description"].endswith(".")
    assert described["formula"]


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


@pytest.mark.parametrize("name", ["psnr", "mse", "mae", "seam"])
def test_what_is_outside_the_mask_does_not_count(name: str) -> None:
    generated, high, mask = _images()
    before = _score(name, generated, high, mask, **LINES)
    generated[~mask] = 7
    assert _score(name, generated, high, mask, **LINES) == before


@pytest.mark.parametrize("name", [name for name in METRICS if name not in ("psnr", "mse", "mae", "seam")])
def test_what_is_outside_the_mask_counts(name: str) -> None:
    generated, high, mask = _images()
    before = _score(name, generated, high, mask)
    generated[~mask] = 7
    assert _score(name, generated, high, mask) != before


@pytest.mark.parametrize("name", ["psnr", "mse", "mae", "hallucination"])
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
    pooled = 20 * math.log10(255 / math.sqrt((0.04 + 0.64) / 2))
    assert _score("psnr_255_pooled", generated, high) == pytest.approx(pooled, abs=1e-4)


@pytest.mark.parametrize("name", ["psnr_255", "mse_study", "psnr_255_pooled", "ssim_study"])
def test_the_papers_scale_does_not_know_the_intensity_scale(name: str) -> None:
    generated, high, _ = _images()
    assert _score(name, 3 * generated + 1, 3 * high + 1) == pytest.approx(_score(name, generated, high), rel=1e-5)


@pytest.mark.parametrize("name", ["psnr_255", "mse_study", "psnr_255_pooled", "ssim_study"])
def test_constant_slices_have_no_standardised_scale(name: str) -> None:
    generated, high, _ = _images()
    expected = _score(name, generated[1:], high[1:])
    high[0] = 0.5
    assert _score(name, generated, high) == expected
    with pytest.raises(ValueError, match="constant"):
        _score(name, generated[:1], high[:1])


@pytest.mark.parametrize("seed", range(5))
def test_pooling_never_raises_the_papers_psnr(seed: int) -> None:
    random = np.random.default_rng(seed)
    high = random.random((4, 12, 12))
    generated = high + random.exponential(0.2, (4, 1, 1)) * random.normal(size=high.shape)
    assert _score("psnr_255_pooled", generated, high) < _score("psnr_255", generated, high)


@pytest.mark.parametrize("shape", [(3, 40, 53), (1, 7, 7), (2, 7, 30)])
def test_ssim_study_is_scikit_images_default_on_standardised_slices(shape: tuple[int, int, int]) -> None:
    generated, high, _ = _images(shape)
    expected = []
    for made, true in zip(generated.astype(float), high.astype(float), strict=True):
        mean, deviation = true.mean(), true.std()
        expected.append(structural_similarity((made - mean) / deviation, (true - mean) / deviation, data_range=2))
    assert _score("ssim_study", generated, high) == pytest.approx(np.mean(expected), abs=1e-9)


def test_seam_by_hand() -> None:
    # Along the row the error changes by 0.1, 0.1, then 0.6 across the line, then 0.1; from row to row it does not.
    error = np.array([[0.0, 0.1, 0.0, 0.6, 0.5]] * 3)[None]
    high = np.full(error.shape, 0.25)
    assert _score("seam", high + error, high, columns=(3,)) == pytest.approx(6, rel=1e-4)
    assert _score("seam", high + error, high, columns=(2,)) == pytest.approx(0.1 / ((0.1 + 0.6 + 0.1) / 3), rel=1e-4)
    turned = [image.swapaxes(1, 2) for image in (high + error, high)]
    assert _score("seam", *turned, rows=(3,)) == pytest.approx(6, rel=1e-4)


def test_seam_weighs_each_direction_against_itself() -> None:
    # Down the image the error changes by 0.01 a pixel, across it by 0.2: as much at the lines as elsewhere.
    rows, columns = np.mgrid[0:8, 0:9]
    error = (0.01 * (rows % 2) + 0.2 * (columns % 2))[None]
    assert _score("seam", error, np.zeros_like(error), columns=(4,)) == pytest.approx(1)
    assert _score("seam", error, np.zeros_like(error), rows=(4,)) == pytest.approx(1)
    assert _score("seam", error, np.zeros_like(error), rows=(4,), columns=(3, 6)) == pytest.approx(1)


def test_seam_counts_pairs_of_tissue_only() -> None:
    error = np.array([[[0.0, 0.1, 0.0, 0.6, 0.5]] * 2])
    mask = np.ones(error.shape, dtype=bool)
    mask[:, :, 3:] = False
    assert _score("seam", error, np.zeros_like(error), mask, columns=(3,)) == 1
    assert _score("seam", error, np.zeros_like(error), mask, columns=(1,)) == pytest.approx(1, rel=1e-4)


def test_without_lines_or_pairs_to_compare_with_there_is_no_seam() -> None:
    generated, high, mask = _images()
    assert _score("seam", generated, high, mask) == 1
    assert _score("seam", generated, high, mask, rows=tuple(range(1, 40))) == 1
    assert _score("seam", high + 0.5, high, mask, **LINES) == pytest.approx(1, abs=0.2)


def test_a_step_at_the_lines_alone_is_a_finite_and_very_bad_seam() -> None:
    high = np.full((1, 40, 53), 0.5)
    value = _score("seam", high + 0.1 * TILES, high, **LINES)
    assert 1e4 < value < 1e6


@pytest.mark.parametrize("seed", range(3))
def test_noise_without_seams_has_a_seam_of_about_1(seed: int) -> None:
    rows, columns = plan_stitch(96, 120, size=64, stride=20, crop=4, blend="average").seams
    noise = np.random.default_rng(seed).normal(size=(4, 96, 120))
    assert _score("seam", noise, np.zeros_like(noise), rows=rows, columns=columns) == pytest.approx(1, abs=0.03)


def test_the_more_a_tile_is_shifted_in_intensity_the_stronger_the_seam() -> None:
    rows, columns = plan_stitch(96, 120, size=64, stride=56, crop=4, blend="crop").seams
    noise = np.random.default_rng(0).normal(0, 0.02, size=(2, 96, 120))
    values = []
    for shift in (0.0, 0.02, 0.05, 0.1):
        error = noise.copy()
        error[:, rows[0] :, : columns[0]] += shift
        values.append(_score("seam", error, np.zeros_like(error), rows=rows, columns=columns))
    assert values == sorted(values)
    assert values[-1] > 1.5


def test_hallucination_is_what_scipy_makes_of_its_formula() -> None:
    random = np.random.default_rng(0)
    high = ndimage.gaussian_filter(random.random((2, 30, 41)), (0, 2, 2))
    generated = ndimage.gaussian_filter(random.random(high.shape), (0, 1, 1))
    mask = random.random(high.shape) > 0.4
    invented, true = 0.0, 0.0
    for made, real, inside in zip(generated, high, mask, strict=True):
        edges = ndimage.gaussian_gradient_magnitude(real, 1.0, mode="nearest")
        excess = ndimage.gaussian_gradient_magnitude(made, 1.0, mode="nearest") - ndimage.maximum_filter(edges, 5)
        invented += np.maximum(excess, 0)[inside].sum()
        true += edges[inside].sum()
    assert invented / true > 0.1
    # The two have nothing to do with each other, so that no gain is divided out.
    assert _score("hallucination", generated, high, mask) == pytest.approx(invented / true, rel=1e-6)


def _drawing() -> Images:
    """Slices of tissue with edges and shades: (2, 64, 64)."""
    blocks = np.random.default_rng(1).random((2, 8, 8)).repeat(8, 1).repeat(8, 2)
    drawing: Images = (0.3 + 0.4 * ndimage.gaussian_filter(blocks, (0, 0.7, 0.7))).astype(np.float32)
    drawing[:, 16:48, 16:48] = 0.5
    return drawing


def _blob(height: float) -> Images:
    rows, columns = np.mgrid[0:64, 0:64] - 32
    return (height * np.exp(-(rows**2 + columns**2) / (2 * 3.0**2))).astype(np.float32)


def test_structure_that_is_not_in_the_truth_is_hallucinated() -> None:
    high = _drawing()
    values = [_score("hallucination", high + _blob(height), high) for height in (0.0, 0.05, 0.1, 0.2)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[1] > 0.01


@pytest.mark.parametrize(
    "change",
    [
        lambda high: ndimage.gaussian_filter(high, (0, 1.5, 1.5)),
        lambda high: np.roll(high, 1, axis=1),
        lambda high: np.roll(high, (1, -1), axis=(1, 2)),
        lambda high: 1.3 * high,
        lambda high: 0.6 * high + 0.2,
        lambda high: np.full_like(high, 0.4),
    ],
    ids=["blur", "a pixel down", "a pixel down and across", "too much contrast", "too little contrast", "nothing"],
)
def test_what_is_lost_shifted_or_stretched_is_hardly_hallucinated(change: Callable[[Images], Images]) -> None:
    high = _drawing()
    mask = np.zeros(high.shape, dtype=bool)
    mask[:, 8:-8, 8:-8] = True
    added = _score("hallucination", high + _blob(0.1), high, mask)
    assert _score("hallucination", change(high), high, mask) < 0.1 * added


def test_a_constant_truth_has_no_edges_to_divide_by() -> None:
    high = np.full((1, 20, 20), 0.5, dtype=np.float32)
    assert _score("hallucination", high, high) == 0
    assert 0 < _score("hallucination", high + _blob(0.1)[22:42, 22:42], high) < math.inf


def test_background_by_hand() -> None:
    # Two slices whose background is off by +0.1 and -0.3, and one that is tissue all over.
    high = np.full((3, 6, 8), 0.5)
    mask = np.zeros(high.shape, dtype=bool)
    mask[:, 2:4, 2:5], mask[2] = True, True
    generated = high + np.array([0.1, -0.3, 0.9])[:, None, None]
    generated[mask] += 5
    assert _score("background", generated, high, mask) == pytest.approx(0.2)
    assert _score("background", generated, high, np.ones_like(mask)) == 0


def test_noise_that_averages_out_is_no_drift_of_the_background() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, size=(3, 64, 64))
    assert _score("background", noise, np.zeros_like(noise), np.zeros(noise.shape, dtype=bool)) < 0.005
