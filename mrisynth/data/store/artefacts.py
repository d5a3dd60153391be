"""Folders of arrays named by their content: built once by whoever comes first, and checked by whoever reads them.

A builder holds a lock that the kernel releases if it dies; the others wait for it and then map the same files. A folder
appears at once, by rename, and is never modified afterwards.
"""

import shutil
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mrisynth import __version__
from mrisynth.data.store import checks
from mrisynth.data.store.records import explain_disk_error, lock, read_object
from mrisynth.errors import InvalidInputError, MrisynthError
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
        MrisynthError: the disk is full, broken or read-only; nothing half-written is left.
    """
    if not directory.is_dir():
        with lock(store, f"{directory.parent.name}-{directory.name}"):
            if not directory.is_dir():
                try:
                    _build(directory, build)
                except OSError as error:
                    if sentence := explain_disk_error(error, directory.parent):
                        raise MrisynthError(sentence) from None
                    raise
    stamp = directory.stat()
    return _checked_manifest(directory, store, (stamp.st_ino, stamp.st_mtime_ns))


def _build(directory: Path, build: Callable[[Path], Mapping[str, Any]]) -> None:
    """Build and publish the artefact; the caller holds its lock."""
    # Whoever left these held the lock and died: nobody else builds here.
    for leftover in directory.parent.glob(f".{directory.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    with publish(directory) as folder:
        manifest = {
            "schema_version": 1,
            "key": directory.name,
            "versions": {"mrisynth": __version__, "numpy": version("numpy"), "pyarrow": version("pyarrow")},
            **build(folder),
            "files": {path.name: sha256_file(path) for path in sorted(folder.iterdir())},
        }
        write_json(folder / "manifest.json", {**manifest, "digest": digest(manifest)})


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
