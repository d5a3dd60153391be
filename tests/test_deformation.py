import numpy as np
import pytest
import SimpleITK as sitk

from mrisynth.data.phantom.deformation import Misalignment, misalign

Points = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@pytest.fixture
def grid() -> sitk.Image:
    """40 x 48 x 56 voxels of 0.2 mm, turned, away from the origin."""
    grid = sitk.Image([40, 48, 56], sitk.sitkUInt8)
    grid.SetSpacing([0.2, 0.2, 0.2])
    grid.SetOrigin([3.0, -4.0, 5.0])
    grid.SetDirection([0, -1, 0, 1, 0, 0, 0, 0, 1])
    return grid


@pytest.fixture
def points(grid: sitk.Image) -> Points:
    index = np.random.default_rng(1).uniform(0, [39, 47, 55], (300, 3)).tolist()
    return np.array([grid.TransformContinuousIndexToPhysicalPoint(at) for at in index])


def draw(grid: sitk.Image, seed: int = 0, **settings: float) -> Misalignment:
    nothing = {"degrees": 0.0, "scale": 0.0, "shift": 0.0, "warp": 0.0}
    return misalign(np.random.default_rng(seed), grid, **(nothing | settings))


def through(transform: sitk.Transform, points: Points) -> Points:
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def test_the_inverse_is_exact_to_a_fiftieth_of_a_millimetre(grid: sitk.Image, points: Points) -> None:
    move = draw(grid, degrees=4, scale=0.02, shift=0.6, warp=3)
    back = through(move.backward, through(move.forward, points))
    assert np.linalg.norm(back - points, axis=1).max() < 0.02


def test_without_settings_nothing_moves(grid: sitk.Image, points: Points) -> None:
    np.testing.assert_allclose(through(draw(grid).forward, points), points, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_warp_stays_below_its_limit_and_folds_nowhere(grid: sitk.Image, points: Points, seed: int) -> None:
    warp = draw(grid, seed, warp=3.0).forward
    moved = np.linalg.norm(through(warp, points) - points, axis=1)
    assert 0.2 < moved.max() <= 3.0 * 0.2
    step = 0.01
    columns = [(through(warp, points + step * axis) - through(warp, points)) / step for axis in np.eye(3)]
    assert np.linalg.det(np.stack(columns, axis=-1)).min() > 0


def test_rotation_and_scale_keep_the_middle_where_it_is(grid: sitk.Image) -> None:
    middle = np.array([grid.TransformContinuousIndexToPhysicalPoint([19.5, 23.5, 27.5])])
    move = draw(grid, degrees=4, scale=0.02)
    np.testing.assert_allclose(through(move.forward, middle), middle, atol=1e-9)
    assert np.linalg.norm(through(move.forward, middle + 3) - middle - 3) > 0.01


def test_the_shift_stays_below_its_limit(grid: sitk.Image, points: Points) -> None:
    shift = (through(draw(grid, shift=0.6).forward, points) - points)[0]
    assert 0 < np.abs(shift).max() <= 0.6


def test_the_same_seed_moves_alike(grid: sitk.Image, points: Points) -> None:
    first, again, other = (through(draw(grid, seed, warp=2).forward, points) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
