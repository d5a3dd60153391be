import numpy as np
import pytest
from scipy import ndimage

from mrisynth.training.windows import WindowSums, gaussian, gradients, greatest_nearby, uniform

SHAPES = [(11, 11), (11, 64), (27, 26), (53, 40)]


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_window_sums_are_those_of_scipy_wherever_the_window_fits(height: int, width: int) -> None:
    images = np.random.default_rng(0).random((2, height, width))
    down, across = (0.2, -0.5, 0.9), gaussian(11, 1.5)
    expected = ndimage.correlate(images, np.multiply.outer(down, across)[None])[:, 1:-1, 5 : width - 5]
    sums = WindowSums(images.shape, down, across)
    sums(images + 1)
    np.testing.assert_allclose(sums(images), expected, atol=1e-12)


def test_the_weights_of_means_add_up_to_1() -> None:
    assert uniform(4) == (0.25,) * 4
    assert gaussian(3, 1.0) == pytest.approx(np.array([np.exp(-0.5), 1, np.exp(-0.5)]) / (1 + 2 * np.exp(-0.5)))


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_gradients_are_those_of_scipy(height: int, width: int) -> None:
    image = np.random.default_rng(1).random((height, width), dtype=np.float32)
    for axis, found in enumerate(gradients(image)):
        order = (1, 0) if axis == 0 else (0, 1)
        expected = ndimage.gaussian_filter(image.astype(float), 1.0, order=order, mode="nearest")
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_gradient_of_a_ramp_is_its_slope() -> None:
    down, across = gradients(np.mgrid[0:20, 0:30][1] * 0.1)
    np.testing.assert_allclose(down, 0, atol=1e-12)
    np.testing.assert_allclose(across[:, 4:-4], 0.1, rtol=2e-3)


@pytest.mark.parametrize("reach", [1, 2])
def test_the_greatest_nearby_is_that_of_scipy(reach: int) -> None:
    image = np.random.default_rng(2).random((17, 23))
    np.testing.assert_array_equal(greatest_nearby(image, reach), ndimage.maximum_filter(image, 2 * reach + 1))
