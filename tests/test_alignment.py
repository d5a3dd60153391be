import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from mrisynth.data.preparation.alignment import Alignment, correlation, jacobian_range, measure, residual_shift

GOOD = Alignment(
    correlation_before=0.4,
    correlation_after=0.9,
    residual_shift=(0.01, 0.0, 0.02),
    residual_voxels=(0.05, 0.0, 0.1),
    jacobian_min=0.8,
    jacobian_max=1.2,
    coverage=1.0,
)
QUARTER_TURN = (0, -1, 0, 1, 0, 0, 0, 0, 1)


@pytest.fixture(scope="module")
def texture():
    """Smooth noise, (40, 40, 40), of which parts can be cut out at known places."""
    return ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((40, 40, 40)), 2).astype(np.float32)


def as_image(array, *, spacing=(1, 1, 1), direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return image


def box_mask(**geometry):
    """A mask of 20 voxels an axis, 1 in its inner 12."""
    array = np.zeros((20, 20, 20), np.uint8)
    array[4:16, 4:16, 4:16] = 1
    return as_image(array, **geometry)


def displacement(function, grid):
    """The transform that moves each point of a grid (points in mm, last axis x, y, z) by a function of it."""
    depth, height, width = np.indices(grid.GetSize()[::-1])
    points = np.stack([width, height, depth], axis=-1) * np.array(grid.GetSpacing())
    field = sitk.GetImageFromArray(function(points).astype(np.float64), isVector=True)
    field.CopyInformation(grid)
    return sitk.DisplacementFieldTransform(field)


def test_correlation_of_identical_scans_is_1(texture):
    assert correlation(texture, texture, np.ones_like(texture)) == pytest.approx(1)
    assert correlation(texture, 5 - 3 * texture, np.ones_like(texture)) == pytest.approx(-1)


def test_correlation_counts_the_mask_alone():
    # (-1, 0, 1) and (-1, 1, 0) about their means: covariance 1, both variances 2.
    low = np.array([[[1, 2, 3, 900]]])
    high = np.array([[[10, 30, 20, -7]]])
    assert correlation(low, high, np.array([[[1, 1, 255, 0]]])) == pytest.approx(0.5)


@pytest.mark.parametrize("mask", [0, 1])
def test_correlation_with_nothing_to_correlate_is_0(mask):
    constant, other = np.full((2, 2, 2), 3.0), np.arange(8.0).reshape(2, 2, 2)
    assert correlation(constant, other, np.full((2, 2, 2), mask)) == 0


@pytest.mark.parametrize("shift", [(0, 0, 0), (2, 0, 0), (0, -1, 0), (0, 0, 2), (-1, 1, 0)])
def test_residual_shift_is_how_far_the_low_scan_has_to_move(texture, shift):
    # The low scan's voxel i shows what the high scan's voxel i + shift shows.
    high = texture[8:32, 8:32, 8:32]
    low = texture[tuple(slice(8 + step, 32 + step) for step in shift)]
    assert residual_shift(low, high, np.ones_like(high)) == pytest.approx(shift, abs=0.2)


def test_residual_shift_finds_parts_of_a_voxel(texture):
    high = texture[8:32, 8:32, 8:32]
    low = ndimage.shift(texture, (0.4, 0, -0.3))[8:32, 8:32, 8:32]
    assert residual_shift(low, high, np.ones_like(high)) == pytest.approx((-0.4, 0, 0.3), abs=0.1)


def test_residual_shift_stops_at_its_reach(texture):
    high, low = texture[10:30, 10:30, 10:30], texture[14:34, 10:30, 10:30]
    assert residual_shift(low, high, np.ones_like(high))[0] == 3


def test_measure_tells_mm_and_voxels_on_array_axes(texture):
    geometry = {"spacing": (0.1, 0.2, 0.5), "direction": QUARTER_TURN}
    high, low = (as_image(texture[8 + step : 32 + step, 8:32, 8 - step : 32 - step], **geometry) for step in (0, 2))
    tissue = sitk.Cast(high > -100, sitk.sitkUInt8)
    mask = sitk.GetArrayFromImage(tissue)
    mask[:6] = 0
    mask = as_image(mask, **geometry)
    found = measure(high, low, high, transform=sitk.Transform(3, sitk.sitkIdentity), tissue=tissue, mask=mask)
    assert found.residual_voxels == pytest.approx((2, 0, -2), abs=0.2)
    assert found.residual_shift == pytest.approx((2 * 0.5, 0, -2 * 0.1), abs=0.1)
    assert found.correlation_before == pytest.approx(1)
    assert found.correlation_after == pytest.approx(
        np.corrcoef(sitk.GetArrayFromImage(low).ravel(), sitk.GetArrayFromImage(high).ravel())[0, 1]
    )
    assert found.coverage == 18 / 24


def test_jacobian_of_the_identity_is_1():
    assert jacobian_range(sitk.Transform(3, sitk.sitkIdentity), box_mask()) == (1, 1)


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), QUARTER_TURN])
def test_jacobian_of_a_scaling_is_the_product_of_its_factors(direction):
    scaling = sitk.AffineTransform(3)
    scaling.SetMatrix((1.5, 0, 0, 0, 0.8, 0, 0, 0, 1.2))
    found = jacobian_range(scaling, box_mask(spacing=(0.2, 0.3, 0.7), direction=direction))
    assert found == pytest.approx((1.44, 1.44), rel=1e-4)


def test_jacobian_of_a_folding_field_is_negative_and_flagged():
    grid = box_mask(spacing=(0.5, 0.5, 0.5))

    # 1.5 mm of sine with a period of 8 voxels: by central differences 1 -+ 1.5 sin(2 pi / 8) / 0.5.
    def wave(points):
        return np.stack([1.5 * np.sin(2 * np.pi * points[..., 0] / 4), *np.zeros((2, 20, 20, 20))], axis=-1)

    least, largest = jacobian_range(displacement(wave, grid), grid)
    assert (least, largest) == pytest.approx((1 - 3 * np.sqrt(0.5), 1 + 3 * np.sqrt(0.5)), rel=1e-4)
    folded = GOOD.model_copy(update={"jacobian_min": least})
    assert folded.flags() == ["the transform folds the tissue (least Jacobian determinant -1.121)"]


def test_a_field_that_folds_only_outside_the_mask_is_not_reported():
    grid = box_mask()

    def step(points):
        return np.where(points[..., :1] < 2, -5 * points, 0)

    assert jacobian_range(displacement(step, grid), grid) == pytest.approx((1, 1))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"correlation_after": 0.3}, "registration lowered the correlation in the tissue from 0.400 to 0.300"),
        ({"residual_voxels": (0.0, -2.5, 0.0)}, "the low scan still lies 2.5 voxels beside the high scan"),
        ({"coverage": 0.8}, "the low scan shows only 80% of the high scan's tissue"),
    ],
)
def test_what_deserves_a_look_is_flagged(changed, sentence):
    assert GOOD.flags() == []
    assert GOOD.model_copy(update=changed).flags() == [sentence]
