"""Whether the files of an artefact are still what was published, without reading all of them every time.

STORE/checked/<kind>-<key>.json        size, times and inode of every file when all were last read and found whole

Hashing takes 0.2 s for the patches of the paper, in each process that trains on them. Whoever writes to a file, or puts
another in its place, changes one of its stamps; what changes none is a disk or a memory that gives other bits than it
was given. So a note counts for a day: then the files are read again.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mrisynth.data.store.records import read_object
from mrisynth.errors import MrisynthError
from mrisynth.files import sha256_file, write_json

_TRUSTED_SECONDS = 24 * 3600
_TICK_SECONDS = 0.05
"""Files are stamped by a clock that moves every 1 to 10 ms: one as young as this may change without a new stamp."""


class _Stamp(BaseModel):
    """A file as it was when it was read; no program can set `ctime_ns`, the time of the last change."""

    sha256: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class _Note(BaseModel):
    """What is noted of an artefact."""

    checked: float
    files: dict[str, _Stamp]


def find_damaged(directory: Path, files: Mapping[str, str], *, store: Path) -> list[str]:
    """The files of an artefact that are missing or not what was published; all are read, and the result is noted.

    Args:
        directory: where the artefact stands, inside `store`.
        files: name -> SHA-256, from its manifest.
        store: the prepared store; one that cannot be written to gets no note.
    """
    began = time.time()
    stamps: dict[str, dict[str, Any]] = {}
    for name, sha256 in files.items():
        path = directory / name
        if not path.is_file():
            continue
        stamp = _stamp(path)
        if sha256_file(path) == sha256:
            stamps[name] = {"sha256": sha256, **stamp}
    settled = all(max(stamp["mtime_ns"], stamp["ctime_ns"]) / 1e9 < began - _TICK_SECONDS for stamp in stamps.values())
    with suppress(OSError):  # a note saves time and nothing else
        if len(stamps) == len(files) and settled:
            write_json(_note(directory, store), {"checked": began, "files": stamps})
        else:
            _note(directory, store).unlink(missing_ok=True)
    return [name for name in files if name not in stamps]


def is_known_whole(directory: Path, files: Mapping[str, str], *, store: Path) -> bool:
    """Whether all files of an artefact were found whole within a day, and carry the same stamps since.

    Args:
        directory, files, store: as `find_damaged`.
    """
    try:
        note = read_object(_note(directory, store), "", _Note)
        now = {name: {"sha256": sha256, **_stamp(directory / name)} for name, sha256 in files.items()}
    except (MrisynthError, OSError):
        return False
    return bool(note["files"] == now and 0 <= time.time() - note["checked"] < _TRUSTED_SECONDS)


def _stamp(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
        "inode": stat.st_ino,
    }


def _note(directory: Path, store: Path) -> Path:
    return store / "checked" / f"{directory.parent.name}-{directory.name}.json"
