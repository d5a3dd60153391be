from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from mrisynth.data.cohort import check_pairs, read_pairs
from mrisynth.data.phantom.degrade import DegradeConfig, degrade_scans, halve, subject_name
from mrisynth.data.scans.volumes import Volume, read_volume, write_volume
from mrisynth.errors import InvalidInputError

TURNED = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
NOTHING = {"taper": 0.3, "gamma": 1.0, "brightness": 1.0, "bias": 0.0, "noise": 0.0}


@pytest.fixture
def brain(tmp_path: Path) -> Path:
    """A smooth bright ball off the middle of 25 x 30 x 27 voxels, on a turned grid."""
    z, y, x = np.ogrid[0:25, 0:30, 0:27]
    array = 400 * np.exp(-((z - 13) ** 2 + (y - 17) ** 2 + (x - 12) ** 2) / 50)
    write_volume(tmp_path / "brain.nii.gz", Volume(array.astype(np.float32), (0.6, 0.5, 0.5), (3, 4, 5), TURNED))
    return tmp_path / "brain.nii.gz"


def low_of(pairs: Path) -> Volume:
    return read_volume(read_pairs(pairs)[0].low)


def test_the_pair_names_the_scan_and_passes_the_checks(brain: Path, tmp_path: Path) -> None:
    pairs = read_pairs(degrade_scans([brain], tmp_path / "out", jobs=1))
    assert [(pair.subject, pair.high) for pair in pairs] == [("brain", brain)]
    assert check_pairs(pairs, jobs=1) == []


def test_the_low_scan_has_twice_the_spacing_on_the_same_origin(brain: Path, tmp_path: Path) -> None:
    low = low_of(degrade_scans([brain], tmp_path / "out", jobs=1))
    assert low.array.shape == (13, 15, 14)
    assert low.spacing == pytest.approx((1.2, 1.0, 1.0))
    assert low.origin == pytest.approx((3, 4, 5))
    assert low.direction == pytest.approx(TURNED)


def test_with_everything_else_off_only_resolution_is_lost(brain: Path, tmp_path: Path) -> None:
    low = low_of(degrade_scans([brain], tmp_path / "out", config=DegradeConfig(**NOTHING), jobs=1)).array
    expected = read_volume(brain).array[::2, ::2, ::2]
    assert np.corrcoef(low.ravel(), expected.ravel())[0, 1] > 0.999


def test_contrast_bias_and_noise_each_change_the_scan(brain: Path, tmp_path: Path) -> None:
    def degraded(**changed: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        config = DegradeConfig(**(NOTHING | changed))
        array = low_of(degrade_scans([brain], tmp_path / "out", config=config, jobs=1)).array
        return array / array.max()

    plain = degraded()
    assert np.median(degraded(gamma=0.5)) > np.median(plain)
    assert degraded(noise=0.1)[:3, :3, :3].std() > plain[:3, :3, :3].std() + 0.01
    bright = plain > 0.3
    ratio = degraded(bias=0.3)[bright] / plain[bright]
    assert ratio.std() / ratio.mean() > 0.1


def test_a_misaligned_scan_comes_with_its_transform(brain: Path, tmp_path: Path) -> None:
    config = DegradeConfig(**NOTHING, degrees=4, shift=2, warp=2)
    low = low_of(degrade_scans([brain], tmp_path / "out", config=config, jobs=1)).to_image()
    high = read_volume(brain)
    transform = sitk.ReadTransform(str(tmp_path / "out" / "truth" / "brain.h5"))
    back, before = (
        sitk.GetArrayFromImage(sitk.Resample(low, high.to_image(), move, sitk.sitkLinear)).ravel()
        for move in (transform, sitk.Transform(3, sitk.sitkIdentity))
    )
    assert np.corrcoef(back, high.array.ravel())[0, 1] > 0.99
    assert np.corrcoef(before, high.array.ravel())[0, 1] < 0.98


def test_the_seed_decides_and_other_scans_do_not(brain: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.nii"
    write_volume(other, read_volume(brain))
    alone, seeded = (low_of(degrade_scans([brain], tmp_path / f"s{seed}", seed=seed, jobs=1)) for seed in (0, 1))
    together = read_pairs(degrade_scans([other, brain], tmp_path / "both", jobs=1))
    first, second = (read_volume(pair.low).array for pair in together)
    np.testing.assert_array_equal(second, alone.array)
    assert not np.array_equal(first, second)
    assert not np.array_equal(seeded.array, alone.array)


@pytest.mark.parametrize("shape", [(16, 18, 20), (17, 19, 12), (10, 9, 12)])
def test_halving_keeps_places_for_every_length(shape: tuple[int, int, int]) -> None:
    z, y, x = np.indices(shape)
    smooth = np.cos(0.3 * z + 0.2 * y - 0.25 * x).astype(np.float32)
    halved = halve(smooth, taper=0.3)
    assert halved.shape == tuple((length + 1) // 2 for length in shape)
    assert np.corrcoef(halved.ravel(), smooth[::2, ::2, ::2].ravel())[0, 1] > 0.99
    # Half a voxel beside the place, it is another image.
    beside = np.cos(0.3 * (z + 1) + 0.2 * (y + 1) - 0.25 * (x - 1))[::2, ::2, ::2]
    assert np.corrcoef(halved.ravel(), beside.ravel())[0, 1] < 0.98


@pytest.mark.parametrize(
    ("name", "subject"),
    [("a.nii.gz", "a"), ("sub-1_T2w.nii", "sub-1_T2w"), ("x y (1).mha", "x-y-1-"), ("_b.nrrd", "b"), ("v1.2", "v1.2")],
)
def test_subjects_are_named_like_their_files(name: str, subject: str) -> None:
    assert subject_name(Path(name)) == subject


def test_two_scans_of_one_name_are_refused(brain: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="would both be subject 'brain'"):
        degrade_scans([brain, tmp_path / "elsewhere" / "brain.nii"], tmp_path / "out")


def test_an_unreadable_scan_is_refused_and_no_list_is_left(brain: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="did you mean"):
        degrade_scans([brain.with_name("brian.nii.gz")], tmp_path / "out", jobs=1)
    assert not (tmp_path / "out" / "pairs.csv").exists()


def test_another_cohort_is_never_overwritten(brain: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="choose another folder"):
        degrade_scans([brain], tmp_path)
    assert (tmp_path / "pairs.csv").read_text(encoding="utf-8") == "mine"
