"""Files that may be compressed, unpacked within bounds: never more than a header promises, with checksum and length."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mrisynth.data.scans.inspection import Problem, error, too_large, warning

COPY_AGAIN = "copy it again from where it came; if it is damaged there too, export the scan again"
SLACK = 2**20
"""Bytes beyond what a header promises that are a leftover; more of them in compressed data are a bomb."""

GZIP, ZLIB = 31, 15
"""What surrounds deflated data, in zlib's numbers."""

_CHUNK = 2**20


def is_packed(path: Path) -> bool:
    """Whether a file begins like gzip, whatever its name."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def read_start(path: Path, count: int) -> bytes:
    """At most the first `count` bytes of a file, unpacked; whatever could be unpacked of a damaged one."""
    with path.open("rb") as stream:
        if not is_packed(path):
            return stream.read(count)
        data = b""
        try:
            for chunk in _unpack(stream, GZIP):
                data += chunk
                if len(data) >= count:
                    break
        except (EOFError, gzip.BadGzipFile, zlib.error):
            pass
        return data[:count]


def read_promised(path: Path, need: int) -> tuple[bytes, list[Problem]]:
    """The first `need` bytes of a file, gzip or not, and what is wrong with their number or their checksum.

    Args:
        path: the file.
        need: how many bytes its header promises.
    """
    problems = too_large(need)
    if problems:
        return b"", problems
    if is_packed(path):
        with path.open("rb") as stream:
            return unpack(stream, need, GZIP)
    with path.open("rb") as stream:
        return stream.read(need), check_excess(path.stat().st_size - need)


def unpack(stream: BinaryIO, need: int, kind: int) -> tuple[bytes, list[Problem]]:
    """The first `need` bytes of compressed data, read to its end so that length and checksum are verified.

    Args:
        stream: stands where the compressed data begins.
        need: how many bytes a header promises.
        kind: `GZIP` or `ZLIB`.
    """
    chunks, total = [], 0
    try:
        for chunk in _unpack(stream, kind):
            chunks.append(chunk[: max(0, need - total)])
            total += len(chunk)
            if total > need + SLACK:
                message = f"unpacks to more than the {need} bytes that its header promises (a gzip bomb?)"
                return b"", [error("gzip-bomb", message, "do not unpack it; ask where it came from")]
    except EOFError:
        return b"", [error("truncated", "ends in the middle of its compressed data", COPY_AGAIN)]
    except (gzip.BadGzipFile, zlib.error) as reason:
        return b"", [error("damaged", f"is damaged: {str(reason).lower()}", COPY_AGAIN)]
    return b"".join(chunks), check_excess(total - need)


def check_excess(count: int) -> list[Problem]:
    """Bytes beyond the voxels that a header promises."""
    if count <= 0:
        return []
    message = f"has {count} bytes more than its header promises"
    return [warning("extra-bytes", message, "check that its header belongs to it")]


def check_enough(have: int, need: int) -> list[Problem]:
    """Fewer bytes of voxels than a header promises."""
    if have >= need:
        return []
    return [error("truncated", f"holds {100 * max(0, have) // need} % of the voxels its header promises", COPY_AGAIN)]


def _unpack(stream: BinaryIO, kind: int) -> Iterator[bytes]:
    """Pieces of at most `_CHUNK` bytes; gzip may have several members, and zeros after the last.

    Raises:
        EOFError: the data ends too early.
        gzip.BadGzipFile: something else follows.
        zlib.error: a checksum or the data itself is wrong.
    """
    packed = stream.read(_CHUNK)
    while packed:
        member = zlib.decompressobj(kind)
        while not member.eof:
            data = member.decompress(packed, _CHUNK)
            if not packed and not data and not member.eof:
                raise EOFError
            yield data
            packed = member.unconsumed_tail or (b"" if member.eof else stream.read(_CHUNK))
        packed = member.unused_data or stream.read(_CHUNK)
        if kind == ZLIB:
            return
        while packed and not packed.strip(b"\0"):
            packed = stream.read(_CHUNK)
        packed = packed.lstrip(b"\0")
        if packed and packed[:2] != b"\x1f\x8b"[: len(packed)]:
            raise gzip.BadGzipFile("Not a gzipped file after its first part")
