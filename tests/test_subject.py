"""One subject's preparation: which transform is used."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from mrisynth.data.cohort import Pair
from mrisynth.data.preparation import subject
from mrisynth.data.preparation.config import PreparationConfig


def blob() -> sitk.Image:
    """A bright ball in 20 voxels of 1 mm an axis, intensity in [0, 1000]."""
    z, y, x = np.mgrid[:20, :20, :20] - 9.5
    return sitk.GetImageFromArray((1000 * np.exp(-(x**2 + y**2 + z**2) / 20)).astype(np.float32))


@pytest.mark.parametrize(
    ("on_worse", "shift", "used"), [("affine", 4.0, 0.0), ("affine", 0.0, 0.0), ("report", 4.0, 4.0)]
)
def test_a_deformation_that_makes_things_worse_gives_way_to_the_affine_transform_on_request(
    monkeypatch: pytest.MonkeyPatch, on_worse: str, shift: float, used: float
) -> None:
    def stages(low: sitk.Image, high: sitk.Image, config: object) -> tuple[sitk.Transform, sitk.Transform]:
        return sitk.TranslationTransform(3), sitk.TranslationTransform(3, [shift, 0.0, 0.0])

    monkeypatch.setattr(subject.registration, "register_stages", stages)
    config = PreparationConfig.model_validate({"registration": {"on_worse": on_worse}})
    job = subject.SubjectJob(Pair("a", Path("low"), Path("high")), Path("store"), config, {})
    transform, fell_back = subject._transform(job, blob(), blob(), blob() > 100)
    assert transform.TransformPoint((0.0, 0.0, 0.0))[0] == used
    assert fell_back == (used != shift)
