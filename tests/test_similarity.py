import numpy as np
import pytest
from scipy import ndimage

from mrisynth.data.preparation.similarity import Comparison

SHAPE = (14, 16, 15)


def texture(seed: int, shape=SHAPE):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return (0.5 + 0.2 * noise / noise.std()).astype(np.float32)


def compare(fixed, moving, *, scale=1.0, radius=2):
    """A comparison in the middle of the scans, whose moving scan has `scale` voxels to one of the fixed scan."""
    mask = np.zeros(fixed.shape, bool)
    mask[3:-3, 3:-3, 3:-3] = True
    start = (np.stack(np.nonzero(mask)) * scale).astype(np.float32)
    return Comparison.of(fixed, moving, mask=mask, start=start, scale=scale, radius=radius)


def test_a_scan_resembles_itself_and_its_negative_but_not_another() -> None:
    scan = texture(0)
    still = np.zeros((3, 8 * 10 * 9), np.float32)
    same, negative, other = (compare(scan, moving).value(still)[0] for moving in (scan, 1 - scan, texture(1)))
    assert same > 0.8
    assert negative == pytest.approx(same, abs=1e-5)
    assert other < 0.3


def test_flat_scans_resemble_nothing_and_pull_nowhere() -> None:
    flat = np.full(SHAPE, 0.3, np.float32)
    value, slope = compare(flat, flat).value(np.zeros((3, 8 * 10 * 9), np.float32))
    assert value == pytest.approx(0, abs=1e-6)
    assert not slope.any()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_gradient_is_the_change_of_the_value(scale) -> None:
    moving = texture(3, tuple(int(scale * length) for length in SHAPE))
    comparison = compare(texture(2), moving, scale=scale)
    rng = np.random.default_rng(4)
    # Between voxels, where linear reading has a slope.
    displacement = rng.uniform(0.2, 0.3, (3, 8 * 10 * 9)).astype(np.float32) / np.float32(scale)
    change = rng.normal(size=displacement.shape).astype(np.float32)
    up, down = (comparison.value(displacement + np.float32(sign * 0.01) * change)[0] for sign in (1, -1))
    assert (up - down) / 0.02 == pytest.approx(np.sum(comparison.value(displacement)[1] * change), rel=0.02, abs=1e-5)


def test_a_scan_moved_by_whole_voxels_is_found_there() -> None:
    scan = texture(5)
    comparison = compare(scan, np.roll(scan, 2, axis=1))
    there = np.zeros((3, 8 * 10 * 9), np.float32)
    there[1] = 2
    assert comparison.value(there)[0] > 0.75
    assert comparison.value(np.zeros_like(there))[0] < 0.5


def test_beyond_the_edge_the_moving_scan_goes_on() -> None:
    scan = texture(6)
    value, slope = compare(scan, scan).value(np.full((3, 8 * 10 * 9), 1e4, np.float32))
    assert value == pytest.approx(0, abs=1e-4)
    assert np.isfinite(slope).all()
