import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from mrisynth.data.preparation.alignment import jacobian_range
from mrisynth.data.preparation.correlation import register_by_correlation
from mrisynth.data.preparation.methods import CorrelationConfig
from mrisynth.errors import InvalidInputError

SIZE, SPACING = 40, 0.2
QUICK = CorrelationConfig(iterations=15, knots=12)


@pytest.fixture(scope="module")
def pair():
    """A textured ball (low), the same seen through an affine transform after a wave (high), and the two."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(SIZE,) * 3), 2.0)
    distance = np.sqrt(sum((axis - (SIZE - 1) / 2) ** 2 for axis in np.indices(noise.shape)))
    specimen = np.where(distance < 14, 500 + 300 * np.tanh(noise / noise.std()), 20)
    low = on_grid(sitk.GetImageFromArray(specimen.astype(np.float32)), (5.0, -3.0, 1.0))
    affine = sitk.AffineTransform(3)
    affine.SetCenter(low.TransformContinuousIndexToPhysicalPoint([(SIZE - 1) / 2] * 3))
    affine.Rotate(0, 1, 0.2)
    affine.SetTranslation((0.3, -0.2, 0.4))
    place = np.indices((SIZE,) * 3) * (2 * np.pi / 50)
    field = np.stack([np.sin(place[1]), np.cos(place[2]), np.sin(place[0])], -1) * 2 * SPACING
    wave = sitk.DisplacementFieldTransform(on_grid(sitk.GetImageFromArray(field, isVector=True), low.GetOrigin()))
    high = sitk.Resample(low, low, sitk.CompositeTransform([affine, wave]), sitk.sitkBSpline3, 20.0)
    return low, high, affine, wave


def on_grid(image: sitk.Image, origin: tuple[float, ...]) -> sitk.Image:
    """The image on a grid whose axes are turned."""
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.3, -0.2, 0.4)
    image.SetDirection(turn.GetMatrix())
    image.SetSpacing([SPACING] * 3)
    image.SetOrigin(origin)
    return image


def miss(found: sitk.Transform, truth: sitk.Transform, high: sitk.Image) -> float:
    """How far two transforms lie apart in the ball, in voxels: the mean."""
    index = np.stack(np.meshgrid(*[np.arange(12, 29, 4)] * 3), -1).reshape(-1, 3)
    points = [high.TransformIndexToPhysicalPoint(one.tolist()) for one in index]
    apart = [np.subtract(found.TransformPoint(point), truth.TransformPoint(point)) for point in points]
    return float(np.linalg.norm(apart, axis=1).mean() / SPACING)


def test_a_smooth_deformation_is_found_on_turned_axes_after_an_affine_transform(pair) -> None:
    low, high, affine, wave = pair
    found = register_by_correlation(low, high, affine, QUICK)
    assert miss(sitk.Transform(3, sitk.sitkIdentity), wave, high) > 2
    assert miss(found, wave, high) < 0.3


def test_stiffer_displacements_bend_less(pair) -> None:
    low, high, affine, wave = pair
    misses = [
        miss(register_by_correlation(low, high, affine, QUICK.model_copy(update={"bending": weight})), wave, high)
        for weight in (1e-3, 10.0)
    ]
    assert misses[0] < misses[1]


def test_what_the_low_scan_does_not_show_is_not_folded(pair) -> None:
    low, high, affine, _ = pair
    found = register_by_correlation(low[:, :, 14:], high, affine, QUICK)
    everywhere = sitk.Image(high.GetSize(), sitk.sitkUInt8) + 1
    everywhere.CopyInformation(high)
    assert jacobian_range(found, everywhere)[0] > 0.3


def test_scans_that_share_no_tissue_are_one_sentence(pair) -> None:
    low, high, *_ = pair
    with pytest.raises(InvalidInputError, match="shows nothing of the tissue in the high scan"):
        register_by_correlation(low, high, sitk.TranslationTransform(3, (100.0, 0.0, 0.0)), QUICK)
