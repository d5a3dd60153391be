"""A remote store as nodes see it: published once, fetched once, never half."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from prepared_fixtures import make_store
from s3_fixtures import run_server

from mrisynth.data import shards, slices
from mrisynth.data.patches import PatchConfig
from mrisynth.data.quality.judgement import decide
from mrisynth.data.store import mirror
from mrisynth.data.store.prepared import open_cohort
from mrisynth.data.store.records import is_prepared
from mrisynth.data.store.remote_verification import verify_remote
from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError

PATCHES = PatchConfig(size=8, per_subject=30)


@pytest.fixture(scope="module")
def server():
    with run_server() as running:
        yield running


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Make this process a node with an empty cache; call it again for another one."""
    count = 0

    def become():
        nonlocal count
        count += 1
        monkeypatch.setenv("MRISYNTH_CACHE", str(tmp_path / f"cache{count}"))

    become()
    return become


@pytest.fixture(params=["s3", "file"])
def url(request, tmp_path):
    """The URL of a store that was prepared elsewhere, on a real server and in a folder."""
    if request.param == "file":
        make_store(tmp_path / "remote")
        return f"file://{tmp_path / 'remote'}"
    url = request.getfixturevalue("server").url(tmp_path.name)
    publish(tmp_path / "made", url)
    return url


@pytest.fixture
def folder_url(tmp_path):
    make_store(tmp_path / "remote")
    return f"file://{tmp_path / 'remote'}"


def publish(folder, url):
    """Copy a local store to a URL as it is: the layout is the same."""
    make_store(folder)
    remote = mirror.open_remote(url)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        remote.upload(path, str(path.relative_to(folder)))


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_path_is_itself_and_a_url_is_a_folder_of_the_cache(tmp_path, node):
    assert mirror.locate("some/store") == Path("some/store")
    assert mirror.location_of(tmp_path) == str(tmp_path.resolve())
    found = mirror.locate("s3://bucket/store/")
    assert found == mirror.locate("s3://bucket/store")
    assert mirror.location_of(found) == "s3://bucket/store"
    assert found.parent == tmp_path / "cache1"


def test_records_come_on_opening_and_volumes_when_they_are_read(url, node, tmp_path):
    store = mirror.locate(url)
    cohort = open_cohort(store)
    assert [subject.name for subject in cohort.subjects] == ["ant", "bee", "cat", "dog", "eel"]
    assert not list(store.rglob("*.arrow"))
    low, _, mask = cohort.of_split("train")[0].volumes()
    expected = make_store(tmp_path / "expected").of_split("train")[0].volumes()
    np.testing.assert_array_equal(low, expected[0])
    np.testing.assert_array_equal(mask, expected[2])
    assert [path.parent.name for path in store.rglob("*.arrow")] == ["key-of-ant"]


def test_what_one_node_cut_the_next_one_fetches(url, node, monkeypatch):
    first = shards.ensure(open_cohort(mirror.locate(url)), PATCHES)
    scored = slices.ensure(open_cohort(mirror.locate(url)))
    node()
    monkeypatch.setattr(shards, "_cut", None)  # cutting again would fail
    monkeypatch.setattr(slices, "_cut", None)
    again = shards.ensure(open_cohort(mirror.locate(url)), PATCHES)
    np.testing.assert_array_equal(first.train.low, again.train.low)
    np.testing.assert_array_equal(scored[0].matched, slices.ensure(open_cohort(mirror.locate(url)))[0].matched)
    assert not list(mirror.locate(url).glob("subjects/*/volumes.arrow"))


def test_an_artefact_without_its_manifest_is_not_there(url, node):
    shards.ensure(open_cohort(mirror.locate(url)), PATCHES)
    remote = mirror.open_remote(url)
    (manifest,) = [name for name in remote.list("shards") if name.endswith("manifest.json")]
    remote.move(manifest, "elsewhere.json")
    remote.write(manifest.replace("manifest.json", "train.arrow"), b"half of it")
    node()
    # It is cut again, and what was half there is replaced.
    shards.ensure(open_cohort(mirror.locate(url)), PATCHES)
    assert manifest in remote.list("shards")
    node()
    assert len(shards.ensure(open_cohort(mirror.locate(url)), PATCHES).train) == 60


@pytest.mark.parametrize("damage", ["flip", "cut", "manifest", "gone"])
def test_damaged_shards_are_refused_and_leave_nothing(folder_url, node, tmp_path, damage):
    shards.ensure(open_cohort(mirror.locate(folder_url)), PATCHES)
    (folder,) = (tmp_path / "remote" / "shards").iterdir()
    path = folder / ("manifest.json" if damage == "manifest" else "train.arrow")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else data)
    if damage == "gone":
        path.unlink()
    node()
    store = mirror.locate(folder_url)
    with pytest.raises(InvalidInputError, match=r"file://.*(train.arrow|manifest.json) is damaged: .*--set-aside"):
        shards.ensure(open_cohort(store), PATCHES)
    assert list((store / "shards").iterdir()) == []


def test_damaged_volumes_are_refused_and_leave_nothing(folder_url, node, tmp_path):
    path = tmp_path / "remote" / "subjects" / "key-of-ant" / "volumes.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    store = mirror.locate(folder_url)
    with pytest.raises(InvalidInputError, match=r"key-of-ant/volumes.arrow is damaged"):
        open_cohort(store).of_split("train")[0].volumes()
    assert not list(store.rglob("*.arrow"))
    assert not list(store.rglob("*.tmp"))


@pytest.mark.parametrize("name", ["record.json", "volumes.arrow"])
def test_a_subject_that_is_not_whole_there_is_refused_on_opening(folder_url, node, tmp_path, name):
    (tmp_path / "remote" / "subjects" / "key-of-cat" / name).unlink()
    with pytest.raises(InvalidInputError, match=r"key-of-cat \(cat\) is missing or damaged; prepare file://"):
        open_cohort(mirror.locate(folder_url))


def test_a_list_that_is_no_json_is_refused_by_its_address(folder_url, node, tmp_path):
    (tmp_path / "remote" / "cohort.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"file://.*/cohort.json is damaged: it is not JSON"):
        open_cohort(mirror.locate(folder_url))


def test_a_store_that_is_not_there_is_named_by_its_url(server, node):
    with pytest.raises(NotFoundError, match=r"s3://bucket/none\S* is not a prepared store"):
        open_cohort(server.locate("none"))
    with pytest.raises(NotFoundError, match="there is no bucket other"):
        open_cohort(mirror.locate(server.url("none", bucket="other")))


def fetch_shards(url, barrier):
    cohort = open_cohort(mirror.locate(url))
    barrier.wait()
    shards.ensure(cohort, PATCHES)


def test_the_processes_of_a_node_fetch_a_shard_once(folder_url, node, tmp_path, monkeypatch):
    shards.ensure(open_cohort(mirror.locate(folder_url)), PATCHES)
    node()
    context = multiprocessing.get_context("fork")
    log, barrier, fetch = tmp_path / "fetched.log", context.Barrier(4), mirror.Remote.fetch

    def logged(self, name, path):
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{Path(name).name}\n")
        return fetch(self, name, path)

    monkeypatch.setattr(mirror.Remote, "fetch", logged)
    processes = [context.Process(target=fetch_shards, args=(folder_url, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert sorted(log.read_text(encoding="utf-8").split()) == ["train.arrow", "validation.arrow"]


def test_a_fetch_that_is_killed_leaves_nothing_half_written(folder_url, node, monkeypatch):
    expected = shards.ensure(open_cohort(mirror.locate(folder_url)), PATCHES).train.low.copy()
    node()
    store = mirror.locate(folder_url)
    cohort = open_cohort(store)

    def fetch_and_die(self, name, path):
        path.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(mirror.Remote, "fetch", fetch_and_die)
        process = multiprocessing.get_context("fork").Process(target=shards.ensure, args=(cohort, PATCHES))
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in (store / "shards").iterdir() if not path.name.startswith(".")] == []
    np.testing.assert_array_equal(shards.ensure(cohort, PATCHES).train.low, expected)
    assert not list(store.rglob("*.tmp"))


def test_reads_of_the_test_split_are_counted_across_nodes(url, node):
    open_cohort(mirror.locate(url)).read_test()
    node()
    cohort = open_cohort(mirror.locate(url))
    (eel,) = cohort.read_test()
    assert cohort.count_test_reads() == 2
    assert eel.volumes()[0].shape == (12, 20, 24)
    (first, _) = sorted(mirror.open_remote(url).list("test-reads"))
    assert json.loads(mirror.open_remote(url).read(first))["subjects"] == ["eel"]


def test_a_decision_reaches_every_node(url, node):
    decide(mirror.locate(url), exclude=["bee"], reason="it moved")
    node()
    assert [subject.name for subject in open_cohort(mirror.locate(url)).of_split("train")] == ["ant"]


def test_preparing_continues_what_a_killed_preparation_had_not_uploaded(folder_url, node, tmp_path):
    store = mirror.locate(folder_url)
    open_cohort(store).of_split("train")[0].volumes()
    open_cohort(store)
    for key in ("key-of-ant", "key-of-bee"):
        (tmp_path / "remote" / "subjects" / key / "record.json").unlink()
    mirror.refresh_to_prepare(store)
    # The ant is whole here, the bee's volumes are nowhere.
    assert "record.json" in {path.name for path in (tmp_path / "remote/subjects/key-of-ant").iterdir()}
    assert is_prepared(store / "subjects" / "key-of-ant")
    assert not is_prepared(store / "subjects" / "key-of-bee")


def test_verifying_reads_the_remote_store_and_not_the_mirror(url, node, tmp_path):
    store = mirror.locate(url)
    shards.ensure(open_cohort(store), PATCHES)
    assert {part.state for part in verify_remote(store)} == {"whole"}
    remote = mirror.open_remote(url)
    (train,) = [name for name in remote.list("shards") if name.endswith("train.arrow")]
    remote.write(train, b"other bytes")
    remote.write("subjects/key-of-ant/volumes.arrow", b"other bytes")
    remote.write("notes.txt", b"mine")
    bad = {part.path: part for part in verify_remote(store) if part.state != "whole"}
    assert {path: part.state for path, part in bad.items()} == {
        train.rpartition("/")[0]: "damaged",
        "subjects/key-of-ant": "damaged",
        "notes.txt": "foreign",
    }
    verify_remote(store, set_aside=True)
    names = remote.list("")
    assert train not in names
    assert f"damaged/shards-{Path(train).parent.name}/train.arrow" in names
    assert "damaged/subjects-key-of-ant/record.json" in names
    shards_there = [part for part in verify_remote(store) if part.path.startswith("subjects/key-of-ant")]
    assert [part.state for part in shards_there] == ["missing"]
    assert not list(store.glob("verify/.*"))


# The last one: it ends this module's server.
def test_a_server_that_is_killed_is_one_sentence(server, node, tmp_path):
    url = server.url("killed")
    publish(tmp_path / "made", url)
    cohort = open_cohort(mirror.locate(url))
    server.kill()
    began = time.monotonic()
    with pytest.raises(MrisynthError, match="cannot be reached, after 3 attempts"):
        cohort.of_split("train")[0].volumes()
    with pytest.raises(MrisynthError, match="cannot be reached"):
        open_cohort(mirror.locate(url))
    assert time.monotonic() - began < 30
    assert not list(mirror.locate(url).rglob("*.arrow"))
    assert files_of(mirror.locate(url)) >= {"cohort.json", "remote.json"}
