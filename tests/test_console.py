"""What the commands say to people."""

import shutil
import sys

import pytest

from mrisynth.cli.console import program


@pytest.mark.parametrize(
    ("found", "called", "shown"),
    [
        ("/usr/bin/mrisynth", "/usr/bin/mrisynth", "mrisynth"),
        (None, "/lab/.venv/bin/mrisynth", "/lab/.venv/bin/mrisynth"),
        (None, "/lab/mrisynth/__main__.py", f"{sys.executable} -m mrisynth"),
    ],
)
def test_a_hint_names_a_program_that_can_be_called(monkeypatch, found, called, shown):
    monkeypatch.setattr(shutil, "which", lambda _: found)
    monkeypatch.setattr(sys, "argv", [called])
    assert program() == shown
