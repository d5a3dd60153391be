import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from mrisynth.data.scans.volumes import Volume, inspect, read_volume, write_image, write_volume
from mrisynth.errors import InvalidInputError

Array = NDArray[np.float32]
HEADER_BYTES = 352


@pytest.fixture
def array() -> Array:
    return np.random.default_rng(0).random((6, 8, 10), dtype=np.float32)


@pytest.fixture
def nifti(tmp_path: Path, array: Array) -> Path:
    """An uncompressed NIfTI file written by nibabel."""
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(array.T, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    return path


def codes(path: Path, **options: int) -> list[str]:
    return [problem.code for problem in inspect(path, **options)]


def refusal(path: Path, **options: int) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read_volume(path, **options)
    assert path.name in str(caught.value)
    return str(caught.value)


def patch(path: Path, offset: int, values: NDArray[np.generic]) -> None:
    """Overwrite bytes of a file."""
    data = bytearray(path.read_bytes())
    data[offset : offset + values.nbytes] = values.tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_write_then_read_is_the_identity(tmp_path: Path, array: Array, ending: str) -> None:
    turned = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    volume = Volume(array, (0.5, 0.25, 2.0), (1.0, -2.0, 3.0), turned)
    write_volume(tmp_path / f"scan{ending}", volume)
    read = read_volume(tmp_path / f"scan{ending}")
    np.testing.assert_array_equal(read.array, array)
    assert read.array.dtype == np.float32
    assert read.spacing == pytest.approx(volume.spacing)
    assert read.origin == pytest.approx(volume.origin)
    assert read.direction == pytest.approx(turned)
    assert [entry.name for entry in tmp_path.iterdir()] == [f"scan{ending}"]


def test_spacing_follows_the_axes_of_the_array(nifti: Path) -> None:
    assert read_volume(nifti).spacing == (3.0, 2.0, 1.0)
    assert inspect(nifti) == []


def test_image_round_trip_keeps_physical_points(array: Array) -> None:
    image = Volume(array, (3.0, 2.0, 1.0), (5.0, 6.0, 7.0)).to_image()
    assert image.TransformIndexToPhysicalPoint((1, 1, 1)) == (6.0, 8.0, 10.0)
    assert Volume.from_image(image).spacing == (3.0, 2.0, 1.0)


def test_the_rescale_slope_is_applied(tmp_path: Path) -> None:
    stored = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.eye(4))
    stored.header.set_slope_inter(2.0, 10.0)
    nibabel.save(stored, tmp_path / "scan.nii.gz")
    expected = np.asarray(nibabel.load(tmp_path / "scan.nii.gz").dataobj).T
    np.testing.assert_allclose(read_volume(tmp_path / "scan.nii.gz").array, expected)


def test_writing_an_unknown_format_is_refused(tmp_path: Path, array: Array) -> None:
    with pytest.raises(InvalidInputError, match=r"\.nii\.gz"):
        write_volume(tmp_path / "scan.txt", Volume(array, (1.0, 1.0, 1.0)))


def test_a_missing_file_comes_with_a_suggestion(nifti: Path) -> None:
    assert "did you mean" in refusal(nifti.with_name("scam.nii"))
    assert "scan.nii" in refusal(nifti.with_name("scam.nii"))


def test_a_wrong_folder_comes_with_a_suggestion(nifti: Path) -> None:
    wrong = nifti.parent.with_name(nifti.parent.name + "x") / "scan.nii"
    assert f"'{nifti.parent}'" in refusal(wrong)


def test_a_truncated_file_is_refused(nifti: Path) -> None:
    nifti.write_bytes(nifti.read_bytes()[: HEADER_BYTES + 6 * 8 * 10 * 2])
    assert "50 %" in refusal(nifti)


def test_a_truncated_compressed_file_is_refused(nifti: Path) -> None:
    packed = nifti.with_suffix(".nii.gz")
    packed.write_bytes(gzip.compress(nifti.read_bytes())[:-100])
    assert codes(packed) == ["truncated"]


def test_a_short_file_in_whole_compression_is_refused(nifti: Path) -> None:
    packed = nifti.with_suffix(".nii.gz")
    packed.write_bytes(gzip.compress(nifti.read_bytes()[:-4]))
    assert codes(packed) == ["truncated"]


def test_a_damaged_checksum_is_refused(nifti: Path) -> None:
    packed = nifti.with_suffix(".nii.gz")
    packed.write_bytes(gzip.compress(nifti.read_bytes()))
    patch(packed, packed.stat().st_size - 8, np.uint32([12345]))
    assert codes(packed) == ["damaged"]


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_truncation_is_seen_in_other_formats(tmp_path: Path, array: Array, ending: str) -> None:
    path = tmp_path / f"scan{ending}"
    write_volume(path, Volume(array, (1.0, 1.0, 1.0)))
    path.write_bytes(path.read_bytes()[:-300])
    assert codes(path) == ["truncated"]


def test_compression_must_match_the_name(nifti: Path) -> None:
    plain_named_gz = nifti.with_suffix(".nii.gz")
    plain_named_gz.write_bytes(nifti.read_bytes())
    assert [(p.code, p.severity) for p in inspect(plain_named_gz)] == [("misnamed", "warning")]
    nifti.write_bytes(gzip.compress(nifti.read_bytes()))
    assert "rename it to 'scan.nii.gz'" in refusal(nifti)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, array: Array, ending: str, bad: float) -> None:
    array[1, 2, 3] = bad
    path = tmp_path / f"scan{ending}"
    write_volume(path, Volume(array, (1.0, 1.0, 1.0)))
    assert "1 voxels that are NaN or infinite" in refusal(path)


def test_big_endian_nan_is_found(tmp_path: Path, array: Array) -> None:
    array[1, 2, 3] = np.nan
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">f4")
    nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4), header), tmp_path / "scan.nii")
    assert codes(tmp_path / "scan.nii") == ["not-finite"]


def test_nifti2_is_refused_by_name(tmp_path: Path, array: Array) -> None:
    nibabel.save(nibabel.Nifti2Image(array.T, np.eye(4)), tmp_path / "scan.nii")
    assert "save it as NIfTI-1" in refusal(tmp_path / "scan.nii")


def test_a_constant_scan_is_refused(tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.nii", Volume(np.full((6, 8, 10), 7, np.float32), (1.0, 1.0, 1.0)))
    assert "constant" in refusal(tmp_path / "scan.nii")


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan])
def test_a_spacing_that_is_not_positive_is_refused(nifti: Path, size: float) -> None:
    patch(nifti, 80, np.float32([size]))
    assert codes(nifti) == ["spacing"]


def test_a_metaimage_spacing_of_zero_is_refused(tmp_path: Path, array: Array) -> None:
    path = tmp_path / "scan.mha"
    write_image(path, sitk.GetImageFromArray(array))
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 0 1"))
    assert codes(path) == ["spacing"]


@pytest.mark.parametrize("size", [0.001, 200.0])
def test_a_spacing_in_the_wrong_unit_is_refused(tmp_path: Path, array: Array, size: float) -> None:
    write_volume(tmp_path / "scan.nii", Volume(array, (size, size, size)))
    assert codes(tmp_path / "scan.nii") == ["spacing"]


def test_micrometres_are_converted(tmp_path: Path, array: Array) -> None:
    image = nibabel.Nifti1Image(array.T, np.diag([200.0, 200.0, 200.0, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "scan.nii")
    assert read_volume(tmp_path / "scan.nii").spacing == pytest.approx((0.2, 0.2, 0.2))


def test_four_dimensions_need_a_volume_index(tmp_path: Path) -> None:
    series = np.random.default_rng(0).random((5, 4, 3, 2), dtype=np.float32)
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(series, np.eye(4)), path)
    assert "volume index 0 to 1" in refusal(path)
    np.testing.assert_array_equal(read_volume(path, volume_index=1).array, series[..., 1].T)
    assert "no volume 2" in refusal(path, volume_index=2)


def test_only_the_chosen_volume_is_judged(tmp_path: Path) -> None:
    series = np.random.default_rng(0).random((5, 4, 3, 2), dtype=np.float32)
    series[0, 0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(series, np.eye(4)), tmp_path / "scan.nii")
    assert codes(tmp_path / "scan.nii", volume_index=0) == ["not-finite"]
    assert codes(tmp_path / "scan.nii", volume_index=1) == []


def test_a_fourth_axis_of_one_is_no_fourth_dimension(tmp_path: Path, array: Array) -> None:
    nibabel.save(nibabel.Nifti1Image(array.T[..., None], np.eye(4)), tmp_path / "scan.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii").array, array)


def test_a_single_slice_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "scan.nii", sitk.GetImageFromArray(np.eye(5, dtype=np.float32)))
    assert "single slice" in refusal(tmp_path / "scan.nii")


@pytest.mark.parametrize("ending", [".nii", ".mha"])
def test_vector_pixels_are_refused(tmp_path: Path, array: Array, ending: str) -> None:
    image = sitk.GetImageFromArray(array)
    write_image(tmp_path / f"vector{ending}", sitk.Compose(image, image, image))
    assert "take the magnitude" in refusal(tmp_path / f"vector{ending}")


def test_complex_pixels_are_refused(tmp_path: Path, array: Array) -> None:
    nibabel.save(nibabel.Nifti1Image(array.T.astype(np.complex64), np.eye(4)), tmp_path / "scan.nii")
    assert "save its magnitude" in refusal(tmp_path / "scan.nii")


def place_twice(path: Path, *, sform_code: int) -> None:
    """Let a file's qform say that it lies 6 mm away from where its sform puts it."""
    image = nibabel.Nifti1Image.from_bytes(path.read_bytes())
    there = image.affine.copy()
    image.set_sform(there, code=sform_code)
    there[0, 3] += 6
    image.set_qform(there, code=1, update_affine=False)
    path.write_bytes(image.to_bytes())


def test_a_file_that_programs_place_differently_is_refused(nifti: Path) -> None:
    place_twice(nifti, sform_code=2)
    assert "6.0 mm" in refusal(nifti)


def test_a_qform_that_every_program_ignores_is_warned_of(nifti: Path) -> None:
    place_twice(nifti, sform_code=1)
    (problem,) = inspect(nifti)
    assert (problem.code, problem.severity) == ("qform-sform", "warning")
    assert "6.0 mm" in problem.message


def test_a_turned_qform_is_understood(tmp_path: Path, array: Array) -> None:
    turned = nibabel.affines.from_matvec(np.array([[0, -2.0, 0], [0, 0, 3.0], [-1.0, 0, 0]]), [5, 6, 7])
    image = nibabel.Nifti1Image(array.T, None)
    image.set_qform(turned, code=1)
    image.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "scan.nii")
    assert inspect(tmp_path / "scan.nii") == []


def test_a_sheared_sform_is_explained(nifti: Path, array: Array) -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    image = nibabel.Nifti1Image(array.T, None)
    image.set_sform(sheared, code=1)
    image.set_qform(None, code=0)
    nibabel.save(image, nifti)
    assert "sheared" in refusal(nifti)


def test_an_unset_orientation_is_only_warned_of(nifti: Path) -> None:
    patch(nifti, 252, np.int16([0, 0]))
    assert [(p.code, p.severity) for p in inspect(nifti)] == [("no-orientation", "warning")]
    assert read_volume(nifti).array.shape == (6, 8, 10)


def test_bytes_beyond_the_voxels_are_only_warned_of(nifti: Path) -> None:
    nifti.write_bytes(nifti.read_bytes() + b"left over")
    assert [(p.code, p.severity) for p in inspect(nifti)] == [("extra-bytes", "warning")]


def test_a_header_image_pair_is_read_and_checked(tmp_path: Path, array: Array) -> None:
    nibabel.save(nibabel.Nifti1Pair(array.T, np.eye(4)), tmp_path / "scan.hdr")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.hdr").array, array)
    data = (tmp_path / "scan.img").read_bytes()
    (tmp_path / "scan.img").write_bytes(data[: len(data) // 2])
    assert codes(tmp_path / "scan.img") == ["truncated"]
    (tmp_path / "scan.img").unlink()
    assert "no partner 'scan.img'" in refusal(tmp_path / "scan.hdr")


@pytest.mark.parametrize(("content", "code"), [(b"", "empty"), (b"x" * 400, "header"), (b"x", "header")])
def test_files_that_are_no_nifti_are_refused(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "scan.nii").write_bytes(content)
    assert codes(tmp_path / "scan.nii") == [code]


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.txt").write_text("not a scan", encoding="utf-8")
    assert codes(tmp_path / "scan.txt") == ["format"]


def write_series(folder: Path, positions: list[float], uid: str = "1.2.3") -> Array:
    """Write DICOM slices at positions in mm along z; returns the stack."""
    folder.mkdir(exist_ok=True)
    stack = np.random.default_rng(0).integers(0, 1000, (len(positions), 8, 10)).astype(np.int16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, (position, pixels) in enumerate(zip(positions, stack, strict=True)):
        image = sitk.GetImageFromArray(pixels)
        image.SetMetaData("0008|0060", "MR")
        image.SetMetaData("0020|000e", uid)
        image.SetMetaData("0008|0018", f"{uid}.{number + 1}")
        image.SetMetaData("0020|0032", f"0\\0\\{position}")
        image.SetMetaData("0020|0037", "1\\0\\0\\0\\1\\0")
        image.SetMetaData("0020|0013", str(number + 1))
        writer.SetFileName(str(folder / f"{uid}-{number}.dcm"))
        writer.Execute(image)
    return stack.astype(np.float32)


def test_a_dicom_folder_is_one_volume(tmp_path: Path) -> None:
    stack = write_series(tmp_path / "scan", [0.0, 1.5, 3.0, 4.5])
    volume = read_volume(tmp_path / "scan")
    np.testing.assert_array_equal(volume.array, stack)
    assert volume.spacing == pytest.approx((1.5, 1.0, 1.0))


def test_a_missing_dicom_slice_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", [0.0, 1.5, 4.5, 6.0])
    assert "3.000 mm from 1.500 mm on" in refusal(tmp_path / "scan")


def test_two_dicom_series_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", [0.0, 1.0, 2.0])
    write_series(tmp_path / "scan", [0.0, 1.0, 2.0], uid="1.2.4")
    assert "2 DICOM series" in refusal(tmp_path / "scan")


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan").mkdir()
    assert "without DICOM files" in refusal(tmp_path / "scan")
