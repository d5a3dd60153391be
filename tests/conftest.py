"""Small inputs that several test files share."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from mrisynth.cli import main

if TYPE_CHECKING:
    from postgres_fixtures import Server


class Answer(NamedTuple):
    """What a command left: its exit code and its two streams."""

    code: int
    stdout: str
    stderr: str


Command = Callable[..., Answer]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run."""
    missing = {"browser": not Path("/usr/bin/chromium").exists()}
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        missing["gpu"] = not torch.cuda.is_available()
    for item in items:
        for marker in (name for name, lacking in missing.items() if lacking and item.get_closest_marker(name)):
            item.add_marker(pytest.mark.skip(reason=f"there is no {marker} here"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `mrisynth ARGUMENTS` in this process."""

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["mrisynth", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def workers_find_stub() -> Iterator[None]:
    """Ray's workers import the stub trial that lies beside this file."""
    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent)]))
        yield


@pytest.fixture(scope="session")
def phantom_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom cohort of three subjects, 32 high-field voxels an axis: its folder. Never written to."""
    from mrisynth.data.phantom.cohort import make_cohort

    return make_cohort(tmp_path_factory.mktemp("phantom"), subjects=3, size=(32, 32, 32), seed=3, jobs=1).parent


@pytest.fixture(scope="session")
def postgres() -> Iterator["Server"]:
    """A PostgreSQL server; whoever stops it starts it again."""
    from postgres_fixtures import run_postgres

    with run_postgres() as server:
        yield server
