"""How much a node's cache holds, and what goes first."""

import multiprocessing
import os

import numpy as np
import pytest

from mrisynth.data.store import cache
from mrisynth.data.store.records import lock
from mrisynth.errors import InvalidInputError, UsageError


@pytest.fixture
def mirror(tmp_path):
    path = tmp_path / "cache" / "one"
    path.mkdir(parents=True)
    (path / "remote.json").write_text('{"url": "file:///x"}', encoding="utf-8")
    return path


def put(mirror, kind, key, size, used):
    """Something in the cache that was used at a time."""
    path = mirror / kind / key / ("volumes.arrow" if kind == "subjects" else "train.arrow")
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(size))
    uses = cache.touch(mirror, f"{kind}-{key}")
    os.utime(uses, (used, used))
    return path


def limit(monkeypatch, text):
    monkeypatch.setenv("MRISYNTH_CACHE_LIMIT", text)


@pytest.mark.parametrize(
    ("text", "size"), [("50GB", 50 * 10**9), ("1.5 tb", 1.5 * 10**12), ("500MB", 5 * 10**8), ("123", 123)]
)
def test_limits_are_read(monkeypatch, text, size):
    limit(monkeypatch, text)
    assert cache.read_limit() == size


def test_a_limit_that_is_no_size_is_refused(monkeypatch):
    limit(monkeypatch, "plenty")
    with pytest.raises(UsageError, match="MRISYNTH_CACHE_LIMIT is 'plenty'; give a size such as"):
        cache.read_limit()


def test_what_was_used_least_recently_makes_room(mirror, monkeypatch):
    limit(monkeypatch, "25KB")
    old, volumes, new = (
        put(mirror, "shards", "a", 8000, 100),
        put(mirror, "subjects", "b", 8000, 200),
        put(mirror, "slices", "c", 8000, 300),
    )
    target = mirror / "shards" / "new.arrow"
    with cache.room_for(mirror, {target: 7000}):
        assert target.stat().st_size == 7000
        assert not old.parent.exists()
    assert volumes.exists()
    assert new.exists()
    with cache.room_for(mirror, {target: 15000}):
        assert not volumes.exists()
        assert volumes.parent.exists()


def test_room_for_two_at_once_is_counted_twice(mirror, monkeypatch):
    limit(monkeypatch, "25KB")
    first, second = mirror / "one", mirror / "two"
    with (
        cache.room_for(mirror, {first: 15000}),
        pytest.raises(InvalidInputError, match="no room for"),
        cache.room_for(mirror, {second: 15000}),
    ):
        pass
    assert not second.exists()


def test_a_failed_fetch_gives_its_room_back(mirror):
    (mirror / "shards").mkdir()
    path = mirror / "shards" / "new"
    with pytest.raises(OSError, match="broken"), cache.room_for(mirror, {path: 100}):
        raise OSError("broken")
    assert not path.exists()


def hold_until(mirror, key, ready, done):
    cache.hold(mirror, "shards", key)
    ready.set()
    done.wait()


def test_what_another_process_holds_stays_until_it_ends(mirror, monkeypatch):
    limit(monkeypatch, "10KB")
    held, free = put(mirror, "shards", "held", 4000, 1), put(mirror, "shards", "free", 4000, 2)
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold_until, args=(mirror, "held", ready, done))
    process.start()
    ready.wait()
    with cache.room_for(mirror, {mirror / "new": 5000}):
        assert not free.exists()
        assert held.exists()
    (mirror / "new").unlink()
    message = "in use; set MRISYNTH_CACHE_LIMIT higher"
    with pytest.raises(InvalidInputError, match=message), cache.room_for(mirror, {mirror / "new": 8000}):
        pass
    done.set()
    process.join()
    with cache.room_for(mirror, {mirror / "new": 8000}):
        assert not held.exists()


def test_a_process_holds_only_what_it_opened_last(mirror, monkeypatch):
    limit(monkeypatch, "10KB")
    first, second = put(mirror, "shards", "first", 4000, 1), put(mirror, "shards", "second", 4000, 2)
    cache.hold(mirror, "shards", "first")
    cache.hold(mirror, "shards", "second")
    with cache.room_for(mirror, {mirror / "new": 5000}):
        assert not first.exists()
        assert second.exists()


def test_what_is_mapped_may_be_removed(mirror, monkeypatch):
    limit(monkeypatch, "10KB")
    path = put(mirror, "subjects", "a", 8000, 1)
    path.write_bytes(b"\1" * 8000)
    mapped = np.memmap(path, np.uint8, "r")
    with cache.room_for(mirror, {mirror / "new": 9000}):
        assert not path.exists()
    assert mapped.sum() == 8000


def test_what_a_killed_process_left_is_removed_and_what_one_fills_stays(mirror):
    left, filling = mirror / "shards" / ".dead.x.tmp", mirror / "subjects" / ".alive.x.tmp"
    for folder in (left, filling):
        folder.mkdir(parents=True)
    with lock(mirror, "alive"):
        cache.make_room(mirror.parent, 0)
    assert not left.exists()
    assert filling.exists()
