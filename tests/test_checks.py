"""When an artefact is read through again, and when a note that it was whole is enough."""

import json
import os
import time

import pytest

from mrisynth.data.store import artefacts, checks
from mrisynth.errors import InvalidInputError

DAY = 24 * 3600


def build(folder):
    (folder / "numbers.bin").write_bytes(b"0123456789")
    return {}


def ensure(store):
    """As a process of its own would."""
    artefacts._checked_manifest.cache_clear()
    return artefacts.ensure(store / "things" / "key", build, store=store)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with an artefact that is old enough to be noted."""
    monkeypatch.setattr(checks, "_TICK_SECONDS", -1.0)
    ensure(tmp_path)
    return tmp_path


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are read through from here on."""
    names = []

    def count(path, hash_file=checks.sha256_file):
        names.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(checks, "sha256_file", count)
    return names


def note(store):
    return store / "checked" / "things-key.json"


def test_what_was_found_whole_is_not_read_again(store, hashed):
    assert ensure(store) == ensure(store)
    assert hashed == []


@pytest.mark.parametrize("spoil", ["note", "folder"])
def test_it_is_read_where_there_is_no_note_or_a_damaged_one(store, hashed, spoil):
    if spoil == "note":
        note(store).write_bytes(b"{")
    else:
        note(store).unlink()
    ensure(store)
    ensure(store)
    assert hashed == ["numbers.bin"]


def test_a_change_in_place_is_found_whatever_time_it_pretends(store):
    path = store / "things" / "key" / "numbers.bin"
    before = path.stat()
    path.write_bytes(b"0123456788")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InvalidInputError, match=r"numbers\.bin is damaged"):
        ensure(store)
    assert not note(store).exists()


def test_another_file_in_its_place_is_found(store, tmp_path):
    (tmp_path / "other").write_bytes(b"0123456788")
    (tmp_path / "other").replace(store / "things" / "key" / "numbers.bin")
    with pytest.raises(InvalidInputError, match=r"numbers\.bin is damaged"):
        ensure(store)


def test_a_copy_of_the_store_is_read_once(store, hashed):
    path = store / "things" / "key" / "numbers.bin"
    (store / "copy").write_bytes(path.read_bytes())
    (store / "copy").replace(path)
    ensure(store)
    ensure(store)
    assert hashed == ["numbers.bin"]


def rot(store):
    """Other bits on the disk, of which the file system knows nothing."""
    path = store / "things" / "key" / "numbers.bin"
    path.write_bytes(b"0123456788")
    noted = json.loads(note(store).read_text(encoding="utf-8"))
    noted["files"]["numbers.bin"] |= checks._stamp(path)
    note(store).write_text(json.dumps(noted), encoding="utf-8")


def test_damage_that_shows_in_no_stamp_is_found_within_a_day(store, monkeypatch):
    rot(store)
    ensure(store)
    now = time.time()
    monkeypatch.setattr(checks.time, "time", lambda: now + DAY)
    with pytest.raises(InvalidInputError, match=r"numbers\.bin is damaged"):
        ensure(store)


def test_a_note_from_the_future_counts_for_nothing(store, monkeypatch, hashed):
    now = time.time()
    monkeypatch.setattr(checks.time, "time", lambda: now - DAY)
    ensure(store)
    assert hashed == ["numbers.bin"]


def test_a_file_that_was_just_written_is_not_noted(tmp_path, monkeypatch, hashed):
    monkeypatch.setattr(checks, "_TICK_SECONDS", 60.0)
    ensure(tmp_path)
    assert not note(tmp_path).exists()
    ensure(tmp_path)
    assert hashed == ["numbers.bin"] * 2


def test_another_artefact_of_the_same_key_needs_a_note_of_its_own(store, hashed):
    folder = store / "things" / "key"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    ensure(store)
    assert hashed == ["numbers.bin"]


def test_a_store_that_cannot_be_written_to_is_read_every_time(store, monkeypatch, hashed):
    def refuse(path, value):
        raise PermissionError(13, "Permission denied", str(path))

    note(store).unlink()
    monkeypatch.setattr(checks, "write_json", refuse)
    ensure(store)
    ensure(store)
    assert hashed == ["numbers.bin"] * 2
