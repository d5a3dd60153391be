import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prepared_fixtures import make_store, make_volumes
from skimage.exposure import match_histograms

from mrisynth.data import slices
from mrisynth.data.slices import choose_slices, match_histogram
from mrisynth.data.store.prepared import open_cohort
from mrisynth.errors import InvalidInputError

SHAPE = (12, 20, 24)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store")).store


@pytest.fixture
def cohort(store):
    return open_cohort(store)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_those_of_the_scans_on_the_unit_scale(cohort, axis):
    found = slices.ensure(cohort, axis=axis, count=4)
    assert [subject.subject for subject in found] == ["cat", "dog"]
    for subject in found:
        low, high, mask = (
            np.moveaxis(volume, axis, 0)[subject.indices] for volume in make_volumes(subject.subject, SHAPE)
        )
        assert len(subject.indices) == 4
        np.testing.assert_allclose(subject.low, low / 1000, rtol=1e-6)
        np.testing.assert_allclose(subject.high, high / 1000, rtol=1e-6)
        np.testing.assert_array_equal(subject.mask, mask == 1)
        assert subject.mask.dtype == bool
        assert subject.low.dtype == subject.matched.dtype == np.float32


def test_the_low_standard_is_the_whole_volumes(cohort):
    cat = slices.ensure(cohort)[0]
    low = make_volumes("cat", SHAPE)[0].astype(np.float64) / 1000
    assert cat.low_standard.mean == pytest.approx(low.mean())
    assert cat.low_standard.std == pytest.approx(low.std())


@pytest.mark.parametrize(("axis", "spacing"), [(0, (0.4, 0.2, 0.3)), (1, (0.2, 0.4, 0.3)), (2, (0.3, 0.4, 0.2))])
def test_spacing_is_across_then_along_the_slices(cohort, axis, spacing):
    assert slices.ensure(cohort, axis=axis)[0].spacing == spacing


def test_slices_are_mapped_not_read(cohort):
    cat = slices.ensure(cohort)[0]
    for array in (cat.low, cat.high, cat.mask, cat.matched):
        assert not array.flags.owndata
        assert not array.flags.writeable


def test_every_slice_shows_tissue_and_there_are_no_more_than_that(cohort):
    # Tissue fills slices 3 to 11 of the 12.
    assert slices.ensure(cohort, count=50)[0].indices.tolist() == list(range(3, 12))


def test_the_same_cohort_gives_the_same_slices_wherever_it_lies(tmp_path, cohort):
    first, second = slices.ensure(cohort)[0], slices.ensure(make_store(tmp_path))[0]
    np.testing.assert_array_equal(first.indices, second.indices)
    np.testing.assert_array_equal(first.matched, second.matched)


def test_they_are_published_once(cohort, monkeypatch):
    first = slices.ensure(cohort, count=3)[0]
    monkeypatch.setattr(slices, "write_arrays", None)
    np.testing.assert_array_equal(slices.ensure(cohort, count=3)[0].low, first.low)


def test_reading_the_test_split_is_counted_every_time(tmp_path):
    cohort = make_store(tmp_path)
    for reads in (1, 2):
        assert [subject.subject for subject in slices.ensure(cohort, split="test")] == ["eel"]
        assert json.loads((tmp_path / "cohort.json").read_text(encoding="utf-8"))["test_reads"] == reads


def test_a_split_without_subjects_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no validation subject"):
        slices.ensure(make_store(tmp_path, {"ant": "train"}))


def test_an_empty_mask_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "prepared_fixtures.make_volumes",
        lambda name, shape: (*make_volumes(name, shape)[:2], np.zeros(shape, np.uint8)),
    )
    with pytest.raises(InvalidInputError, match="subject cat has no tissue"):
        slices.ensure(make_store(tmp_path))


@given(slices=st.integers(1, 200), count=st.integers(1, 30), seed=st.integers(0, 100))
def test_slices_are_evenly_spaced(slices, count, seed):
    indices = choose_slices(np.ones(slices, np.int64), count=count, seed=seed)
    assert len(indices) == min(count, slices)
    assert indices[0] >= 0
    assert indices[-1] < slices
    if len(indices) > 1:
        steps = np.diff(indices)
        assert steps.min() >= 1
        assert steps.max() - steps.min() <= 1
    # The ring closes: from the last slice around to the first it is as far as between the others.
    assert abs((indices[0] + slices - indices[-1]) - slices / len(indices)) <= 1


def test_the_seed_moves_the_slices():
    tissue = np.ones(100, np.int64)
    assert len({choose_slices(tissue, count=4, seed=seed)[0] for seed in range(20)}) > 5


def test_the_tips_of_a_specimen_are_left_out():
    tissue = np.array([0, 9, 10, 100, 60, 11, 0, 3])
    assert choose_slices(tissue, count=8, seed=0).tolist() == [2, 3, 4, 5]


def histogram(values):
    return np.histogram(values, 1000, (0, 1000))[0].astype(np.float64)


def test_matching_agrees_with_scikit_image():
    generator = np.random.default_rng(0)
    low = (1000 * generator.beta(2, 5, (40, 50, 60))).astype(np.float32)
    high = (1000 * generator.beta(5, 2, (40, 50, 60))).astype(np.float32)
    matched = match_histogram(low[7:9], histogram(low), histogram(high))
    assert matched.dtype == np.float32
    # A bin is 1 wide; scikit-image works on the values themselves.
    np.testing.assert_allclose(matched, match_histograms(low, high)[7:9], atol=2.5)


def test_a_linear_change_of_contrast_is_undone():
    high = np.random.default_rng(0).uniform(200, 800, 200_000)
    low = (high - 200) / 2 + 100
    np.testing.assert_allclose(match_histogram(low.astype(np.float32), histogram(low), histogram(high)), high, atol=1.5)


def test_matching_is_monotone_even_with_gaps_and_heaps():
    generator = np.random.default_rng(0)
    low = np.concatenate([np.zeros(500), generator.uniform(300, 400, 500), np.full(100, 1000)])
    high = np.concatenate([np.full(700, 50), generator.uniform(600, 610, 100)])
    mapped = match_histogram(np.linspace(0, 1000, 5001, dtype=np.float32), histogram(low), histogram(high))
    assert np.diff(mapped).min() >= 0
    assert mapped.min() >= 50
    assert mapped.max() <= 611


def test_the_training_split_decides_what_is_matched_to(cohort):
    cat = slices.ensure(cohort)[0]
    highs = np.concatenate([make_volumes(name, SHAPE)[1].ravel() for name in ("ant", "bee")])
    expected = match_histograms(make_volumes("cat", SHAPE)[0], highs.reshape(-1, 1, 1))[cat.indices]
    # Alike but for voxels in bins that straddle the gap between ground and tissue.
    assert np.quantile(np.abs(cat.matched - expected / 1000), 0.99) < 0.001
    assert np.quantile(np.abs(cat.low - expected / 1000), 0.5) > 0.05
