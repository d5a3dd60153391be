"""Folders of arrays named by their content: built once by whoever comes first, and checked by whoever reads them.

A builder holds a lock that the kernel releases if it dies; the others wait for it and then map the same files. A folder
appears at once, by rename, and is never modified afterwards. In the mirror of a remote store,
what was published before is fetched, and what had to be built is published.
"""

import shutil
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mrisynth import __version__
from mrisynth.data.store import cache, checks, mirror
from mrisynth.data.store.records import explain_disk_error, lock, read_object
from mrisynth.data.store.remote import Remote
from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError
from mrisynth.files import digest, publish, sha256_file, write_json


def ensure(directory: Path, build: Callable[[Path], Mapping[str, Any]], *, store: Path) -> dict[str, Any]:
    """The manifest of an artefact, built first where nobody has.

    The first time that a process asks, its files are checked against the manifest (see `checks`).

    Args:
        directory: where the artefact stands, inside `store`; its name is a key of all that decides its content.
        build: fills the empty folder it is given, and returns what the manifest shall say beside its own entries.
        store: the prepared store.

    Raises:
        InvalidInputError: a file is not what was published.
        MrisynthError: the disk is full, broken or read-only, or a remote store cannot be reached; nothing half-written
            is left.
    """
    remote = mirror.remote_of(store)
    if remote:
        cache.hold(store, directory.parent.name, directory.name)
    if not directory.is_dir():
        with lock(store, f"{directory.parent.name}-{directory.name}"):
            if not directory.is_dir():
                _remove_unfinished(directory)
                try:
                    if remote is None or not _fetch(remote, store, directory):
                        _build(directory, build)
                        mirror.upload_folder(store, directory, last="manifest.json")
                except OSError as error:
                    if sentence := explain_disk_error(error, directory.parent):
                        raise MrisynthError(sentence) from None
                    raise
    stamp = directory.stat()
    return _checked_manifest(directory, store, (stamp.st_ino, stamp.st_mtime_ns))


def _build(directory: Path, build: Callable[[Path], Mapping[str, Any]]) -> None:
    """Build and publish the artefact; the caller holds its lock."""
    with publish(directory) as folder:
        manifest = {
            "schema_version": 1,
            "key": directory.name,
            "versions": {"mrisynth": __version__, "numpy": version("numpy"), "pyarrow": version("pyarrow")},
            **build(folder),
            "files": {path.name: sha256_file(path) for path in sorted(folder.iterdir())},
        }
        write_json(folder / "manifest.json", {**manifest, "digest": digest(manifest)})


def _fetch(remote: Remote, store: Path, directory: Path) -> bool:
    """Fetch the artefact if somebody published it; the caller holds its lock. Whether it is here now."""
    name = f"{directory.parent.name}/{directory.name}"
    try:
        data = remote.read(f"{name}/manifest.json")
    except NotFoundError:
        return False
    with publish(directory) as folder:
        (folder / "manifest.json").write_bytes(data)
        try:
            files = read_manifest(folder)["files"]
        except InvalidInputError:
            raise mirror.refuse_damaged(remote, f"{name}/manifest.json") from None
        lengths = remote.list(name)
        if gone := [file for file in files if "/" in file or f"{name}/{file}" not in lengths]:
            raise mirror.refuse_damaged(remote, f"{name}/{gone[0]}", "is gone")
        with cache.room_for(store, {folder / file: lengths[f"{name}/{file}"] for file in files}):
            for file, sha256 in files.items():
                if remote.fetch(f"{name}/{file}", folder / file) != sha256:
                    raise mirror.refuse_damaged(remote, f"{name}/{file}")
    return True


def _remove_unfinished(directory: Path) -> None:
    """Remove what is left of builders that died: they held the lock, and nobody else builds here."""
    for leftover in directory.parent.glob(f".{directory.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


# Once for each process: the stamp tells a folder from one that was built anew in its place.
@lru_cache(maxsize=256)
def _checked_manifest(directory: Path, store: Path, _stamp: tuple[int, int]) -> dict[str, Any]:
    """The manifest, after it was found whole, and every file that it names now or a short while ago."""
    manifest = read_manifest(directory)
    files = manifest["files"]
    if not checks.is_known_whole(directory, files, store=store):
        for name in checks.find_damaged(directory, files, store=store):
            raise _damaged(directory / name)
    return manifest


def read_manifest(directory: Path) -> dict[str, Any]:
    """The folder's manifest, if it is as it was written.

    Raises:
        InvalidInputError: it is missing or damaged.
    """
    path = directory / "manifest.json"
    try:
        manifest = read_object(path, "")
    except MrisynthError:  # absent, no JSON, not our JSON
        raise _damaged(path) from None
    if manifest.pop("digest", None) != digest(manifest):
        raise _damaged(path)
    return manifest


def _damaged(path: Path) -> InvalidInputError:
    return InvalidInputError(
        f"{path} is damaged: it is not what was published there; delete the folder {path.parent} (it will be built "
        "again) and check the disk"
    )
