import os
from types import SimpleNamespace

import pytest

from mrisynth.search import machine
from mrisynth.search.machine import examine


def item(name, results=None):
    return next(item for item in examine(results) if item.name == name)


@pytest.fixture
def token(tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_text("secret", encoding="utf-8")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    return path


def test_every_item_is_named_once_and_what_is_wrong_has_a_remedy(tmp_path):
    items = examine(tmp_path)
    assert len({item.name for item in items}) == len(items)
    assert all(item.remedy for item in items if item.verdict != "ok")
    assert {"python", "mrisynth", "ray", "optuna", "torch", "memory", "disk"} <= {item.name for item in items}


def test_a_token_that_others_can_read_is_an_error(token):
    token.chmod(0o644)
    found = item("Ray token")
    assert (found.verdict, found.remedy) == ("error", f"chmod 600 {token}")
    token.chmod(0o600)
    assert item("Ray token").verdict == "ok"
    token.unlink()
    assert item("Ray token").verdict == "ok"


def test_a_library_that_is_missing_or_too_old_is_an_error(monkeypatch):
    def version(name):
        if name == "ray":
            raise machine.PackageNotFoundError
        return {"optuna": "4.9.1"}.get(name, "99")

    monkeypatch.setattr(machine, "version", version)
    assert item("ray").verdict == "error"
    assert "mrisynth[search]" in item("ray").remedy
    assert item("optuna").verdict == "error"
    assert "optuna>=5.0" in item("optuna").remedy
    assert item("torch").verdict == "ok"


def test_little_memory_and_a_full_disk_are_warnings(tmp_path, monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1e9, total=8e9))
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9, total=8e9))
    assert item("memory").verdict == "warning"
    assert item("disk", tmp_path / "not" / "there" / "yet").verdict == "warning"


def test_a_folder_without_locks_is_an_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    assert item("locks", tmp_path).verdict == "ok"
    monkeypatch.setattr(machine.fcntl, "flock", refuse)
    found = item("locks", tmp_path)
    assert found.verdict == "error"
    assert "No locks available" in found.value


def test_a_driver_whose_devices_torch_does_not_see_is_a_warning(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "_DRIVER", tmp_path / "none")
    assert item("CUDA devices").verdict == "ok"
    monkeypatch.setattr(machine, "_DRIVER", tmp_path)
    assert item("CUDA devices").verdict == "warning"


def test_devices_are_named_with_their_memory(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    card = SimpleNamespace(name="Card", total_memory=80e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    assert item("CUDA devices").value == "Card with 80 GB"


def test_cores_are_those_of_this_process():
    assert f"{len(os.sched_getaffinity(0))} of" in item("CPU cores").value
