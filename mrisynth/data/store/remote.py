"""The one door to files behind a URL (`s3://` and whatever else `pyarrow.fs` opens): list, read, fetch, upload.

Every call is bounded in time and ends in bytes or in one sentence. A file appears under its name when its upload is
complete; an upload whose process dies never appears.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pyarrow import ArrowException, fs

from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError, UsageError

_CHUNK = 16 * 2**20
"""Bytes of one request, and of one part of an upload."""

_CONNECT_SECONDS, _STALL_SECONDS, _ATTEMPTS = 5, 10, 3
_SCHEMES = ("s3", "gs", "abfs", "hdfs", "file")
_OPTIONS = {"endpoint_override", "scheme", "region"}
_DENIED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "HTTP status 401", "HTTP status 403")
_UNREACHABLE = ("NETWORK_CONNECTION", "curlCode", "REQUEST_TIMEOUT", "SERVICE_UNAVAILABLE", "SLOW_DOWN")


class Remote:
    """A folder behind a URL; names are relative to it, parted by "/"."""

    def __init__(self, url: str, filesystem: Any, root: str) -> None:
        """Use `open_remote`, which reads the URL."""
        self.url = url
        self._filesystem = filesystem
        self._root = root

    def address(self, name: str) -> str:
        """Where a file stands, for a person."""
        base, question, options = self.url.partition("?")
        return f"{base}/{name}{question}{options}"

    def check_bucket(self) -> None:
        """Refuse a bucket that does not exist.

        Raises:
            NotFoundError: it does not exist, or nobody may tell us.
            MrisynthError: the service cannot be reached, or refuses us.
        """
        bucket = self._root.split("/")[0]
        with self._explained(bucket):
            found = self._filesystem.get_file_info(bucket)
        if self.url.startswith("s3:") and found.type == fs.FileType.NotFound:
            raise NotFoundError(f"{self.url}: there is no bucket {bucket}; make it, or correct the name")

    def list(self, folder: str) -> dict[str, int]:
        """All files below a folder, at any depth: name -> bytes; empty where there is no such folder."""
        selector = fs.FileSelector(self._path(folder), recursive=True, allow_not_found=True)
        with self._explained(folder):
            found = self._filesystem.get_file_info(selector)
        start = len(self._root) + 1
        return {info.path[start:]: info.size for info in found if info.type == fs.FileType.File}

    def read(self, name: str) -> bytes:
        """All of a small file.

        Raises:
            NotFoundError: there is no such file.
            MrisynthError: the service cannot be reached, or refuses us.
        """
        with self._explained(name), self._filesystem.open_input_stream(self._path(name)) as stream:
            return bytes(stream.read())

    def fetch(self, name: str, path: Path) -> str:
        """Copy a file into a local one; returns the SHA-256 of what came, in hex.

        Raises:
            NotFoundError: there is no such file.
            MrisynthError: the service cannot be reached, refuses us, or sent less than the file's length.
            OSError: the local file cannot be written.
        """
        digest, received = hashlib.sha256(), 0
        with self._explained(name):
            source = self._filesystem.open_input_file(self._path(name))
            size = source.size()
        # Not emptied first: its length keeps the room that the cache made for it.
        with source, open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as target:  # noqa: PTH123
            while received < size:
                with self._explained(name):
                    chunk = source.read(_CHUNK)
                if not chunk:
                    raise MrisynthError(f"{self.address(name)} broke off after {received} of {size} bytes; try again")
                received += len(chunk)
                digest.update(chunk)
                target.write(chunk)
            target.truncate()
        return digest.hexdigest()

    def upload(self, path: Path, name: str) -> None:
        """Copy a local file to a name, where it appears when all of it has arrived.

        Should reading it fail halfway, the beginning may appear: publish by a small file that is uploaded last.
        """
        with path.open("rb") as source:
            chunk = source.read(_CHUNK)  # a small file is read before anything is written
            with self._writing(name) as sink:
                while chunk:
                    with self._explained(name):
                        sink.write(chunk)
                    chunk = source.read(_CHUNK)

    def write(self, name: str, data: bytes) -> None:
        """Put a small file in its place, whole or not at all."""
        with self._writing(name) as sink, self._explained(name):
            sink.write(data)

    def move(self, name: str, target: str) -> None:
        """Give a file another name."""
        with self._explained(name):
            self._make_folder(target)
            self._filesystem.move(self._path(name), self._path(target))

    @contextmanager
    def _writing(self, name: str) -> Iterator[Any]:
        """A stream to a file."""
        with self._explained(name):
            self._make_folder(name)
            sink = self._filesystem.open_output_stream(self._path(name), buffer_size=None)
        yield sink
        # Only here: closing is what makes a file appear, so a stream that failed is never closed by us.
        with self._explained(name):
            sink.close()

    def _make_folder(self, name: str) -> None:
        """The folder of a file, where the service has folders at all."""
        if not isinstance(self._filesystem, fs.S3FileSystem):
            self._filesystem.create_dir(self._path(name).rpartition("/")[0], recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Turn what the service says into a sentence."""
        try:
            yield
        except FileNotFoundError:
            raise NotFoundError(f"{self.address(name)} does not exist") from None
        except (OSError, ArrowException) as error:
            raise _explain(self, error, self.address(name)) from None


@lru_cache(maxsize=16)
def open_remote(url: str) -> Remote:
    """The folder behind a URL; of an S3 service, nothing is asked yet unless its region has to be found.

    Args:
        url: `s3://BUCKET/PREFIX`, with `?endpoint_override=HOST:PORT&scheme=http&region=NAME` where they are needed, or
            another URL that `pyarrow.fs.FileSystem.from_uri` takes.

    Raises:
        UsageError: the URL is not legal, or carries credentials or unknown options.
        MrisynthError: the bucket's region cannot be found.
    """
    parts = urlsplit(url)
    try:
        if parts.scheme != "s3":
            return Remote(url, *fs.FileSystem.from_uri(url))
        filesystem, root = _open_s3(url)
    except (OSError, ArrowException) as error:
        raise UsageError(f"{url} cannot be opened: {_one_line(error)}") from None
    return Remote(url, filesystem, root)


def check_url(url: str) -> str:
    """The URL in the one form under which it is cached and recorded.

    Raises:
        UsageError: it is not legal, or carries credentials or unknown options.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise UsageError(f"{url}: a store is a folder or a URL that begins with {', '.join(_SCHEMES)}")
    if parts.scheme == "s3":
        if "@" in parts.netloc:
            raise UsageError(
                f"s3://...@{parts.netloc.rpartition('@')[2]}{parts.path}: leave the credentials out of the URL, it is "
                "written into every sweep; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use ~/.aws/credentials"
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := sorted(set(options) - _OPTIONS):
            raise UsageError(f"{url}: unknown option {unknown[0]!r}; there are {', '.join(sorted(_OPTIONS))}")
        if not parts.netloc or not parts.path.strip("/"):
            raise UsageError(f"{url}: name a bucket and a folder in it, as in s3://BUCKET/FOLDER")
    base, question, query = url.partition("?")
    return base.rstrip("/") + question + query


def _open_s3(url: str) -> tuple[Any, str]:
    """The file system and the path of an S3 URL, with limits on how long anything may take."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    asked = {"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} & set(os.environ)
    if "region" not in options and "endpoint_override" not in options and not asked:
        options["region"] = fs.resolve_s3_region(parts.netloc)
    filesystem = fs.S3FileSystem(
        **options,
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_STALL_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )
    return filesystem, f"{parts.netloc}/{unquote(parts.path).strip('/')}"


def _explain(remote: Remote, error: Exception, address: str) -> MrisynthError:
    """What went wrong, and what to do about it."""
    text = _one_line(error)
    if "NO_SUCH_BUCKET" in text:
        return NotFoundError(f"{remote.url}: there is no such bucket; make it, or correct the name")
    if isinstance(error, PermissionError) or any(mark in text for mark in _DENIED):
        return InvalidInputError(
            f"{address}: access denied; the usual AWS environment and configuration must give credentials that may "
            "list, read and write there"
        )
    if any(mark in text for mark in _UNREACHABLE):
        reason = re.split(r"; Details|\(Request ID|\. Detail:", text.partition("operation: ")[2] or text)[0].strip()
        return MrisynthError(
            f"{address}: the service cannot be reached, after {_ATTEMPTS} attempts ({reason}); check the endpoint and "
            "the network, then run the same command again"
        )
    return MrisynthError(f"{address}: {text}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def folder_name(url: str) -> str:
    """A folder's name for a URL: readable, and different for every URL."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", url.partition("?")[0].partition("://")[2]).strip("-.")[-60:]
    return f"{readable}-{hashlib.sha256(quote(url).encode()).hexdigest()[:12]}"
