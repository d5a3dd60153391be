"""A remote store as each node sees it: a folder of the same layout in the node's cache, filled as it is read.

CACHE/<url>/remote.json     the URL; what makes the folder a mirror
CACHE/<url>/...             as in `mrisynth.data.store.prepared` and `mrisynth.data.store.artefacts`

A subject is published by its record.json and an artefact by its manifest.json: they are uploaded last and fetched
first. The remote store alone holds what counts; a mirror may be deleted whenever nobody uses it.
"""

import getpass
import json
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import Timeout

from mrisynth.data.store import cache
from mrisynth.data.store.arrays import check_arrays
from mrisynth.data.store.records import is_prepared, lock, read_cohort, read_record, remote_url, subject_folder
from mrisynth.data.store.remote import Remote, check_url, folder_name, open_remote
from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError
from mrisynth.files import write_bytes, write_json

LISTS = ("store.json", "cohort.json", "decisions.json")
"""What stands beside the subjects, and is fetched anew whenever a store is opened."""

TEST_READS = "test-reads"
_AT_ONCE = 8


def locate(location: str | Path) -> Path:
    """The folder in which a store can be read and prepared: its own, or its mirror where a URL was given.

    Args:
        location: a path, or a URL such as `s3://BUCKET/FOLDER`. Nothing is fetched yet.

    Raises:
        UsageError: the URL is not legal, or carries credentials.
    """
    if isinstance(location, Path) or not re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", location):
        return Path(location)
    url = check_url(location)
    mirror = cache.cache_root() / folder_name(url)
    if remote_url(mirror) is None:
        write_json(mirror / "remote.json", {"schema_version": 1, "url": url})
    return mirror


def location_of(store: Path) -> str:
    """What another node needs to `locate` a store: its URL, or its absolute path."""
    return remote_url(store) or str(store.resolve())


def remote_of(store: Path) -> Remote | None:
    """The remote store behind a mirror; None for a store of its own."""
    url = remote_url(store)
    return None if url is None else open_remote(url)


def refresh(store: Path) -> None:
    """Fetch what says what a store holds: its lists, and the records of its cohort; nothing where it is local.

    Raises:
        NotFoundError: there is no such bucket.
        InvalidInputError: something that the cohort needs is missing or damaged there.
        MrisynthError: the service cannot be reached.
    """
    remote = remote_of(store)
    if remote is None:
        return
    with lock(store, "refresh"):
        _fetch_lists(store, remote)
        if not (store / "cohort.json").exists():
            return
        entries = read_cohort(store)["subjects"]
        published = remote.list("subjects")
        _fetch_records(store, remote, [entry["key"] for entry in entries], published)
        for entry in entries:
            if not _is_published(store, entry["key"], published):
                raise InvalidInputError(
                    f"{remote.address('subjects/' + entry['key'])} ({entry['subject']}) is missing or damaged; "
                    f"prepare {remote.url} again: only that is made anew"
                )


def refresh_to_prepare(store: Path) -> None:
    """Fetch the lists and the records of all subjects, and upload what a killed preparation finished but did not.

    Raises:
        MrisynthError: as `refresh`; a store that is not there yet is none.
    """
    remote = remote_of(store)
    if remote is None:
        return
    with lock(store, "refresh"):
        _fetch_lists(store, remote)
        published = remote.list("subjects")
        _fetch_records(store, remote, sorted({name.split("/")[1] for name in published}), published)
    for folder in sorted((store / "subjects").glob("[!.]*")):
        if _is_published(store, folder.name, published):
            continue
        try:
            with lock(store, folder.name).acquire(timeout=0):
                if is_prepared(folder) and (folder / "volumes.arrow").exists():
                    upload_subject(store, folder.name)
                else:
                    shutil.rmtree(folder, ignore_errors=True)
        except Timeout:
            continue  # somebody is preparing it now


def upload_list(store: Path, name: str) -> None:
    """Put a list where all nodes see it; nothing where the store is local."""
    if remote := remote_of(store):
        remote.upload(store / name, name)


def upload_subject(store: Path, key: str) -> None:
    """Publish a subject that is whole here; nothing where the store is local. The caller holds its lock."""
    folder = subject_folder(store, key)
    upload_folder(store, folder, last="record.json")


def upload_folder(store: Path, folder: Path, *, last: str) -> None:
    """Upload a folder's files, at the end the one that publishes it; nothing where the store is local."""
    remote = remote_of(store)
    if remote is None:
        return
    for path in sorted(folder.iterdir(), key=lambda path: (path.name == last, path.name)):
        remote.upload(path, f"{folder.parent.name}/{folder.name}/{path.name}")
    cache.touch(store, f"{folder.parent.name}-{folder.name}")
    cache.trim(store)


@contextmanager
def volumes_at_hand(folder: Path) -> Iterator[Path]:
    """The file with a subject's volumes, fetched first if need be; stays until the block ends, in which to map it.

    Args:
        folder: the subject's folder in a store.

    Raises:
        InvalidInputError: what stands in the remote store is damaged, or the cache has no room.
        MrisynthError: the service cannot be reached.
    """
    store, path = folder.parent.parent, folder / "volumes.arrow"
    remote = remote_of(store)
    if remote is None:
        yield path
        return
    with cache.using(store, f"subjects-{folder.name}"):
        if not path.exists():
            with lock(store, folder.name):
                if not path.exists():
                    _fetch_volumes(remote, store, path)
        yield path


def fetch_beside(folder: Path, name: str) -> None:
    """Fetch a small file of a subject, if it has it and it is not here; nothing where the store is local."""
    remote = remote_of(folder.parent.parent)
    if remote is None or (folder / name).exists():
        return
    try:
        write_bytes(folder / name, remote.read(f"subjects/{folder.name}/{name}"))
    except NotFoundError:
        return


def note_test_read(remote: Remote, subjects: Sequence[str], data_key: str) -> None:
    """Leave a small file for a reading of the test split: two nodes never write the same one, so none is lost."""
    now = datetime.now(UTC)
    read = {"when": now.isoformat(timespec="seconds"), "data_key": data_key, "subjects": list(subjects)}
    try:
        read["who"] = getpass.getuser()
    except (KeyError, OSError):
        read["who"] = "unknown"
    name = f"{TEST_READS}/{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex}.json"
    remote.write(name, json.dumps(read, ensure_ascii=False).encode())


def count_test_reads(remote: Remote, subjects: Sequence[str]) -> int:
    """How often a test subject among these was read, as far as a remote store's notes tell."""
    reads = [_parse(remote, name, remote.read(name)) for name in remote.list(TEST_READS)]
    return sum(not set(subjects).isdisjoint(read.get("subjects", [])) for read in reads)


def refuse_damaged(remote: Remote, name: str, problem: str = "is not what was published there") -> InvalidInputError:
    """The error for bytes of a remote store that are not what they should be."""
    return InvalidInputError(
        f"{remote.address(name)} is damaged: it {problem}; run `mrisynth data verify '{remote.url}' --set-aside`, then "
        "the same command again, after `mrisynth data prepare` if it was a subject"
    )


def _fetch_lists(store: Path, remote: Remote) -> None:
    """Make the lists here those that are there, gone ones included."""
    for name in LISTS:
        try:
            data = remote.read(name)
        except NotFoundError:
            if name == "store.json":
                remote.check_bucket()
            (store / name).unlink(missing_ok=True)
            continue
        _parse(remote, name, data)
        if not (store / name).exists() or (store / name).read_bytes() != data:
            write_bytes(store / name, data)


def _fetch_records(store: Path, remote: Remote, keys: Sequence[str], published: dict[str, int]) -> None:
    """Fetch the records that are there and not here; they never change."""

    def fetch(key: str) -> None:
        data = remote.read(f"subjects/{key}/record.json")
        _parse(remote, f"subjects/{key}/record.json", data)
        write_bytes(subject_folder(store, key) / "record.json", data)

    missing = [
        key
        for key in keys
        if f"subjects/{key}/record.json" in published and not (subject_folder(store, key) / "record.json").exists()
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(fetch, missing))


def _parse(remote: Remote, name: str, data: bytes) -> dict[str, Any]:
    """The JSON object in a file of a remote store."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise refuse_damaged(remote, name, "is not JSON") from None
    if not isinstance(value, dict):
        raise refuse_damaged(remote, name, "holds no JSON object")
    return value


def _is_published(store: Path, key: str, published: dict[str, int]) -> bool:
    """Whether a subject is whole in the remote store, as far as names and lengths tell."""
    try:
        length = read_record(subject_folder(store, key))["volumes"]["bytes"]
    except (MrisynthError, KeyError, TypeError):
        return False
    return f"subjects/{key}/record.json" in published and published.get(f"subjects/{key}/volumes.arrow") == length


def _fetch_volumes(remote: Remote, store: Path, path: Path) -> None:
    """Fetch a subject's volumes and check them; the caller holds the subject's lock."""
    key, name = path.parent.name, f"subjects/{path.parent.name}/volumes.arrow"
    length = read_record(path.parent)["volumes"]["bytes"]
    with tempfile.TemporaryDirectory(prefix=f".{key}.", suffix=".tmp", dir=store / "subjects") as folder:
        temporary = Path(folder) / path.name
        with cache.room_for(store, {temporary: length}):
            remote.fetch(name, temporary)
            try:
                # Stores of old versions kept no checksum; then only the length tells.
                whole = temporary.stat().st_size == length and check_arrays(temporary) is not False
            except InvalidInputError:
                whole = False
            if not whole:
                raise refuse_damaged(remote, name)
            temporary.replace(path)
