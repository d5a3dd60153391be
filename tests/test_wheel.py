"""An installed wheel works in any folder: it carries the search spaces and the dashboard."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_an_installed_wheel_finds_its_spaces_and_its_dashboard(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = (
        "import mrisynth.shipped as s; print(s.__file__, s.search_spaces(), s.dashboard_script());"
        "import runpy, sys; sys.argv = ['mrisynth', 'space', 'list']; runpy.run_module('mrisynth', run_name='__main__')"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, encoding="utf-8"
    )
    places, *listed = answer.stdout.splitlines()
    assert all(Path(place).is_relative_to(tmp_path / "site") and Path(place).exists() for place in places.split())
    for space in (ROOT / "search_spaces").glob("*.yaml"):
        assert any(space.stem in line for line in listed)


@pytest.mark.slow
def test_a_wheel_holds_no_tests_and_no_leftovers(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "mrisynth/dashboard/.streamlit/config.toml" in names
    assert {"mrisynth/docker/kuberay/rayjob.yaml", "mrisynth/docker/slurm/sweep.sbatch"} <= set(names)
    assert {name.split("/")[0] for name in names} == {"mrisynth", f"{wheel.name.split('-py3')[0]}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or "test" in Path(name).name]
