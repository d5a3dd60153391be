import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mrisynth.data.patches import PatchConfig, PatchLocations, StitchConfig, extract, mirror, sample_locations
from mrisynth.errors import InvalidInputError


def draw(shape=(20, 24, 28), *, count=60, seed=0, mask=None, **settings):
    # Not PatchConfig(...): patches smaller than it allows make small examples.
    config = PatchConfig().model_copy(update={"size": 8, "tissue": 0.0, **settings})
    mask = np.ones(shape, np.uint8) if mask is None else mask
    return sample_locations(mask, config, count=count, generator=np.random.default_rng(seed))


def one(axis, index, row, column):
    return PatchLocations(*(np.array([value]) for value in (axis, index, row, column)))


@pytest.mark.parametrize(
    ("axis", "expected"),
    [(0, np.s_[3, 1:5, 2:6]), (1, np.s_[1:5, 3, 2:6]), (2, np.s_[1:5, 2:6, 3])],
)
def test_a_patch_is_a_window_of_one_slice(axis, expected):
    volume = np.arange(6 * 7 * 8).reshape(6, 7, 8)
    patches = extract(volume, one(axis, 3, 1, 2), 4)
    np.testing.assert_array_equal(patches, volume[expected][None, None])


def test_a_volume_smaller_than_the_patch_is_mirrored_around_its_centre():
    volume = np.random.default_rng(0).random((3, 5, 4), dtype=np.float32)
    locations = draw(volume.shape, size=8, count=1, axes=(0,))
    plane = np.pad(volume[locations.index[0]], ((1, 2), (2, 2)), mode="reflect")
    np.testing.assert_array_equal(extract(volume, locations, 8), plane[None, None])


@given(length=st.integers(1, 9), beyond=st.integers(0, 30))
def test_mirrored_positions_are_numpys_reflected_padding(length, beyond):
    expected = np.pad(np.arange(length), beyond, mode="reflect")
    np.testing.assert_array_equal(mirror(np.arange(-beyond, length + beyond), length), expected)


@given(shape=st.tuples(*[st.integers(1, 12)] * 3), size=st.integers(1, 14), count=st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_every_patch_lies_in_its_volume(shape, size, count):
    locations = draw(shape, size=size, count=count)
    assert len(locations) == count
    assert extract(np.zeros(shape, np.float32), locations, size).shape == (count, 1, size, size)
    for axis, index, row, column in zip(locations.axis, locations.index, locations.row, locations.column, strict=True):
        rest = [length for other, length in enumerate(shape) if other != axis]
        assert 0 <= index < shape[axis]
        for first, length in zip((row, column), rest, strict=True):
            assert 0 <= first <= length - size or first == -((size - length) // 2)


def test_the_axes_share_the_patches_equally():
    assert np.bincount(draw(count=300).axis).tolist() == [100, 100, 100]
    assert np.bincount(draw(count=8, axes=(2, 0)).axis).tolist() == [4, 0, 4]
    assert np.bincount(draw(count=8).axis).tolist() == [3, 3, 2]


def test_the_same_seed_draws_the_same_patches():
    first, again, other = draw(seed=1), draw(seed=1), draw(seed=2)
    assert np.array_equal(first.row, again.row)
    assert not np.array_equal(first.row, other.row)


def test_places_are_drawn_uniformly():
    locations = draw((4, 9, 8), size=8, count=8000, axes=(0,))
    counts = np.unique(np.stack([locations.index, locations.row], 1), axis=0, return_counts=True)[1]
    # 8 equally likely places: 1,000 each, with a deviation of 30.
    assert len(counts) == 8
    assert abs(counts - 1000).max() < 150


@pytest.mark.parametrize("shape", [(20, 24, 28), (20, 6, 28)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_patch_holds_the_tissue_asked_for(shape, axis):
    mask = np.zeros(shape, np.uint8)
    mask[5:9, 2:8, 4:12] = 1
    limit = 0.3
    locations = draw(shape, count=200, axes=(axis,), mask=mask, tissue=limit)
    assert extract(mask, locations, 8).mean((1, 2, 3)).min() >= limit


def test_the_tissue_limit_leaves_out_nothing_else():
    mask = np.zeros((1, 10, 9), np.uint8)
    mask[0, :, 0] = 1
    # Of the two columns where a patch of 8 may begin only the first touches tissue, in any of the three rows.
    locations = draw(mask.shape, count=100, axes=(0,), mask=mask, tissue=1 / 8)
    assert set(locations.column) == {0}
    assert set(locations.row) == {0, 1, 2}


def test_no_patch_with_enough_tissue_is_an_error_that_says_what_to_change():
    with pytest.raises(InvalidInputError, match=r"across axis 1 of the 20 x 24 x 28 volume.*lower patches\.tissue"):
        draw(axes=(1,), mask=np.zeros((20, 24, 28), np.uint8), tissue=0.1)


def in_tissue(mask, locations, size=8):
    """Whether each patch's centre is tissue, read off by hand."""
    half = size // 2
    places = zip(locations.axis, locations.index, locations.row + half, locations.column + half, strict=True)
    return np.array([np.moveaxis(mask, axis, 0)[index, row, column] != 0 for axis, index, row, column in places])


@pytest.fixture
def small_tissue():
    mask = np.zeros((20, 24, 28), np.uint8)
    mask[8:12, 8:14, 10:16] = 1
    return mask


@pytest.mark.parametrize(
    ("foreground", "centred"), [(0.5, [150, 150, 150]), (1.0, [300, 300, 300]), (0.001, [1, 0, 0])]
)
def test_the_share_of_centres_in_tissue_is_what_was_asked_for(small_tissue, foreground, centred):
    locations = draw(mask=small_tissue, count=900, foreground=foreground)
    found = in_tissue(small_tissue, locations)
    assert [found[locations.axis == axis][:count].all() for axis, count in enumerate(centred)] == [True] * 3
    # All others are drawn anywhere: 144 of 20 * 17 * 21 places and less have their centre in tissue, about 2 %.
    assert sum(centred) <= found.sum() <= sum(centred) + 0.06 * (900 - sum(centred))


def test_centres_are_drawn_uniformly_from_the_tissue():
    mask = np.zeros((4, 9, 8), np.uint8)
    mask[1:3, 4, 4] = 1  # where one patch of a slice has its centre
    locations = draw(mask=mask, count=4000, axes=(0,), foreground=1.0)
    assert set(locations.row) == {0}
    assert np.bincount(locations.index).tolist() == pytest.approx([0, 2000, 2000], abs=150)


def test_centres_in_tissue_keep_to_the_least_part_of_tissue(small_tissue):
    limit = 24 / 64
    locations = draw(mask=small_tissue, count=300, foreground=0.5, tissue=limit)
    assert extract(small_tissue, locations, 8).mean((1, 2, 3)).min() >= limit


def test_nothing_else_is_drawn_where_no_centre_is_asked_for(small_tissue):
    before, after = draw(mask=small_tissue, tissue=0.1), draw(mask=small_tissue, tissue=0.1, foreground=0.0)
    np.testing.assert_array_equal(before.row, after.row)


@pytest.mark.parametrize("shape", [(20, 6, 28), (20, 1, 28), (1, 1, 1)])
def test_a_patch_larger_than_its_volume_has_a_centre_in_it(shape):
    locations = draw(mask=np.ones(shape, np.uint8), count=30, foreground=1.0)
    assert len(locations) == 30


def test_no_centre_in_tissue_is_an_error_that_says_what_to_change():
    mask = np.zeros((20, 24, 28), np.uint8)
    mask[:, :2] = 1  # along the rim, where no patch has its centre
    with pytest.raises(InvalidInputError, match=r"across axis 0 .* tissue in its centre; set patches\.foreground to 0"):
        draw(mask=mask, foreground=0.5)


def test_a_key_knows_a_later_field_only_where_it_is_used():
    assert PatchConfig().content() == {"size": 64, "per_subject": 300, "axes": [0, 1, 2], "tissue": 0.1, "seed": 0}
    assert PatchConfig(foreground=0.5).content() == {**PatchConfig().content(), "foreground": 0.5}


@pytest.mark.parametrize(
    "values", [{"axes": (0, 0)}, {"axes": ()}, {"axes": (3,)}, {"size": 4}, {"tissue": 1.1}, {"foreground": -0.1}]
)
def test_a_patch_config_that_makes_no_sense_is_refused(values):
    with pytest.raises(ValidationError):
        PatchConfig(**values)


def test_the_defaults_are_the_papers():
    assert (PatchConfig().size, PatchConfig().per_subject, PatchConfig().axes) == (64, 300, (0, 1, 2))
    assert (StitchConfig().stride, StitchConfig().crop, StitchConfig().blend) == (20, 4, "average")


@pytest.mark.parametrize(
    ("stride", "crop", "size", "message"),
    [(57, 4, 64, "at most 56"), (20, 4, 16, "at most 8"), (1, 32, 64, "at most 31")],
)
def test_a_patch_size_that_leaves_gaps_is_refused(stride, crop, size, message):
    with pytest.raises(ValueError, match=message):
        StitchConfig(stride=stride, crop=crop).check_size(size)


def test_patches_that_just_meet_are_fine():
    StitchConfig(stride=56, crop=4).check_size(64)
