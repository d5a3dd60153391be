"""Bias correction against shading that is known."""

import numpy as np
import pytest
import SimpleITK as sitk

from mrisynth.data.phantom.truth import Truth, remaining_bias
from mrisynth.data.preparation.bias import BiasConfig, correct, shrink_factors
from mrisynth.data.scans.volumes import read_volume


@pytest.mark.slow
def test_most_of_a_phantoms_shading_is_gone(tmp_path) -> None:
    from mrisynth.data.phantom.cohort import make_cohort

    folder = make_cohort(tmp_path, subjects=1, size=(96, 96, 96), seed=0, jobs=1).parent
    truth = Truth.load(folder / "truth" / "phantom-01.npz")
    raw = read_volume(folder / "phantom-01_high.nii.gz").to_image()
    corrected = correct(raw, BiasConfig())
    before, after = sitk.GetArrayFromImage(raw), sitk.GetArrayFromImage(corrected)
    mask = truth.mask & (before > 0)
    estimate = np.divide(before, after, out=np.ones_like(before), where=after > 0)
    untouched = remaining_bias(truth.high_bias, np.ones_like(before), mask)
    assert untouched > 0.15
    assert remaining_bias(truth.high_bias, estimate, mask) < 0.3 * untouched


def test_switched_off_it_changes_nothing() -> None:
    image = sitk.GetImageFromArray(np.arange(27, dtype=np.float32).reshape(3, 3, 3))
    assert correct(image, BiasConfig(enabled=False)) is image


def test_the_grid_is_kept() -> None:
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.uniform(500, 600, (24, 26, 28)).astype(np.float32))
    image.SetSpacing((0.3, 0.4, 0.5))
    image.SetOrigin((1.0, 2.0, 3.0))
    corrected = correct(image, BiasConfig())
    assert corrected.GetSize() == image.GetSize()
    assert (corrected.GetSpacing(), corrected.GetOrigin()) == (image.GetSpacing(), image.GetOrigin())
    assert corrected.GetPixelID() == sitk.sitkFloat32


@pytest.mark.parametrize(
    ("size", "largest", "factors"),
    [((350, 350, 250), 4, [4, 4, 4]), ((96, 72, 50), 4, [4, 3, 2]), ((20, 20, 20), 4, [1, 1, 1])],
)
def test_enough_samples_are_left_on_every_axis(size, largest, factors) -> None:
    assert shrink_factors(size, largest) == factors
