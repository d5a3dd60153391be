"""Damaged scans of every kind: findings, never a traceback, never a hang, never voxels that are silently others."""

import gzip
import os
import warnings
from datetime import timedelta
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrisynth.data.scans.volumes import Volume, examine, index_to_point, write_volume

FAST = settings(
    max_examples=25,
    deadline=timedelta(seconds=2),
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Always the same examples, so that nobody's change is blamed for what chance finds; others with MRISYNTH_FUZZ=3000.
LONG = settings(
    FAST, max_examples=int(os.environ.get("MRISYNTH_FUZZ", "1000")), derandomize="MRISYNTH_FUZZ" not in os.environ
)
PROFILES = [pytest.param(FAST, id="fast"), pytest.param(LONG, id="long", marks=pytest.mark.slow)]

ARRAY = np.random.default_rng(0).integers(1, 1000, (5, 6, 7)).astype(np.int16)
EDGES = [0, 1, 2, 3, 127, 128, 255]
BYTES = st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255) | st.sampled_from(EDGES)), min_size=1, max_size=4)
FLIPS = st.tuples(st.integers(0, 2**16), st.integers(0, 7))
FIELDS = [40, 42, 44, 46, 48, 70, 72, 76, 80, 84, 88, 108, 112, 116, 123, 252, 254, 256, 260, 264, 268, 280, 300, 344]
NUMBERS = st.sampled_from(
    [np.float32(value).tobytes() for value in (0, -1, 1e-30, 1e30, np.nan, np.inf, 1.5, 352, 353.5, -352)]
    + [np.int16(value).tobytes() for value in (0, -1, 1, 2, 4, 5, 8, 64, 512, 32767, -32768)]
)
TEXT = st.sampled_from(
    [
        b"-1",
        b"0",
        b"nan",
        b"inf",
        b"1e30",
        b"99999999999999999999",
        b"32767",
        b"",
        b"%d",
        b"LIST",
        b"../..",
        b"\xff\0",
        b"MET_X",
    ]
)


def nifti_bytes() -> bytes:
    image = nibabel.Nifti1Image(ARRAY.T, np.diag([1.0, 2.0, 3.0, 1.0]))
    image.header.set_slope_inter(2.0, 1.0)
    image.set_qform(image.affine, code=1)
    return image.to_bytes()


def text_bytes(folder: Path, ending: str) -> bytes:
    path = folder / f"original{ending}"
    write_volume(path, Volume(ARRAY.astype(np.float32), (3.0, 2.0, 1.0)))
    return path.read_bytes()


def accepted(path: Path, data: bytes) -> Volume | None:
    """What would be used of a file with these bytes."""
    path.write_bytes(data)
    volume, problems = examine(path)
    assert all(problem.code and problem.message and problem.remedy for problem in problems)
    assert volume is not None or problems
    return None if any(problem.severity == "error" for problem in problems) else volume


def nibabel_reads(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Voxels (depth, height, width) and affine as another program reads them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = nibabel.load(path)
        values = np.asarray(image.dataobj, np.float64)
    return values.reshape(values.shape[:3]).T, image.affine


def assert_read_alike(path: Path, volume: Volume) -> None:
    """Two programs that accept a header must agree on what it says."""
    values, affine = nibabel_reads(path)
    assert volume.array.shape == values.shape
    np.testing.assert_allclose(volume.array, values, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(values).max()))
    header = nibabel.load(path).header
    if (header["sform_code"] > 0 or header["qform_code"] > 0) and int(header["xyzt_units"]) & 7 not in (1, 3):
        ours = np.diag([-1.0, -1.0, 1.0, 1.0]) @ index_to_point(volume)
        last = np.array([*(np.array(values.shape[::-1]) - 1), 1.0])
        assert np.linalg.norm((ours - affine) @ last) <= 0.5 * min(volume.spacing) * (1 + 1e-3)


def mutate_header(path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(nifti_bytes())
    for offset, value in changes:
        data[offset] = value
    volume = accepted(path, bytes(data))
    if volume is not None:
        assert_read_alike(path, volume)


@pytest.mark.parametrize("profile", PROFILES)
def test_changed_header_bytes_are_refused_or_read_as_others_read_them(tmp_path: Path, profile: settings) -> None:
    profile(given(BYTES)(lambda changes: mutate_header(tmp_path / "scan.nii", changes)))()


@pytest.mark.parametrize("profile", PROFILES)
def test_header_fields_of_extreme_values_are_refused_or_read_as_others_read_them(
    tmp_path: Path, profile: settings
) -> None:
    def run(fields: list[tuple[int, bytes]]) -> None:
        mutate_header(tmp_path / "scan.nii", [(at + n, byte) for at, raw in fields for n, byte in enumerate(raw)])

    fields = st.lists(st.tuples(st.sampled_from(FIELDS), NUMBERS), min_size=1, max_size=3)
    profile(given(fields)(run))()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_a_truncated_scan_is_never_accepted(tmp_path: Path, profile: settings, ending: str) -> None:
    raw = nifti_bytes() if ".nii" in ending else text_bytes(tmp_path, ending)
    whole = gzip.compress(raw) if ending == ".nii.gz" else raw

    def run(cut: int) -> None:
        assert accepted(tmp_path / f"scan{ending}", whole[: cut % len(whole)]) is None

    profile(given(st.integers(0, 2**16))(run))()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
def test_a_flipped_bit_in_compressed_voxels_is_seen(tmp_path: Path, profile: settings, ending: str) -> None:
    raw = nifti_bytes() if ".nii" in ending else text_bytes(tmp_path, ending)
    whole = gzip.compress(raw, mtime=0) if ending == ".nii.gz" else raw
    start = {".nii.gz": 0, ".mha": whole.find(b"LOCAL\n") + 6, ".nrrd": whole.find(b"\n\n") + 2}[ending]
    original = accepted(tmp_path / f"original{ending}", whole)
    assert original is not None

    def run(flip: tuple[int, int]) -> None:
        data = bytearray(whole)
        data[start + flip[0] % (len(data) - start)] ^= 1 << flip[1]
        volume = accepted(tmp_path / f"scan{ending}", bytes(data))
        if volume is not None:
            np.testing.assert_array_equal(volume.array, original.array)

    profile(given(FLIPS)(run))()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_a_changed_text_header_ends_in_findings_or_a_sound_volume(
    tmp_path: Path, profile: settings, ending: str
) -> None:
    whole = text_bytes(tmp_path, ending)
    length = whole.find(b"LOCAL\n") + 6 if ending == ".mha" else whole.find(b"\n\n") + 2

    def run(start: int, count: int, text: bytes) -> None:
        start %= length
        volume = accepted(tmp_path / f"scan{ending}", whole[:start] + text + whole[start + count :])
        if volume is not None:
            assert np.isfinite(volume.array).all()
            assert np.isfinite(index_to_point(volume)).all()
            assert min(volume.spacing) > 0

    profile(given(st.integers(0, 2**10), st.integers(0, 6), TEXT | st.binary(max_size=3))(run))()
