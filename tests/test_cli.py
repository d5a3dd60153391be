"""The command line: help at once, exit codes, and one sentence for each mistake with nothing left behind."""

import gzip
import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import Command

SPACE = """\
description: A small space
objectives: {psnr: maximize}
budget: {trials: 2}
fixed: {generator: dcgan, epochs: 2}
search:
  losses.l1: {float: [0.1, 10], log: true}
"""


@pytest.fixture
def scans(phantom_scans: Path, tmp_path: Path) -> Path:
    """A copy of the phantom cohort that a test may spoil."""
    shutil.copytree(phantom_scans, tmp_path / "scans", ignore=shutil.ignore_patterns("truth"))
    return tmp_path / "scans"


def processor_seconds(*words: str) -> tuple[float, str]:
    """What Python takes with these arguments, and prints; wall time under the load of other tests says nothing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run([sys.executable, *words], check=True, capture_output=True, encoding="utf-8")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, answer.stdout


def test_help_answers_at_once() -> None:
    # Against the libraries that print it, side by side: how fast machines are differs by a factor of three.
    libraries, helps = [], []
    for _ in range(5):
        libraries.append(processor_seconds("-c", "import typer.core, rich.markdown, rich.panel, rich.table")[0])
        seconds, said = processor_seconds("-m", "mrisynth", "--help")
        helps.append(seconds)
        assert "sweep" in said
    assert min(helps) < 3 * min(libraries), (helps, libraries)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, mrisynth.cli; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, encoding="utf-8"
    ).stdout.split()
    assert not {"torch", "ray", "optuna", "SimpleITK", "numpy", "pyarrow", "streamlit", "pydantic"} & set(modules)


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    image = sitk.ReadImage(str(path))
    changed = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image).astype(np.float32)))
    if changed.GetDimension() == 3:
        changed.CopyInformation(image)
    sitk.WriteImage(changed, str(path))


def truncate(scans: Path) -> None:
    path = scans / "phantom-02_low.nii.gz"
    path.write_bytes(path.read_bytes()[:-4000])


def put_nan(scans: Path) -> None:
    def spoil(array: np.ndarray) -> np.ndarray:
        array[3, 4, 5] = np.nan
        return array

    rewrite(scans / "phantom-02_low.nii.gz", spoil)


def make_4d(scans: Path) -> None:
    path = scans / "phantom-02_low.nii.gz"
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(path))


def make_constant(scans: Path) -> None:
    rewrite(scans / "phantom-02_low.nii.gz", lambda array: np.full_like(array, 7))


def zero_spacing(scans: Path) -> None:
    path = scans / "phantom-02_low.nii.gz"
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[80:84] = np.float32(0).tobytes()  # pixdim[1] of the NIfTI-1 header
    path.write_bytes(gzip.compress(bytes(raw)))


def move_apart(scans: Path) -> None:
    path = scans / "phantom-02_low.nii.gz"
    image = sitk.ReadImage(str(path))
    image.SetOrigin([500.0, 0.0, 0.0])
    sitk.WriteImage(image, str(path))


def delete(scans: Path) -> None:
    (scans / "phantom-02_low.nii.gz").unlink()


def list_twice(scans: Path) -> None:
    pairs = scans / "pairs.csv"
    lines = pairs.read_text(encoding="utf-8").splitlines()
    pairs.write_text("\n".join([*lines, lines[2]]) + "\n", encoding="utf-8")


BAD_SCANS = {
    truncate: ("phantom-02_low.nii.gz", "ends in the middle"),
    put_nan: ("phantom-02_low.nii.gz", "NaN"),
    make_4d: ("phantom-02_low.nii.gz", "4-D"),
    make_constant: ("phantom-02_low.nii.gz", "constant"),
    zero_spacing: ("phantom-02_low.nii.gz", "spacing"),
    move_apart: ("phantom-02_low.nii.gz", "overlap"),
    delete: ("phantom-02_low.nii.gz", "does not exist"),
    list_twice: ("pairs.csv", "phantom-02"),
}


@pytest.mark.parametrize("spoil", BAD_SCANS, ids=lambda spoil: spoil.__name__)
def test_bad_scans_are_refused_and_nothing_is_left(
    spoil: Callable[[Path], None], scans: Path, tmp_path: Path, command: Command
) -> None:
    spoil(scans)
    file, word = BAD_SCANS[spoil]
    checked = command("data", "check", scans / "pairs.csv")
    prepared = command("data", "prepare", scans / "pairs.csv", tmp_path / "store")
    assert (checked.code, prepared.code) == (3, 3)
    for text in (checked.stdout + checked.stderr, prepared.stderr):
        assert file in text
        assert word in text
    assert "Traceback" not in checked.stderr + prepared.stderr
    assert not (tmp_path / "store").exists()


def test_check_prints_findings_for_programs(scans: Path, command: Command) -> None:
    make_constant(scans)
    answer = command("data", "check", scans / "pairs.csv", "--json")
    value = json.loads(answer.stdout)
    assert value["schema_version"] == 1
    (finding,) = value["findings"]
    assert set(finding) == {"subject", "file", "code", "severity", "message", "remedy"}
    assert (finding["subject"], finding["severity"]) == ("phantom-02", "error")


BAD_SPACES = {
    "a misspelt parameter": ("losses.l1:", "losses.ll1:", "line 6", "did you mean 'losses.l1'"),
    "an impossible range": ("[0.1, 10]", "[10, 0.1]", "line 6", "losses.l1"),
    "an unused block": ("fixed: {", "fixed: {unet: {filters: 8}, ", "line 4", "unet"),
    "an unknown objective": ("psnr:", "pnsr:", "line 2", "did you mean 'psnr'"),
}


@pytest.mark.parametrize("mistake", BAD_SPACES)
def test_bad_spaces_are_refused_and_nothing_is_left(mistake: str, tmp_path: Path, command: Command) -> None:
    before, after, line, word = BAD_SPACES[mistake]
    assert before in SPACE
    path = tmp_path / "mine.yaml"
    path.write_text(SPACE.replace(before, after), encoding="utf-8")
    checked = command("space", "check", path)
    swept = command("sweep", path, "--data", tmp_path / "store", "--results", tmp_path / "results", "--name", "a")
    for answer in (checked, swept):
        assert answer.code == 3
        assert f"mine.yaml, {line}" in answer.stderr
        assert word in answer.stderr
        assert "Traceback" not in answer.stderr
    assert not (tmp_path / "results").exists()


NOT_FOUND = {
    "status of no sweep": ["status", "{results}/fisrt"],
    "top of no sweep": ["top", "{results}/fisrt"],
    "resume of no sweep": ["resume", "{results}/fisrt"],
    "no such space": ["space", "show", "gann"],
    "no such pairs": ["data", "check", "{results}/pairs.csv"],
    "no such store": ["data", "info", "{results}/store"],
    "a sweep over no store": ["sweep", "smoke", "--data", "{results}/store", "--results", "{results}", "--name", "b"],
    "no such results": ["dashboard", "{results}/nothing"],
}


@pytest.mark.parametrize("case", NOT_FOUND)
def test_what_is_not_there_is_one_sentence(case: str, tmp_path: Path, command: Command) -> None:
    before = sorted(tmp_path.rglob("*"))
    answer = command(*[part.format(results=tmp_path) for part in NOT_FOUND[case]])
    assert answer.code == 4
    assert answer.stdout == ""
    assert answer.stderr.startswith("error: ")
    assert "Traceback" not in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_wrong_option_is_a_usage_error(command: Command) -> None:
    assert command("data", "phantom", "out", "--size", "10").code == 2
    assert command("top").code == 2
    assert command("tpo").code == 2


def test_space_show_prints_what_is_searched(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SPACE, encoding="utf-8")
    value = json.loads(command("space", "show", path, "--json").stdout)
    assert value["schema_version"] == 1
    assert set(value["search"]) == {"losses.l1"}
    assert value["trials"] == []
    assert value["size"]["tree"][0]["parameter"] == "losses.l1"


def test_space_show_is_a_tree_and_says_what_the_constraints_throw_away(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = "budget: {trials: 3}\nconstraints: {generator_parameters: {max: 1e6}}\nsearch:\n"
    text += "  generator: [unet, forest]\n"
    path.write_text(text + "  unet.filters: {choice: [8, 16]}\n", encoding="utf-8")
    shown = command("space", "show", path).stdout
    assert re.search(r"unet: 2 combinations, network of [\d,]+ to 1,829,025 parameters", shown)
    thrown = r"\d+ of 50 random suggestions break generator_parameters <= 1,000,000"
    assert re.search(thrown, shown)
    assert re.search(thrown, command("space", "check", path).stderr)
    sampled = command("space", "sample", path, "-n", "10")
    assert re.search(thrown, sampled.stderr)
    assert all(json.loads(line).get("unet", {}).get("filters") != 16 for line in sampled.stdout.splitlines())


def test_the_schema_is_of_a_trial_or_of_a_space(command: Command) -> None:
    assert "unet" in json.loads(command("space", "schema").stdout)["properties"]
    assert "search" in json.loads(command("space", "schema", "--space").stdout)["properties"]
