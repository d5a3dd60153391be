"""The patches that a model is trained on: cut once for all trials that want the same ones, then mapped into memory.

STORE/shards/<key>/manifest.json       what the patches were cut from, and how
STORE/shards/<key>/train.arrow         all patches of the training split, standardised
STORE/shards/<key>/validation.arrow    at most 1,000 of the validation split
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrisynth.data.patches import PatchConfig, PatchLocations, extract, sample_locations, share_out
from mrisynth.data.store import artefacts
from mrisynth.data.store.arrays import map_arrays, write_arrays
from mrisynth.data.store.prepared import PreparedCohort, PreparedSubject, Standard
from mrisynth.data.store.records import FULL_SCALE
from mrisynth.errors import InvalidInputError
from mrisynth.files import digest

VERSION = 1
"""Raise it whenever the same cohort and config give other patches than before."""

VALIDATION_PATCHES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class PatchArrays:
    """The patches of one split, n of them: read-only views of a mapped file.

    Attributes:
        low: standardised by its own volume's mean and deviation, shape (n, 1, size, size), float32.
        high: standardised by those of the training split's high scans together, shape (n, 1, size, size), float32.
        subject: index into `Shards.subjects`, shape (n,).
        locations: where in its subject each patch lies.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    subject: NDArray[np.int64]
    locations: PatchLocations

    def __len__(self) -> int:
        return len(self.low)


@dataclass(frozen=True, slots=True, eq=False)
class Shards:
    """The patches of the training and the validation split.

    Attributes:
        key: the content key: equal keys, equal patches.
        train, validation: the patches.
        high: mean and deviation of the training split's high scans, on [0, 1]: undoes the standardisation of `high`.
        subjects: names, training subjects first.
    """

    key: str
    train: PatchArrays
    validation: PatchArrays
    high: Standard
    subjects: tuple[str, ...]


def ensure(cohort: PreparedCohort, config: PatchConfig) -> Shards:
    """The patches of a cohort, cut first if nobody has: all others wait for the first, and map the same files.

    The arrays are read-only, of which `torch.from_numpy` warns. Nothing is read before it is used, and all processes of
    a machine share the pages; a GPU needs a copy of its own, once.

    Raises:
        InvalidInputError: a split has no subject, a subject has too little tissue for `config`, or a shard is damaged.
    """
    splits = {split: _subjects(cohort, split) for split in ("train", "validation")}
    content = {
        "version": VERSION,
        "config": config.content(),
        "subjects": [
            {"subject": subject.name, "key": subject.key, "split": split}
            for split, subjects in splits.items()
            for subject in subjects
        ],
    }
    directory = cohort.store / "shards" / digest(content)

    def build(folder: Path) -> dict[str, Any]:
        high = cohort.high_standard()
        first = 0
        for split, subjects in splits.items():
            write_arrays(folder / f"{split}.arrow", _cut(subjects, split, config, high=high, first=first))
            first += len(subjects)
        return {**content, "high": asdict(high)}

    manifest = artefacts.ensure(directory, build, store=cohort.store)
    return Shards(
        key=directory.name,
        train=_open(directory / "train.arrow"),
        validation=_open(directory / "validation.arrow"),
        high=Standard(**manifest["high"]),
        subjects=tuple(entry["subject"] for entry in manifest["subjects"]),
    )


def _subjects(cohort: PreparedCohort, split: str) -> tuple[PreparedSubject, ...]:
    subjects = cohort.of_split(split)
    if not subjects:
        raise InvalidInputError(f"the store {cohort.store} has no {split} subject; prepare it with at least one")
    return subjects


def _cut(
    subjects: Sequence[PreparedSubject], split: str, config: PatchConfig, *, high: Standard, first: int
) -> dict[str, NDArray[Any]]:
    """The columns of one split's shard; `first` is the index of its first subject."""
    counts = _counts(len(subjects), split, config)
    shape = (sum(counts), 1, config.size, config.size)
    lows, highs = np.empty(shape, np.float32), np.empty(shape, np.float32)
    locations, start = [], 0
    for subject, count in zip(subjects, counts, strict=True):
        low_volume, high_volume, mask = subject.volumes()
        places = _sample(subject, mask, count, config)
        rows = slice(start, start + count)
        lows[rows] = _standardise(extract(low_volume, places, config.size), subject.standard("low"))
        highs[rows] = _standardise(extract(high_volume, places, config.size), high)
        locations.append(places)
        start += count
    columns = {
        field.name: np.concatenate([getattr(places, field.name) for places in locations])
        for field in fields(PatchLocations)
    }
    index = np.repeat(np.arange(first, first + len(subjects)), counts)
    return {"low": lows, "high": highs, "subject": index, **columns}


def _counts(subjects: int, split: str, config: PatchConfig) -> list[int]:
    """Patches of each subject: as many as configured for training, an equal share of at most 1,000 for validation."""
    total = config.per_subject * subjects
    if split == "validation":
        total = min(total, VALIDATION_PATCHES)
    return share_out(total, subjects)


def _sample(subject: PreparedSubject, mask: NDArray[np.uint8], count: int, config: PatchConfig) -> PatchLocations:
    """Where a subject's patches lie; depends on its name and the seed, but not on who else is in the cohort."""
    name = int.from_bytes(hashlib.sha256(subject.name.encode()).digest()[:8])
    try:
        return sample_locations(mask, config, count=count, generator=np.random.default_rng([config.seed, name]))
    except InvalidInputError as error:
        raise InvalidInputError(f"subject {subject.name}: {error}") from None


def _standardise(patches: NDArray[np.float32], standard: Standard) -> NDArray[np.float32]:
    """Patches of a prepared volume, [0, 1000], standardised by a mean and deviation on [0, 1]."""
    return (patches / np.float32(FULL_SCALE) - np.float32(standard.mean)) / np.float32(standard.std)


def _open(path: Path) -> PatchArrays:
    """Map one split's shard."""
    columns = map_arrays(path)
    locations = PatchLocations(*(columns[field.name] for field in fields(PatchLocations)))
    return PatchArrays(columns["low"], columns["high"], columns["subject"], locations)
