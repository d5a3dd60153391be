"""Files that are whole or absent: write to a temporary name, fsync, rename; and digests of what they hold."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mrisynth.errors import NewerError, NotFoundError


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` at once: a reader sees the old file or the new one, never half of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_with(path, lambda temporary: temporary.write_bytes(data))


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place at once.

    Args:
        path: where the file shall stand; its folder exists.
        write: called with the temporary path (same ending as `path`); if it raises, nothing is left behind.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON; NaN and infinity are refused."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        NotFoundError: there is no such file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None


def refuse_newer(path: Path, version: object, known: int) -> None:
    """Refuse a file of ours in a form that came after this program; older ones are read.

    Args:
        path: the file, for the sentence.
        version: its `schema_version`; without one it is as old as can be.
        known: the latest that this program reads.

    Raises:
        NewerError: it is newer.
    """
    if isinstance(version, int) and version > known:
        raise NewerError(
            f"{path} has schema version {version}, and this mrisynth reads up to {known}: "
            "a newer mrisynth wrote it; update this one"
        )


@contextmanager
def publish(directory: Path) -> Iterator[Path]:
    """A temporary folder that becomes `directory` at once when the block ends, or vanishes if it raises.

    If somebody else published `directory` meanwhile, theirs stays and ours is dropped: artefacts are named by content.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".tmp", dir=directory.parent))
    try:
        yield temporary
        for path in temporary.rglob("*"):
            _sync(path)
        temporary.chmod(0o777 & ~_umask())
        _sync(temporary)
        try:
            temporary.rename(directory)
        except OSError:
            if not directory.is_dir():
                raise
        _sync(directory.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(value: Any) -> str:
    """A content key: the first 16 hex digits of the SHA-256 of `value` as canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """The process's umask (it can only be read by setting it)."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
