"""`mrisynth data check` as a whole: its table of codes, and inputs that only the file system or a list can bring."""

import ast
import gzip
import json
import os
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import Command
from test_layers import ROOT

from mrisynth.data.cohort import Finding, Pair, check_pairs, read_pairs
from mrisynth.data.scans.volumes import Volume, inspect, read_volume, write_volume
from mrisynth.errors import InvalidInputError

ARRAY = np.random.default_rng(0).random((6, 8, 10), dtype=np.float32)


def codes(path: Path) -> list[tuple[str, str]]:
    return [(problem.code, problem.severity) for problem in inspect(path)]


def write(path: Path, *, seed: int = 0, every: float = 1.0) -> Path:
    array = np.random.default_rng(seed).random((6, 8, 10), dtype=np.float32)
    write_volume(path, Volume(array, (every, every, every)))
    return path


def check_list(folder: Path, text: str) -> list[Finding]:
    (folder / "pairs.csv").write_text(text, encoding="utf-8")
    return check_pairs(read_pairs(folder / "pairs.csv"), jobs=1)


def codes_in_code() -> set[tuple[str, str]]:
    """Every code that a call of `error` or `warning` names, with its severity."""
    found = set()
    for path in (ROOT / "mrisynth" / "data").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("error", "warning") and len(node.args) == 3:
                found.add((str(node.args[0].value), name))
    return found


def test_the_document_lists_every_code_and_no_other() -> None:
    text = (ROOT / "docs" / "data-check.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (error|warning) \| .+ \|$", text, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == codes_in_code()


def test_json_is_the_list_of_findings(tmp_path: Path, command: Command) -> None:
    write(tmp_path / "low.nii.gz", every=2)
    (tmp_path / "pairs.csv").write_text("subject,low,high\na,low.nii.gz,high.nii.gz\n", encoding="utf-8")
    answer = command("data", "check", tmp_path / "pairs.csv", "--json", "--jobs", 1)
    (finding,) = json.loads(answer.stdout)["findings"]
    assert answer.code == 3
    assert set(finding) == {"subject", "file", "code", "severity", "message", "remedy"}
    assert (finding["subject"], finding["code"]) == ("a", "missing")


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    raw = nibabel.Nifti1Image(ARRAY.T, np.eye(4)).to_bytes()
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(raw + bytes(2**22)))
    assert codes(tmp_path / "scan.nii.gz") == [("gzip-bomb", "error")]


def test_a_header_that_promises_more_than_memory_is_refused(tmp_path: Path) -> None:
    raw = bytearray(nibabel.Nifti1Image(ARRAY.T, np.eye(4)).to_bytes())
    raw[42:48] = np.int16([32767] * 3).tobytes()
    (tmp_path / "scan.nii").write_bytes(raw)
    assert codes(tmp_path / "scan.nii") == [("too-large", "error")]


def test_a_metaimage_with_damaged_compression_is_refused(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "scan.mha").read_bytes())
    data[-40] ^= 16
    (tmp_path / "scan.mha").write_bytes(data)
    assert codes(tmp_path / "scan.mha") == [("damaged", "error")]


@pytest.mark.parametrize(
    "extra",
    [
        "TransformType = Rigid",
        "AcquisitionDate = 20200101",
        "ElementSizeValid = True",
        "Scanner = 7T",
        "DistanceUnits = mm",
    ],
)
def test_a_metaimage_with_fields_of_its_own_is_fine(tmp_path: Path, extra: str) -> None:
    data = write(tmp_path / "scan.mha").read_bytes()
    (tmp_path / "scan.mha").write_bytes(data.replace(b"BinaryData =", f"{extra}\nBinaryData =".encode(), 1))
    assert codes(tmp_path / "scan.mha") == []


def test_a_metaimage_with_a_misspelt_field_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "scan.mha").read_bytes()
    (tmp_path / "scan.mha").write_bytes(data.replace(b"ElementSpacing", b"ElementSpicing", 1))
    assert codes(tmp_path / "scan.mha") == [("header", "error")]


@pytest.mark.parametrize("offset", [252, 254])
def test_an_unknown_code_of_a_place_is_refused(tmp_path: Path, offset: int) -> None:
    data = bytearray(write(tmp_path / "scan.nii").read_bytes())
    data[offset : offset + 2] = (300).to_bytes(2, "little")
    (tmp_path / "scan.nii").write_bytes(data)
    assert codes(tmp_path / "scan.nii") == [("header", "error")]


def test_a_sheared_sform_tells_its_angle_even_beside_a_good_qform(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(ARRAY.T, np.eye(4))
    image.set_qform(np.eye(4), code=1)
    image.set_sform(np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), code=1)
    nibabel.save(image, tmp_path / "scan.nii")
    (problem,) = inspect(tmp_path / "scan.nii")
    assert problem.code == "sheared"
    assert "16.7 degrees" in problem.message


def test_a_unit_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(ARRAY.T, np.diag([0.2, 0.2, 0.2, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "scan.nii")
    (problem,) = inspect(tmp_path / "scan.nii")
    assert problem.code == "spacing"
    assert "micrometres" in problem.remedy


def test_a_whole_of_an_odd_size_is_warned_of(tmp_path: Path) -> None:
    assert codes(write(tmp_path / "scan.nii", every=0.05)) == [("extent", "warning")]


def test_partners_of_very_different_size_are_warned_of(tmp_path: Path) -> None:
    pair = Pair("a", write(tmp_path / "low.nii", every=10), write(tmp_path / "high.nii", seed=1))
    assert [(f.code, f.severity) for f in check_pairs([pair], jobs=1)] == [("field-of-view", "warning")]


def test_paths_that_are_not_ascii_work(tmp_path: Path) -> None:
    folder = tmp_path / "Größe 脳 é"
    folder.mkdir()
    for name in ("niedrig ä.nii.gz", "hoch ß.mha"):
        write(folder / name, seed=len(name), every=2 if "ä" in name else 1)
    assert check_list(folder, "subject,low,high\na,niedrig ä.nii.gz,hoch ß.mha\n") == []


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    assert codes(tmp_path / "loop.nii") == [("broken-link", "error")]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scan.nii")
    assert codes(tmp_path / "scan.nii") == [("not-a-file", "error")]


def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "scan.nii")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert codes(path) == [("no-permission", "error")]


def test_a_name_that_no_file_can_have_is_a_finding(tmp_path: Path) -> None:
    assert codes(tmp_path / ("x" * 300 + ".nii")) == [("missing", "error")]


def test_a_path_that_leaves_the_folder_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    write(tmp_path / "low.nii", every=2)
    high = write(tmp_path / "high.nii", seed=1)
    findings = check_list(tmp_path / "lists", f"subject,low,high\na,x/../../low.nii,{high}\n")
    assert [f.code for f in findings if f.code != "missing"] == ["outside-folder"]


def test_a_subject_in_two_splits_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"in 2 splits \(test, train\)"):
        check_list(tmp_path, "subject,low,high,split\na,l,h,train\na,l,h,test\n")


@pytest.mark.parametrize("value", ["~nobody-of-that-name/x.nii", "a\0b"])
def test_paths_that_mean_nothing_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidInputError):
        check_list(tmp_path, f"subject,low,high\na,{value},h\n")


def test_a_scan_named_as_uncompressed_is_still_read(tmp_path: Path) -> None:
    write(tmp_path / "scan.nii").rename(tmp_path / "scan.nii.gz")
    assert codes(tmp_path / "scan.nii.gz") == [("misnamed", "warning")]
    assert read_volume(tmp_path / "scan.nii.gz").array.shape == (6, 8, 10)
