"""A node's cache of remote stores: how much it may hold, and what makes room for what.

CACHE/<url>/                a mirror of one remote store, laid out as a store (see `mrisynth.data.store.mirror`)
CACHE/<url>/uses/<name>     when an artefact or a subject's volumes were used last (its time), and by whom (its lock)

A process holds a shared lock on the shards and the slices that it opened last; the kernel releases it when the process
ends. What nobody holds is removed, the least recently used first, when a fetch would go beyond the limit. Removing a
file that is mapped into memory is safe on Linux: it is gone when the last mapping is.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from mrisynth.data.store.records import lock
from mrisynth.errors import InvalidInputError, UsageError

DEFAULT_LIMIT = "50GB"
ARTEFACTS = ("shards", "slices")

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_held: dict[tuple[Path, str], tuple[str, IO[bytes]]] = {}


@dataclass(frozen=True, slots=True)
class _Entry:
    """Something that can be removed: an artefact's folder, or a subject's volumes."""

    path: Path
    uses: Path
    bytes: int
    used: float


def cache_root() -> Path:
    """The folder of all mirrors: $MRISYNTH_CACHE, or ~/.cache/mrisynth."""
    return Path(os.environ.get("MRISYNTH_CACHE") or "~/.cache/mrisynth").expanduser().absolute()


def read_limit() -> int:
    """The most bytes that the cache may hold: $MRISYNTH_CACHE_LIMIT, such as "50GB" or "500MB".

    Raises:
        UsageError: it is no size.
    """
    text = os.environ.get("MRISYNTH_CACHE_LIMIT") or DEFAULT_LIMIT
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]B|)\s*", text, re.IGNORECASE)
    if not found:
        raise UsageError(f"MRISYNTH_CACHE_LIMIT is {text!r}; give a size such as 500MB, 50GB or 2TB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def hold(mirror: Path, kind: str, key: str) -> None:
    """Say that this process uses an artefact; the one of the same kind that it held before is let go.

    Args:
        mirror: the mirror.
        kind: "shards" or "slices".
        key: the artefact's key.
    """
    name = f"{kind}-{key}"
    before = _held.get((mirror, kind))
    if before and before[0] == name:
        touch(mirror, name)
        return
    uses = touch(mirror, name)
    handle = uses.open("rb")
    fcntl.flock(handle, fcntl.LOCK_SH)  # whoever is removing it holds the lock for a moment only
    _held[mirror, kind] = (name, handle)
    if before:
        before[1].close()


def touch(mirror: Path, name: str) -> Path:
    """Remember that something is used now; returns the file that remembers it."""
    uses = mirror / "uses" / name
    uses.parent.mkdir(exist_ok=True)
    uses.touch()
    return uses


@contextmanager
def room_for(mirror: Path, needed: dict[Path, int]) -> Iterator[None]:
    """Make room for files to be fetched, and keep it by making them at their full length, before they are filled.

    Args:
        mirror: where they go.
        needed: path -> bytes; their folders exist.

    Raises:
        InvalidInputError: they do not fit, even without all that nobody uses.
    """
    with FileLock(mirror.parent / "room.lock"):
        make_room(mirror.parent, sum(needed.values()))
        for path, size in needed.items():
            with path.open("wb") as file:
                file.truncate(size)
    try:
        yield
    except BaseException:
        for path in needed:
            path.unlink(missing_ok=True)
        raise


def make_room(root: Path, needed: int) -> None:
    """Remove what was used least recently until `needed` bytes fit below the limit; the caller holds the room's lock.

    Raises:
        InvalidInputError: they do not fit.
    """
    limit = read_limit()
    _sweep(root)
    excess = _size(root) + needed - limit
    for entry in sorted(_entries(root), key=lambda entry: entry.used):
        if excess <= 0:
            return
        if _remove(entry):
            excess -= entry.bytes
    if excess > 0 and needed:
        raise InvalidInputError(
            f"the cache {root} has no room for {needed / 1e6:,.1f} MB: its limit is {limit / 1e6:,.1f} MB, and what is "
            "left in it is in use; set MRISYNTH_CACHE_LIMIT higher (for example 200GB)"
        )


def trim(mirror: Path) -> None:
    """Remove what is beyond the limit after something was made in a mirror; what is in use stays."""
    with FileLock(mirror.parent / "room.lock"):
        make_room(mirror.parent, 0)


@contextmanager
def using(mirror: Path, name: str) -> Iterator[None]:
    """Keep something from being removed while the block runs."""
    with touch(mirror, name).open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield


def _sweep(root: Path) -> None:
    """Remove what processes that were killed left unfinished."""
    for leftover in root.glob("*/*/.*.tmp"):
        store, kind, key = leftover.parent.parent, leftover.parent.name, leftover.name.split(".")[1]
        try:
            with lock(store, key if kind == "subjects" else f"{kind}-{key}").acquire(timeout=0):
                shutil.rmtree(leftover, ignore_errors=True)
        except Timeout:
            continue  # somebody is filling it now


def _entries(root: Path) -> Iterator[_Entry]:
    """All that can be removed, in all mirrors."""
    for mirror in (path.parent for path in root.glob("*/remote.json")):
        for kind in ARTEFACTS:
            for folder in (mirror / kind).glob("[!.]*"):
                yield _entry(folder, mirror / "uses" / f"{kind}-{folder.name}")
        for volumes in (mirror / "subjects").glob("[!.]*/volumes.arrow"):
            yield _entry(volumes, mirror / "uses" / f"subjects-{volumes.parent.name}")


def _entry(path: Path, uses: Path) -> _Entry:
    return _Entry(path, uses, _size(path), uses.stat().st_mtime if uses.exists() else 0.0)


def _remove(entry: _Entry) -> bool:
    """Remove an artefact or volumes unless somebody holds it; whether it was removed."""
    entry.uses.parent.mkdir(exist_ok=True)
    with entry.uses.open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if entry.path.is_dir():
            # By rename it is gone at once; what a killed process leaves is removed like any unfinished artefact.
            grave = entry.path.with_name(f".{entry.path.name}.{os.getpid()}.tmp")
            entry.path.rename(grave)
            shutil.rmtree(grave, ignore_errors=True)
        else:
            entry.path.unlink(missing_ok=True)
    return True


def _size(path: Path) -> int:
    """The bytes of a file, or of all files below a folder, whatever vanishes meanwhile."""
    total = 0
    for part in [path] if path.is_file() else path.rglob("*"):
        try:
            total += part.stat().st_size if part.is_file() else 0
        except FileNotFoundError:
            continue
    return total
