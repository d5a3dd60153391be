"""Registration against known transforms and against a phantom's truth."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from mrisynth.data.phantom.truth import Truth
from mrisynth.data.preparation import bias, greedy, intensity, registration
from mrisynth.data.preparation.alignment import jacobian_range
from mrisynth.data.preparation.bias import BiasConfig
from mrisynth.data.preparation.intensity import IntensityConfig
from mrisynth.data.preparation.methods import AffineConfig, BsplineConfig, CorrelationConfig, DemonsConfig, GreedyConfig
from mrisynth.data.preparation.registration import read_transform, register, resample
from mrisynth.data.scans.volumes import read_volume
from mrisynth.errors import InvalidInputError

SPACING = 0.2


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Both scans of a phantom of 64 voxels an axis, corrected and scaled, and its truth."""
    from mrisynth.data.phantom.cohort import make_cohort

    folder = make_cohort(tmp_path_factory.mktemp("phantom"), subjects=1, size=(64, 64, 64), seed=0, jobs=1).parent
    scans = (read_volume(folder / f"phantom-01_{name}.nii.gz").to_image() for name in ("low", "high"))
    low, high = (intensity.scale(bias.correct(scan, BiasConfig()), IntensityConfig()) for scan in scans)
    return low, high, Truth.load(folder / "truth" / "phantom-01.npz")


def ball(shift: float = 0.0) -> sitk.Image:
    """A smooth ball of 40 voxels of 0.5 mm an axis, off the middle by `shift` mm along x."""
    z, y, x = np.mgrid[:40, :40, :40] * 0.5 - 10
    distance = np.sqrt((x - shift) ** 2 + (1.3 * y) ** 2 + (0.8 * z) ** 2)
    image = sitk.GetImageFromArray((1000 / (1 + np.exp(2 * (distance - 5)))).astype(np.float32))
    image.SetSpacing([0.5] * 3)
    return image


def test_an_affine_registration_finds_a_known_shift_in_mm() -> None:
    transform = register(ball(shift=1.2), ball(), AffineConfig(samples=0.2))
    found = np.subtract(transform.TransformPoint((10.0, 10.0, 10.0)), (10.0, 10.0, 10.0))
    np.testing.assert_allclose(found, (1.2, 0, 0), atol=0.1)


def voxels(phantom, transform) -> float:
    return float(phantom[2].registration_errors(transform).mean() / SPACING)


@pytest.mark.slow
def test_each_method_comes_nearer_to_the_truth_and_the_default_nearest(phantom) -> None:
    before = voxels(phantom, sitk.Transform(3, sitk.sitkIdentity))
    configs = {
        "affine": AffineConfig(),
        "demons": DemonsConfig(),
        "bspline": BsplineConfig(),
        "correlation": CorrelationConfig(),
    }
    after = {name: voxels(phantom, register(*phantom[:2], config)) for name, config in configs.items()}
    assert before > 2.5
    assert max(after.values()) < 1.0
    assert min(after, key=after.__getitem__) == "correlation"
    assert after["correlation"] < 0.7


@pytest.mark.slow
def test_a_registration_is_the_same_to_the_bit_again(phantom) -> None:
    low, high, _ = phantom
    first, second = (resample(low, high, register(low, high, CorrelationConfig())) for _ in range(2))
    assert sitk.GetArrayFromImage(first).tobytes() == sitk.GetArrayFromImage(second).tobytes()


def test_resampling_onto_the_same_grid_changes_nothing() -> None:
    image = ball()
    again = resample(image, image, sitk.Transform(3, sitk.sitkIdentity))
    np.testing.assert_allclose(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(image), atol=1e-3)


def test_resampling_keeps_the_anatomy_in_physical_space() -> None:
    """A grid of half the spacing shows the ball's centre of mass at the same point, not half a voxel beside it."""
    low = ball(shift=0.7)
    high = sitk.Image([79] * 3, sitk.sitkFloat32)
    high.SetSpacing([0.25] * 3)
    moved = resample(low, high, sitk.Transform(3, sitk.sitkIdentity))
    centres = []
    for image in (low, moved):
        array = sitk.GetArrayFromImage(image).astype(float)
        columns = array.sum((0, 1))
        centres.append((columns * np.arange(array.shape[2])).sum() / columns.sum() * image.GetSpacing()[0])
    assert centres[0] == pytest.approx(centres[1], abs=0.02)


def test_outside_the_low_scan_there_is_nothing() -> None:
    low, high = ball(), ball()
    far = sitk.TranslationTransform(3, (1000.0, 0.0, 0.0))
    assert not sitk.GetArrayFromImage(resample(low, high, far)).any()
    assert not sitk.GetArrayFromImage(registration.coverage(low, high, far)).any()


def test_a_given_transform_is_read_and_a_broken_one_is_refused(tmp_path) -> None:
    sitk.WriteTransform(sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), str(tmp_path / "t.tfm"))
    assert read_transform(tmp_path / "t.tfm").TransformPoint((0.0, 0.0, 0.0)) == (1.0, 2.0, 3.0)
    (tmp_path / "broken.tfm").write_text("no transform", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"broken\.tfm"):
        read_transform(tmp_path / "broken.tfm")
    sitk.WriteTransform(sitk.TranslationTransform(2, (1.0, 2.0)), str(tmp_path / "flat.tfm"))
    with pytest.raises(InvalidInputError, match="2 dimensions"):
        read_transform(tmp_path / "flat.tfm")


def test_tissue_at_the_edge_of_the_scan_is_not_folded() -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=(64, 64, 64)), 2.5)
    distance = np.sqrt(sum((axis - 31.5) ** 2 for axis in np.indices(noise.shape)))
    specimen = np.where(distance < 24, 500 + 400 * np.tanh(noise / noise.std()), 20)[14:46]
    high = sitk.GetImageFromArray(specimen.astype(np.float32))
    high.SetSpacing([SPACING] * 3)
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.0, 0.08, 0.0)
    back = sitk.TranslationTransform(3, (0.0, 0.0, -0.3))
    low = sitk.Resample(high, high, sitk.CompositeTransform([back, turn]), sitk.sitkLinear, 20.0)
    mask = sitk.GetImageFromArray((specimen > 100).astype(np.uint8))
    mask.CopyInformation(high)
    least, _ = jacobian_range(register(low, high, CorrelationConfig()), mask)
    assert least > 0.5


def fake_greedy(folder, monkeypatch, script):
    """A program named greedy on the PATH."""
    program = folder / "greedy"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_greedy_that_is_not_installed_is_one_sentence(monkeypatch) -> None:
    monkeypatch.setattr(greedy, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InvalidInputError, match="not installed here; run `pip install picsl_greedy`"):
        greedy.find_greedy()


def test_greedy_that_fails_is_one_sentence(tmp_path, monkeypatch) -> None:
    fake_greedy(tmp_path, monkeypatch, "echo out of luck >&2; exit 3")
    with pytest.raises(InvalidInputError, match="greedy failed on this pair \\(out of luck\\)"):
        greedy.register_by_greedy(ball(), ball(), sitk.AffineTransform(3), GreedyConfig())


def test_greedy_reads_the_affine_transform_in_nifti_axes() -> None:
    affine = sitk.AffineTransform(3)
    affine.Rotate(0, 1, 0.3)
    affine.SetTranslation((1.0, 2.0, 3.0))
    affine.SetCenter((4.0, 5.0, 6.0))
    x, y, z = affine.TransformPoint((7.0, 8.0, 9.0))
    np.testing.assert_allclose(greedy.matrix_of(affine) @ (-7.0, -8.0, 9.0, 1.0), (-x, -y, z, 1.0))


def test_a_turned_and_shifted_specimen_is_found(phantom) -> None:
    low, high, _ = phantom
    turned = sitk.Euler3DTransform()
    turned.SetRotation(0.0, 0.0, np.deg2rad(20))
    moved = sitk.Image(low)
    matrix = np.reshape(turned.GetMatrix(), (3, 3)) @ np.reshape(low.GetDirection(), (3, 3))
    moved.SetDirection(matrix.ravel().tolist())
    moved.SetOrigin((np.array(turned.TransformPoint(low.GetOrigin())) + 10.0).tolist())
    config = AffineConfig(affine_iterations=60)
    still, found = register(low, high, config), register(moved, high, config)
    back = turned.GetInverse()
    points = [(1.0, 1.0, 1.0), (-2.0, 1.0, 0.0), (0.0, -2.0, 2.0)]
    undone = [back.TransformPoint((np.array(found.TransformPoint(point)) - 10.0).tolist()) for point in points]
    np.testing.assert_allclose(undone, [still.TransformPoint(point) for point in points], atol=0.2)
