from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from mrisynth.data.cohort import check_pairs, read_pairs
from mrisynth.data.phantom.anatomy import HIGH, LOW, grow
from mrisynth.data.phantom.cohort import PhantomConfig, make_cohort
from mrisynth.data.phantom.deformation import STRIDE
from mrisynth.data.phantom.truth import Truth, remaining_bias
from mrisynth.data.scans.volumes import Volume, read_volume, write_volume
from mrisynth.errors import InvalidInputError

SIZE = (48, 56, 40)
STILL = {"degrees": 0, "scale": 0, "shift": 0, "warp": 0}
CLEAN = {"high_noise": 0, "low_noise": 0}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects, as everybody gets them."""
    return make_cohort(tmp_path_factory.mktemp("cohort"), subjects=2, size=SIZE, jobs=1).parent


@pytest.fixture(scope="module")
def truth(cohort: Path) -> Truth:
    return Truth.load(cohort / "truth" / "phantom-01.npz")


def scan(folder: Path, name: str) -> Volume:
    return read_volume(folder / f"{name}.nii.gz")


def true_transform(truth: Truth) -> sitk.Transform:
    """The truth as a transform from high to low, linear between its points."""
    field = sitk.GetImageFromArray((truth.low_points - truth.high_points).astype(float), isVector=True)
    first = truth.high_points[0, 0, 0].astype(float)
    field.SetOrigin(first.tolist())
    field.SetSpacing((truth.high_points[1, 1, 1] - first).tolist())
    return sitk.DisplacementFieldTransform(field)


def correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_the_cohort_passes_its_own_checks(cohort: Path) -> None:
    pairs = read_pairs(cohort / "pairs.csv")
    assert [pair.subject for pair in pairs] == ["phantom-01", "phantom-02"]
    assert check_pairs(pairs, jobs=1) == []


def test_low_scans_have_the_same_origin_and_twice_the_spacing(cohort: Path) -> None:
    high, low = (nibabel.load(cohort / f"phantom-01_{role}.nii.gz") for role in ("high", "low"))
    assert high.shape == (40, 56, 48)
    assert low.shape == (20, 28, 24)
    assert high.get_data_dtype() == low.get_data_dtype() == np.int16
    np.testing.assert_allclose(high.header.get_zooms(), 0.2)
    np.testing.assert_allclose(low.header.get_zooms(), 0.4)
    np.testing.assert_allclose(low.affine[:, 3], high.affine[:, 3])


def test_the_truth_lies_on_the_grids_of_the_scans(cohort: Path, truth: Truth) -> None:
    assert truth.mask.shape == truth.clean_high.shape == truth.high_bias.shape == SIZE
    assert truth.low_bias.shape == (24, 28, 20)
    image = scan(cohort, "phantom-01_high").to_image()
    expected = image.TransformIndexToPhysicalPoint((3 * STRIDE, 2 * STRIDE, STRIDE))
    np.testing.assert_allclose(truth.high_points[1, 2, 3], expected, atol=1e-5)


def test_the_truth_aligns_the_scans(cohort: Path, truth: Truth) -> None:
    high, low = (scan(cohort, f"phantom-01_{role}").to_image() for role in ("high", "low"))

    def alignment(transform: sitk.Transform, *shift: float) -> float:
        both = sitk.CompositeTransform([sitk.TranslationTransform(3, shift or (0.0, 0.0, 0.0)), transform])
        return correlation(sitk.GetArrayFromImage(sitk.Resample(low, high, both, sitk.sitkLinear)), truth.clean_high)

    aligned = alignment(true_transform(truth))
    assert alignment(sitk.Transform(3, sitk.sitkIdentity)) < aligned - 0.1
    half_a_voxel = np.concatenate([0.1 * np.eye(3), -0.1 * np.eye(3)])
    assert max(alignment(true_transform(truth), *shift) for shift in half_a_voxel.tolist()) < aligned


def test_registration_errors_are_those_of_the_transform(truth: Truth) -> None:
    assert truth.registration_errors(true_transform(truth)).max() < 1e-4
    inside = truth.mask[::STRIDE, ::STRIDE, ::STRIDE]
    expected = np.linalg.norm((truth.low_points - truth.high_points)[inside], axis=-1)
    np.testing.assert_allclose(truth.registration_errors(sitk.Transform(3, sitk.sitkIdentity)), expected, atol=1e-4)
    assert 0.2 < expected.mean() < 2


def test_the_bias_is_known(truth: Truth) -> None:
    flat = np.ones_like(truth.high_bias)
    assert remaining_bias(truth.high_bias, flat, truth.mask) == pytest.approx(0.17, abs=0.03)
    assert remaining_bias(truth.high_bias, 2 * truth.high_bias, truth.mask) == pytest.approx(0, abs=1e-6)


def test_the_high_scan_is_the_clean_one_times_bias_and_gain(tmp_path: Path) -> None:
    make_cohort(tmp_path, subjects=1, size=SIZE, config=PhantomConfig(**CLEAN), jobs=1)
    truth = Truth.load(tmp_path / "truth" / "phantom-01.npz")
    gain = (scan(tmp_path, "phantom-01_high").array / (truth.clean_high * truth.high_bias))[truth.mask]
    assert gain.std() / gain.mean() < 0.005


def test_unmoved_low_scans_lie_where_the_high_scans_lie(tmp_path: Path) -> None:
    config = PhantomConfig(**STILL, **CLEAN, low_bias=0, high_bias=0)
    make_cohort(tmp_path, subjects=1, size=SIZE, config=config, jobs=1)
    truth = Truth.load(tmp_path / "truth" / "phantom-01.npz")
    np.testing.assert_allclose(truth.low_points, truth.high_points, atol=1e-5)
    high, low = (scan(tmp_path, f"phantom-01_{role}").array for role in ("high", "low"))
    shifts = {by: correlation(np.roll(high, by, axis=1)[::2, ::2, ::2], low) for by in (-1, 0, 1)}
    assert max(shifts, key=shifts.__getitem__) == 0


def test_a_subject_depends_on_seed_and_number_alone(cohort: Path, tmp_path: Path) -> None:
    make_cohort(tmp_path / "same", subjects=1, size=SIZE, jobs=1)
    make_cohort(tmp_path / "other", subjects=1, size=SIZE, seed=1, jobs=1)
    for role in ("low", "high"):
        first, second = scan(cohort, f"phantom-01_{role}").array, scan(cohort, f"phantom-02_{role}").array
        np.testing.assert_array_equal(scan(tmp_path / "same", f"phantom-01_{role}").array, first)
        assert not np.array_equal(scan(tmp_path / "other", f"phantom-01_{role}").array, first)
        assert not np.array_equal(first, second)


def test_tissues_are_told_apart_as_their_field_strength_does() -> None:
    specimen = grow(np.random.default_rng(0), SIZE)
    plain = (specimen.tissue > 0.99) & (specimen.vessel == 0) & (specimen.stria < 0.01) & (specimen.nucleus == 0)
    for contrast in (HIGH, LOW):
        image = specimen.render(contrast)
        assert image[plain & (np.abs(specimen.grey - 1) < 0.03)].mean() == pytest.approx(contrast.grey, abs=0.02)
        assert image[plain & (np.abs(specimen.grey) < 0.03)].mean() == pytest.approx(contrast.white, abs=0.02)
        assert image[specimen.tissue == 0].max() == pytest.approx(contrast.background)


def test_specimens_fit_in_their_grid_and_fill_a_good_part_of_it() -> None:
    for seed in range(3):
        tissue = grow(np.random.default_rng(seed), SIZE).tissue
        assert 0.15 < tissue.mean() < 0.6
        rim = np.ones(SIZE, bool)
        rim[1:-1, 1:-1, 1:-1] = False
        assert tissue[rim].mean() < 0.02


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A ball of white matter in a shell of grey, as a T1-weighted scan shows it, off centre and 1 mm wide voxels."""
    z, y, x = np.ogrid[0:40, 0:36, 0:44]
    radius = np.sqrt((z - 22) ** 2 + (y - 16) ** 2 + (x - 20) ** 2)
    array = np.where(radius < 9, 200, np.where(radius < 13, 120, 5)).astype(np.float32)
    write_volume(tmp_path / "head.nii.gz", Volume(array + radius.astype(np.float32) / 50, (1.0, 1.0, 1.0)))
    return tmp_path / "head.nii.gz"


def test_a_real_scan_may_supply_the_anatomy(tmp_path: Path, head: Path) -> None:
    make_cohort(tmp_path / "out", subjects=2, size=SIZE, anatomy=head, jobs=1)
    first, second = (Truth.load(tmp_path / "out" / "truth" / f"phantom-0{n}.npz") for n in (1, 2))
    assert not np.array_equal(first.mask, second.mask)
    where = np.argwhere(first.mask)
    extent = np.ptp(where, axis=0) + 1
    # The ball fills 92 % of the tightest axis, 5 % of scale and 5 voxels of warp aside.
    assert 0.75 * 40 < extent.min() <= extent.max() < 40 + 6
    middle = where.mean(axis=0).round().astype(int)
    inner, outer = first.clean_high[tuple(middle)], np.median(first.clean_high[first.mask])
    assert inner < outer


def test_a_wrong_anatomy_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        make_cohort(tmp_path / "out", subjects=1, size=SIZE, anatomy=tmp_path / "none.nii", jobs=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(48, 55, 40), (8, 48, 48), (48, 48)])
def test_impossible_sizes_are_refused(tmp_path: Path, size: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidInputError, match="even lengths"):
        make_cohort(tmp_path, subjects=1, size=size)


def test_no_subjects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="1 or more"):
        make_cohort(tmp_path, subjects=0, size=SIZE)


def test_another_cohort_is_never_overwritten(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("subject,low,high\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="choose another folder"):
        make_cohort(tmp_path, subjects=1, size=SIZE)
    assert (tmp_path / "pairs.csv").read_text(encoding="utf-8") == "subject,low,high\n"
