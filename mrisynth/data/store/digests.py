"""Digests of input files, remembered by path, size, time and inode, so that a large cohort is read once to be known."""

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, RootModel

from mrisynth.data.store.records import lock, read_object
from mrisynth.errors import NotFoundError
from mrisynth.files import digest, sha256_file, write_json

_SETTLED_SECONDS = 2.0
"""A file written less long ago may change again within its time stamp's resolution: its digest is not remembered."""

_PARTNERS = {".hdr": ".img", ".img": ".hdr"}
_HEADER_BYTES = 2**20
_DATA_FILE = re.compile(r"^\s*(?:ElementDataFile|data ?file)\s*[:=]\s*(\S[^\r\n]*?)\s*$", re.MULTILINE | re.IGNORECASE)
_SERIES = re.compile(r"(\S*%\d*d\S*)\s+(\d+)\s+(\d+)\s+(\d+).*")


class _Entry(BaseModel):
    """What is remembered of a file."""

    size: int
    mtime_ns: int
    inode: int
    sha256: str


def digest_inputs(paths: Iterable[Path], store: Path) -> dict[Path, str]:
    """The digest of each input that exists: a file (with the data file that its header names), or a DICOM folder.

    Args:
        paths: scans, masks and transforms.
        store: where digests.json remembers what was read before.

    Returns:
        path -> digest in hex; inputs of which a file is missing are left out.

    Raises:
        InvalidInputError: digests.json is damaged.
    """
    known = _Known(store)
    digests = {}
    for path in dict.fromkeys(paths):
        try:
            digests[path] = known.digest(path)
        except FileNotFoundError:
            continue
    known.save()
    return digests


def digest_input(path: Path) -> str:
    """The digest of one input, read now."""
    return _combine(path, {part: sha256_file(part) for part in input_files(path)})


def input_files(path: Path) -> list[Path]:
    """The files that one input consists of.

    Raises:
        FileNotFoundError: one of them does not exist.
    """
    if path.is_dir():
        return sorted(part for part in path.rglob("*") if part.is_file())
    files = [path]
    if path.suffix in _PARTNERS:
        files += [part for part in [path.with_suffix(_PARTNERS[path.suffix])] if part.exists()]
    if path.suffix in {".mhd", ".nhdr"}:
        files += [path.parent / name for name in _data_files(path)]
    for part in files:
        part.stat()
    return files


def _data_files(header: Path) -> list[str]:
    """What a MetaImage or NRRD header names as its data: nothing, a file, a numbered series, or a list to its end."""
    with header.open("rb") as stream:
        text = stream.read(_HEADER_BYTES).decode(errors="replace")
    found = _DATA_FILE.search(text)
    if found is None or found[1].upper() == "LOCAL":
        return []
    if found[1].upper().split()[0] == "LIST":
        return [line.strip() for line in text[found.end() :].splitlines() if line.strip()]
    if series := _SERIES.fullmatch(found[1]):
        first, last, step = (int(number) for number in series.groups()[1:])
        return [series[1] % number for number in range(first, last + 1, max(step, 1))]
    return [found[1]]


class _Known:
    """The digests that a store remembers."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._old = read_digests(store)
        self._new: dict[str, Any] = {}

    def digest(self, path: Path) -> str:
        return _combine(path, {part: self._file(part) for part in input_files(path)})

    def save(self) -> None:
        """Add what was read to what others may have added meanwhile."""
        if self._new:
            with lock(self._store, "digests"):
                write_json(self._store / "digests.json", {**read_digests(self._store), **self._new})

    def _file(self, path: Path) -> str:
        stat = path.stat()
        stamp = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}
        name = str(path.resolve())
        entry: dict[str, Any] = self._old.get(name, {})
        if all(entry.get(field) == value for field, value in stamp.items()):
            return str(entry["sha256"])
        sha256 = sha256_file(path)
        if time.time() - stat.st_mtime > _SETTLED_SECONDS:
            self._new[name] = {**stamp, "sha256": sha256}
        return sha256


def read_digests(store: Path) -> dict[str, Any]:
    """What digests.json remembers: path -> size, time, inode and digest.

    Raises:
        InvalidInputError: the file is damaged.
    """
    try:
        remedy = "delete it: the scans are then read once again"
        return read_object(store / "digests.json", remedy, RootModel[dict[str, _Entry]])
    except NotFoundError:
        return {}


def _combine(path: Path, digests: dict[Path, str]) -> str:
    """One digest for an input: that of its file, or of its files with their names."""
    if len(digests) == 1 and not path.is_dir():
        return digests[path]
    folder = path if path.is_dir() else path.parent
    return digest({os.path.relpath(part, folder): sha for part, sha in digests.items()})
