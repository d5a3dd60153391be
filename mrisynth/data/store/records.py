"""The files of a store that say what it holds: found, locked, read and judged; none is trusted unread."""

import errno
import os
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError
from mrisynth.files import read_json

SCHEMA_VERSION = 1
SPLITS = ("train", "validation", "test")
FULL_SCALE = 1000.0
"""Prepared intensities lie in [0, 1000], as in the paper; standards and scores are on [0, 1]."""

REMEDY = "run `mrisynth data verify STORE --set-aside`, then `mrisynth data prepare` again: only that is made anew"
"""What to do about a damaged subject."""

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def _one_name(text: str) -> str:
    """Refuse what would lead out of its folder."""
    if text in {"", ".", ".."} or "/" in text or "\0" in text:
        raise ValueError("is no name of a folder")
    return text


class _Subject(BaseModel):
    """A subject in cohort.json."""

    subject: str
    key: Annotated[str, AfterValidator(_one_name)]
    split: Literal["train", "validation", "test"]


class _Cohort(BaseModel):
    """What is read of cohort.json."""

    data_key: str
    seed: int
    subjects: list[_Subject]
    test_reads: int = Field(ge=0)


class _Statistics(BaseModel):
    """A scan's mean and deviation."""

    mean: float
    std: float
    count: int = Field(gt=0)


class _Scans(BaseModel):
    """The statistics of both scans."""

    low: _Statistics
    high: _Statistics


class _Record(BaseModel):
    """What is read of every record.json."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    statistics: _Scans


def check_version(store: Path) -> None:
    """Refuse a folder that is no store, or one of another version.

    Raises:
        NotFoundError: the folder has no store.json.
        InvalidInputError: its version is not ours.
    """
    path = store / "store.json"
    try:
        remedy = f'where it is a store of ours, write {{"schema_version": {SCHEMA_VERSION}}} into it'
        version = read_object(path, remedy).get("schema_version")
    except NotFoundError:
        raise NotFoundError(
            f"{name_of(store)} is not a prepared store; make one with `mrisynth data prepare PAIRS {quoted(store)}`"
        ) from None
    if version is None:
        raise InvalidInputError(f"{path} names no schema_version: {store} is not a store of ours; name another folder")
    if version != SCHEMA_VERSION:
        raise InvalidInputError(
            f"{store} is a store of version {version}, and this is for version {SCHEMA_VERSION}; prepare a new one"
        )


def remote_url(store: Path) -> str | None:
    """The URL of the remote store that a folder is a mirror of; None for a store of its own."""
    try:
        return str(read_json(store / "remote.json")["url"])
    except NotFoundError:
        return None


def name_of(store: Path) -> str:
    """How a person calls a store: its URL, or its path."""
    return remote_url(store) or str(store)


def quoted(store: Path) -> str:
    """How to write a store in a shell, where "&" in a URL would mean something else."""
    return shlex.quote(name_of(store))


def subject_folder(store: Path, key: str) -> Path:
    """Where the subject of a content key stands in a store."""
    return store / "subjects" / key


def is_prepared(folder: Path) -> bool:
    """Whether a subject's folder is there, its record whole, and its volumes have the length that the record says."""
    try:
        length = read_record(folder)["volumes"]["bytes"]
        return bool((folder / "volumes.arrow").stat().st_size == length)
    except FileNotFoundError:
        # The mirror of a remote store holds records, and fetches volumes when somebody reads them.
        return remote_url(folder.parent.parent) is not None
    except (MrisynthError, OSError, KeyError, TypeError):
        return False


def read_cohort(store: Path) -> dict[str, Any]:
    """The store's cohort.json.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: it is damaged, or not ours.
    """
    path = store / "cohort.json"
    remedy = (
        f"delete it and run `mrisynth data prepare PAIRS {quoted(store)}` again (the count of test reads starts anew)"
    )
    try:
        cohort = read_object(path, remedy, _Cohort)
    except NotFoundError:
        raise NotFoundError(
            f"the preparation of {name_of(store)} has not finished; "
            f"run `mrisynth data prepare PAIRS {quoted(store)}` again to continue it"
        ) from None
    names = [entry["subject"] for entry in cohort["subjects"]]
    if len(set(names)) < len(names):
        raise InvalidInputError(f"{path} is damaged: it names a subject twice; {remedy}")
    return cohort


def read_record(folder: Path) -> dict[str, Any]:
    """A subject's record.json.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: it is damaged, or not ours.
    """
    return read_object(folder / "record.json", REMEDY, _Record)


def read_object(path: Path, remedy: str, schema: type[BaseModel] | None = None) -> dict[str, Any]:
    """The JSON object in a file of a store.

    Args:
        path: the file.
        remedy: what to do where it is damaged.
        schema: what it has to hold, among other things.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it cannot be read, or does not hold such an object: a sentence with its remedy.
    """
    try:
        value = read_json(path)
    except (OSError, ValueError, RecursionError) as error:  # a folder, no rights, no text, no JSON
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise InvalidInputError(f"{path} cannot be read or is damaged ({reason}); {remedy}") from None
    if not isinstance(value, dict):
        raise InvalidInputError(f"{path} is damaged or not ours: it holds no JSON object; {remedy}")
    if schema is not None:
        try:
            schema.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where, message = ".".join(map(str, first["loc"])), first["msg"][:1].lower() + first["msg"][1:]
            raise InvalidInputError(f"{path} is damaged or not ours ({where}: {message}); {remedy}") from None
    return value


def explain_disk_error(error: OSError, folder: Path | None = None) -> str | None:
    """A sentence on a disk that is full, broken or read-only; None for any other error.

    Args:
        error: what the operating system said.
        folder: what was being written, if that is known: told where the error names no file.
    """
    if error.errno not in _DISK_ERRORS:
        return None
    remedy = "free space there" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "look after that disk"
    reason = os.strerror(error.errno)
    name = error.filename or folder or "a file"
    return f"{name} could not be written ({reason}); {remedy} and run the same command again"


def lock(store: Path, name: str) -> FileLock:
    """A lock between processes for one part of a store; the kernel releases it when its holder dies."""
    (store / "locks").mkdir(parents=True, exist_ok=True)
    return FileLock(store / "locks" / f"{name}.lock")
