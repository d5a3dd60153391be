"""Reading what preparation made: a cohort, its subjects, and their volumes mapped into memory.

STORE/store.json                           the format's version
STORE/cohort.json                          which subject is in which split; written last
STORE/subjects/<key>/volumes.arrow         low, high and mask on one grid
STORE/subjects/<key>/record.json           how they were made, and how well
STORE/decisions.json                       whom a person accepted or excluded, if anybody did
STORE/damaged/                             what `mrisynth data verify --set-aside` moved out of the way
"""

import dataclasses
import errno
import math
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from mrisynth.data.arrays import map_arrays
from mrisynth.data.quality.decisions import read_decisions
from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError, UsageError
from mrisynth.files import digest, read_json, write_json

SCHEMA_VERSION = 1
SPLITS = ("train", "validation", "test")
FULL_SCALE = 1000.0
"""Prepared intensities lie in [0, 1000], as in the paper; standards and scores are on [0, 1]."""


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


@dataclasses.dataclass(frozen=True, slots=True)
class Standard:
    """Mean and standard deviation of intensities on [0, 1], by which they are standardised, and that is undone."""

    mean: float
    std: float


@dataclasses.dataclass(frozen=True)
class PreparedSubject:
    """One subject of a prepared cohort.

    Attributes:
        name: the subject's name in this cohort.
        key: the content key of its volumes.
        split: "train", "validation" or "test".
        path: its folder in the store.
        locked: its volumes may not be read (a test subject that did not come from `read_test`).
    """

    name: str
    key: str
    split: str
    path: Path
    locked: bool = False

    @cached_property
    def record(self) -> dict[str, Any]:
        """How the subject was prepared, and how well: the whole of its record.json.

        Raises:
            InvalidInputError: it is damaged, or not ours.
        """
        return read_record(self.path)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels on the axes (depth, height, width)."""
        depth, height, width = self.record["shape"]
        return (depth, height, width)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of two voxels in mm on the axes (depth, height, width)."""
        depth, height, width = self.record["spacing"]
        return (depth, height, width)

    def volumes(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
        """The low and the high scan (intensity in [0, 1000]) and the tissue mask (0 or 1), each (depth, height, width).

        Read-only views of the mapped file: nothing is read before it is used.

        Raises:
            UsageError: the subject belongs to the test split and did not come from `PreparedCohort.read_test`.
            InvalidInputError: the file is damaged, or does not hold such volumes.
        """
        if self.locked:
            raise UsageError(f"{self.name} is a test subject; {_LOCKED}")
        path = self.path / "volumes.arrow"
        arrays = map_arrays(path)
        found = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
        types = {"low": "float32", "high": "float32", "mask": "uint8"}
        if found != {name: (dtype, self.shape) for name, dtype in types.items()}:
            raise InvalidInputError(f"{path} does not hold the volumes that its record tells of; {REMEDY}")
        return arrays["low"], arrays["high"], arrays["mask"]

    def standard(self, scan: str) -> Standard:
        """The mean and deviation of one scan of this subject, on [0, 1].

        Args:
            scan: "low" or "high".
        """
        return _pool([self.record["statistics"][scan]])


@dataclasses.dataclass(frozen=True)
class PreparedCohort:
    """All subjects of a store, split by subject.

    Attributes:
        store: the store's folder.
        data_key: the content key of the subjects, the splits and the seed.
        seed: what the splits were drawn by, and what else is drawn for the cohort.
        subjects: in the order of the pairs file.
    """

    store: Path
    data_key: str
    seed: int
    subjects: tuple[PreparedSubject, ...]

    def of_split(self, split: str) -> tuple[PreparedSubject, ...]:
        """The subjects of the training or the validation split.

        Raises:
            UsageError: the test split was asked for.
        """
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; the splits are {', '.join(SPLITS)}")
        if split == "test":
            raise UsageError(f"the test split is locked; {_LOCKED}")
        return tuple(subject for subject in self.subjects if subject.split == split)

    def read_test(self) -> tuple[PreparedSubject, ...]:
        """The subjects of the test split, for a final evaluation; the cohort's record counts that they were read.

        Raises:
            InvalidInputError: the store was prepared anew since this cohort was opened.
        """
        with lock(self.store, "cohort"):
            cohort = read_cohort(self.store)
            now = _without_excluded(self.store, cohort)["data_key"]
            if now != self.data_key:
                raise InvalidInputError(f"{self.store} was prepared or judged anew meanwhile (data key {now})")
            write_json(self.store / "cohort.json", {**cohort, "test_reads": cohort["test_reads"] + 1})
        return tuple(dataclasses.replace(subject, locked=False) for subject in self.subjects if subject.split == "test")

    def high_standard(self) -> Standard:
        """The mean and deviation of all voxels of the training split's high scans, on [0, 1]."""
        return _pool([subject.record["statistics"]["high"] for subject in self.of_split("train")])


def open_cohort(store: Path, *, with_excluded: bool = False) -> PreparedCohort:
    """The cohort that was prepared in a store, without the subjects that a person excluded.

    Args:
        store: the store's folder.
        with_excluded: all the same, with them: for quality control only.

    Raises:
        NotFoundError: there is no store, or its preparation has not finished.
        InvalidInputError: the store is of another version, or a subject's files are missing or damaged.
    """
    check_version(store)
    cohort = read_cohort(store) if with_excluded else _without_excluded(store, read_cohort(store))
    subjects = tuple(
        PreparedSubject(
            entry["subject"],
            entry["key"],
            entry["split"],
            subject_folder(store, entry["key"]),
            locked=entry["split"] == "test",
        )
        for entry in cohort["subjects"]
    )
    for subject in subjects:
        if not is_prepared(subject.path):
            raise InvalidInputError(
                f"{subject.path} ({subject.name}) is missing or damaged; prepare {store} again: only that is made anew"
            )
    return PreparedCohort(store, cohort["data_key"], cohort["seed"], subjects)


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
            f"{store} is not a prepared store; make one with `mrisynth data prepare PAIRS {store}`"
        ) from None
    if version is None:
        raise InvalidInputError(f"{path} names no schema_version: {store} is not a store of ours; name another folder")
    if version != SCHEMA_VERSION:
        raise InvalidInputError(
            f"{store} is a store of version {version}, and this is for version {SCHEMA_VERSION}; prepare a new one"
        )


def subject_folder(store: Path, key: str) -> Path:
    """Where the subject of a content key stands in a store."""
    return store / "subjects" / key


def is_prepared(folder: Path) -> bool:
    """Whether a subject's folder is there, its record whole, and its volumes have the length that the record says."""
    try:
        return bool((folder / "volumes.arrow").stat().st_size == read_record(folder)["volumes"]["bytes"])
    except (MrisynthError, OSError, KeyError, TypeError):
        return False


def read_cohort(store: Path) -> dict[str, Any]:
    """The store's cohort.json.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: it is damaged, or not ours.
    """
    path = store / "cohort.json"
    remedy = f"delete it and run `mrisynth data prepare PAIRS {store}` again (the count of test reads starts anew)"
    try:
        cohort = read_object(path, remedy, _Cohort)
    except NotFoundError:
        raise NotFoundError(
            f"the preparation of {store} has not finished; "
            f"run `mrisynth data prepare PAIRS {store}` again to continue it"
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


REMEDY = "run `mrisynth data verify STORE --set-aside`, then `mrisynth data prepare` again: only that is made anew"
"""What to do about a damaged subject."""

_LOCKED = "only a final evaluation may read it, through PreparedCohort.read_test, which counts"


def _without_excluded(store: Path, cohort: dict[str, Any]) -> dict[str, Any]:
    """A cohort.json's content without whom decisions.json excludes: another data key, as if they were never there."""
    decisions = read_decisions(store)
    excluded = {subject for subject, decision in decisions.items() if decision.verdict == "excluded"}
    kept = [entry for entry in cohort["subjects"] if entry["subject"] not in excluded]
    if len(kept) == len(cohort["subjects"]):
        return cohort
    return {**cohort, "subjects": kept, "data_key": digest({"subjects": kept, "seed": cohort["seed"]})}


def _pool(statistics: Iterable[dict[str, Any]]) -> Standard:
    """Mean and deviation of several volumes' voxels together, from [0, 1000] to [0, 1]."""
    parts = list(statistics)
    total = sum(part["count"] for part in parts)
    mean = sum(part["count"] * part["mean"] for part in parts) / total
    variance = sum(part["count"] * (part["std"] ** 2 + (part["mean"] - mean) ** 2) for part in parts) / total
    return Standard(mean / FULL_SCALE, math.sqrt(variance) / FULL_SCALE)
