"""Reading what preparation made: a cohort, its subjects, and their volumes mapped into memory.

STORE/store.json                           the format's version
STORE/cohort.json                          which subject is in which split; written last
STORE/subjects/<key>/volumes.arrow         low, high and mask on one grid
STORE/subjects/<key>/record.json           how they were made, and how well
STORE/decisions.json                       whom a person accepted or excluded, if anybody did
STORE/remote.json                          the URL of the remote store that this folder is a mirror of, if it is one
STORE/damaged/                             what `mrisynth data verify --set-aside` moved out of the way
"""

import dataclasses
import math
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrisynth.data.quality.decisions import read_decisions
from mrisynth.data.store import mirror
from mrisynth.data.store.arrays import map_arrays
from mrisynth.data.store.records import (
    FULL_SCALE,
    REMEDY,
    SPLITS,
    check_version,
    is_prepared,
    lock,
    name_of,
    read_cohort,
    read_record,
    subject_folder,
)
from mrisynth.errors import InvalidInputError, UsageError
from mrisynth.files import digest, write_json


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

        Read-only views of the mapped file: nothing is read before it is used. A remote store's file is fetched first.

        Raises:
            UsageError: the subject belongs to the test split and did not come from `PreparedCohort.read_test`.
            InvalidInputError: the file is damaged, or does not hold such volumes.
        """
        if self.locked:
            raise UsageError(f"{self.name} is a test subject; {_LOCKED}")
        with mirror.volumes_at_hand(self.path) as path:
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
        """The subjects of the test split, for a final evaluation; the store counts that they were read.

        Raises:
            InvalidInputError: the store was prepared anew since this cohort was opened.
        """
        test = tuple(dataclasses.replace(subject, locked=False) for subject in self.subjects if subject.split == "test")
        remote = mirror.remote_of(self.store)
        mirror.refresh(self.store)
        with lock(self.store, "cohort"):
            cohort = read_cohort(self.store)
            now = _without_excluded(self.store, cohort)["data_key"]
            if now != self.data_key:
                raise InvalidInputError(f"{name_of(self.store)} was prepared or judged anew meanwhile (data key {now})")
            if remote:
                mirror.note_test_read(remote, [subject.name for subject in test], self.data_key)
            else:
                write_json(self.store / "cohort.json", {**cohort, "test_reads": cohort["test_reads"] + 1})
        return test

    def count_test_reads(self) -> int:
        """How often the test split was read, by whomever."""
        counted = int(read_cohort(self.store)["test_reads"])
        remote = mirror.remote_of(self.store)
        if remote is None:
            return counted
        test = [subject.name for subject in self.subjects if subject.split == "test"]
        return counted + mirror.count_test_reads(remote, test)

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
        MrisynthError: a remote store cannot be reached.
    """
    mirror.refresh(store)
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
