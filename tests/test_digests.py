import hashlib
import os
import time

import pytest

from mrisynth.data.store import digests
from mrisynth.data.store.digests import digest_input, digest_inputs, input_files
from mrisynth.errors import InvalidInputError
from mrisynth.files import sha256_file

LONG_AGO = 1_600_000_000
METAIMAGE = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_FLOAT\n"
NRRD = "NRRD0004\ntype: float\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n"


@pytest.fixture
def reads(monkeypatch):
    """The files that were read to be digested, in order."""
    read = []

    def spy(path):
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr(digests, "sha256_file", spy)
    return read


def write(path, data, when=LONG_AGO):
    path.write_bytes(data)
    os.utime(path, (when, when))
    return path


def test_digest_is_the_sha256_of_the_file(tmp_path):
    path = write(tmp_path / "scan.nii.gz", b"voxels")
    expected = hashlib.sha256(b"voxels").hexdigest()
    assert digest_input(path) == expected
    assert digest_inputs([path], tmp_path / "store") == {path: expected}


def test_a_known_file_is_not_read_again(tmp_path, reads):
    paths = [write(tmp_path / f"{name}.nii", name.encode()) for name in ("low", "high")]
    first = digest_inputs(paths, tmp_path / "store")
    assert reads == paths
    assert digest_inputs(paths, tmp_path / "store") == first
    assert reads == paths


def test_a_file_named_twice_is_read_once(tmp_path, reads):
    path = write(tmp_path / "scan.nii", b"voxels")
    digest_inputs([path, path], tmp_path / "store")
    assert reads == [path]


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_changed_file_is_read_again(tmp_path, reads, change):
    path = write(tmp_path / "scan.nii", b"voxels")
    digest_inputs([path], tmp_path / "store")
    if change == "inode":  # another file in its place, as long and as old
        write(tmp_path / "other.nii", b"VOXELS").replace(path)
    else:
        write(path, b"VOXELS" if change == "time" else b"VOXELS!", LONG_AGO + (change == "time"))
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest_inputs([path], tmp_path / "store") == {path: expected}
    assert reads == [path, path]


def test_a_file_written_just_now_is_not_remembered(tmp_path, reads):
    path = write(tmp_path / "scan.nii", b"voxels", time.time())
    for _ in range(2):
        digest_inputs([path], tmp_path / "store")
    assert reads == [path, path]


def test_digests_of_two_calls_at_once_add_up(tmp_path, monkeypatch, reads):
    one, two = (write(tmp_path / f"{name}.nii", name.encode()) for name in ("one", "two"))
    spy = digests.sha256_file

    def read_meanwhile(path):
        """Another call begins and ends while this one reads."""
        monkeypatch.setattr(digests, "sha256_file", spy)
        digest_inputs([one], tmp_path / "store")
        return spy(path)

    monkeypatch.setattr(digests, "sha256_file", read_meanwhile)
    digest_inputs([two], tmp_path / "store")
    assert reads == [one, two]
    digest_inputs([one, two], tmp_path / "store")
    assert reads == [one, two]


def test_missing_inputs_are_left_out(tmp_path):
    path = write(tmp_path / "scan.nii", b"voxels")
    lonely = write(tmp_path / "header.mhd", (METAIMAGE + "ElementDataFile = gone.raw\n").encode())
    assert set(digest_inputs([path, lonely, tmp_path / "no.nii"], tmp_path / "store")) == {path}


@pytest.mark.parametrize(
    ("name", "header", "data"),
    [
        ("scan.mhd", METAIMAGE + "ElementDataFile = scan.raw\n", ["scan.raw"]),
        ("scan.mhd", METAIMAGE + "ElementDataFile = LIST\ns1.raw\ns2.raw\n", ["s1.raw", "s2.raw"]),
        ("scan.mhd", METAIMAGE + "ElementDataFile = s%02d.raw 8 10 1\n", ["s08.raw", "s09.raw", "s10.raw"]),
        ("scan.nhdr", NRRD + "data file: parts/scan.raw\n", ["parts/scan.raw"]),
        ("scan.nhdr", NRRD + "datafile: scan.raw\n", ["scan.raw"]),
        ("scan.nhdr", NRRD + "data file: LIST\ns1.raw\ns2.raw\n", ["s1.raw", "s2.raw"]),
        ("scan.nhdr", NRRD + "data file: s%d.raw 0 4 2\n", ["s0.raw", "s2.raw", "s4.raw"]),
        ("sub/scan.mhd", METAIMAGE + "ElementDataFile = ../scan.raw\n", ["scan.raw"]),
        ("sub/scan.mhd", METAIMAGE + "ElementDataFile = {folder}/scan.raw\n", ["scan.raw"]),
        ("scan.hdr", "", ["scan.img"]),
        ("scan.img", "", ["scan.hdr"]),
    ],
)
def test_a_header_stands_for_its_data_too(tmp_path, name, header, data):
    for part in (name, *data):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        write(tmp_path / part, b"data")
    path = write(tmp_path / name, header.format(folder=tmp_path).encode())
    assert {part.resolve() for part in input_files(path)} == {path, *(tmp_path / part for part in data)}
    before = digest_input(path)
    write(tmp_path / data[-1], b"DATA")
    assert digest_input(path) != before


def test_a_header_with_its_data_inside_stands_for_itself(tmp_path):
    path = write(tmp_path / "scan.mhd", (METAIMAGE + "ElementDataFile = LOCAL\n").encode() + b"\xff\x00")
    assert input_files(path) == [path]


def test_a_folder_is_known_by_the_names_and_contents_of_its_files(tmp_path):
    folder = tmp_path / "dicom"
    folder.mkdir()
    for number in range(3):
        write(folder / f"{number}.dcm", b"slice %d" % number)
    before = digest_input(folder)
    copy = folder.rename(tmp_path / "moved")
    assert digest_input(copy) == before
    write(copy / "1.dcm", b"slice X")
    changed = digest_input(copy)
    (copy / "1.dcm").rename(copy / "9.dcm")
    assert len({before, changed, digest_input(copy)}) == 3


@pytest.mark.parametrize("text", [b"", b"[]", b"\x00\xff", b'{"/a": 3}', b'{"/a": {"size": 1}}'])
def test_damaged_digests_are_told_in_a_sentence(tmp_path, text):
    path = write(tmp_path / "scan.nii", b"voxels")
    (tmp_path / "digests.json").write_bytes(text)
    with pytest.raises(InvalidInputError, match=r"digests\.json .*delete it: the scans are then read once again"):
        digest_inputs([path], tmp_path)
