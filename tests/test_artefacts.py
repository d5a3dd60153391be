import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from mrisynth.data.store import artefacts, checks
from mrisynth.errors import InvalidInputError


def build_numbers(folder):
    (folder / "numbers.bin").write_bytes(b"0123456789")
    return {"made": "by hand"}


def never(folder):
    raise AssertionError("built twice")


def ensure(store, build=build_numbers):
    return artefacts.ensure(store / "things" / "key", build, store=store)


def build_counted(folder):
    with (folder.parent.parent / "builds.log").open("a", encoding="utf-8") as log:
        log.write(f"{os.getpid()}\n")
    return build_numbers(folder)


def ensure_at_once(store, barrier):
    barrier.wait()
    for number in range(20):
        artefacts.ensure(store / "things" / f"key{number}", build_counted, store=store)


def test_the_manifest_names_what_was_built(tmp_path):
    manifest = ensure(tmp_path)
    assert manifest["made"] == "by hand"
    assert manifest["key"] == "key"
    # echo -n 0123456789 | sha256sum
    assert manifest["files"] == {"numbers.bin": "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"}


def test_it_is_built_once(tmp_path):
    assert ensure(tmp_path) == ensure(tmp_path, never)


def test_a_build_that_fails_leaves_nothing_and_is_tried_again(tmp_path):
    def fail(folder):
        (folder / "half.bin").write_bytes(b"0")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        ensure(tmp_path, fail)
    assert list((tmp_path / "things").iterdir()) == []
    assert ensure(tmp_path)["made"] == "by hand"


def test_a_builder_that_was_killed_is_replaced_and_cleared_away(tmp_path):
    script = """
import sys
from pathlib import Path
from mrisynth.data.store import artefacts, checks
def build(folder):
    (folder / "half.bin").write_bytes(b"0")
    print("building", flush=True)
    sys.stdin.read()
artefacts.ensure(Path(sys.argv[1]) / "things" / "key", build, store=Path(sys.argv[1]))
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as builder:
        assert builder.stdout.readline() == "building\n"
        builder.send_signal(signal.SIGKILL)
    assert len(list((tmp_path / "things").iterdir())) == 1
    assert ensure(tmp_path)["made"] == "by hand"
    assert [path.name for path in (tmp_path / "things").iterdir()] == ["key"]


def test_two_processes_at_once_build_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    processes = [context.Process(target=ensure_at_once, args=(tmp_path, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len((tmp_path / "builds.log").read_text(encoding="utf-8").splitlines()) == 20


def spoil_file(folder):
    (folder / "numbers.bin").write_bytes(b"0123456788")


def remove_file(folder):
    (folder / "numbers.bin").unlink()


def spoil_manifest(folder):
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    (folder / "manifest.json").write_text(text.replace("by hand", "by hund"), encoding="utf-8")


def cut_manifest(folder):
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text(encoding="utf-8")[:40], encoding="utf-8")


def remove_manifest(folder):
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize("damage", [spoil_file, remove_file, spoil_manifest, cut_manifest, remove_manifest])
def test_a_damaged_artefact_is_refused_until_it_is_deleted(tmp_path, damage):
    manifest = ensure(tmp_path)
    artefacts._checked_manifest.cache_clear()  # as another process would
    folder = tmp_path / "things" / "key"
    damage(folder)
    with pytest.raises(InvalidInputError, match=f"delete the folder {folder}"):
        ensure(tmp_path)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert ensure(tmp_path) == manifest


def test_a_process_checks_a_folder_once(tmp_path, monkeypatch):
    ensure(tmp_path)
    monkeypatch.setattr(artefacts, "read_manifest", never)
    monkeypatch.setattr(checks, "sha256_file", never)
    ensure(tmp_path)
