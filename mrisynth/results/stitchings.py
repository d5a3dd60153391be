"""A trial's slices stitched in several ways, to see which one shows seams.

trials/<number>/stitchings/<way>/<subject>.npz      the slices, see `mrisynth.results.slices`
trials/<number>/stitchings/stitchings.json          after which epoch they are, and each way with its scores and lines
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.files import read_json, write_json
from mrisynth.results.seams import Lines
from mrisynth.results.slices import Floats, write_slices

FILE_NAME = "stitchings.json"


@dataclass(frozen=True, slots=True)
class Way:
    """One way of stitching, and what it came to.

    Attributes:
        name: "trial" (its own), "text" and "figures" (the paper's), "asked".
        stitching: stride, crop and blend.
        values: every metric, as the mean over the subjects.
        subjects: the metrics of each subject.
        lines: by subject.
    """

    name: str
    stitching: dict[str, Any]
    values: dict[str, float | None]
    subjects: dict[str, dict[str, float | None]]
    lines: dict[str, Lines]


@dataclass(frozen=True, slots=True)
class Stitchings:
    """What `write_stitchings` left: after which epoch, and the ways in order."""

    epoch: int
    ways: tuple[Way, ...]


def write_stitchings(
    folder: Path, ways: Sequence[Way], generated: Mapping[str, Mapping[str, Floats]], *, epoch: int
) -> None:
    """Write the slices of each way and subject, the description last.

    Args:
        folder: a trial's `stitchings`.
        ways: in the order in which they will be shown.
        generated: way -> subject -> slices, (n, height, width), intensity on [0, 1].
        epoch: after which the generator is.
    """
    description = folder / FILE_NAME
    description.unlink(missing_ok=True)  # until all are there, none is shown: they may be of another epoch
    for way in ways:
        for subject, slices in generated[way.name].items():
            write_slices(folder / way.name, subject, slices)
    write_json(description, {"schema_version": 1, "epoch": epoch, "ways": [asdict(way) for way in ways]})


def read_stitchings(folder: Path) -> Stitchings:
    """What a trial's folder `stitchings` says; the slices are read by `mrisynth.results.slices`.

    Raises:
        NotFoundError: nobody has asked for it yet.
        InvalidInputError: the description is damaged.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist")
    try:
        found = read_json(path)
        return Stitchings(int(found["epoch"]), tuple(_way(each) for each in found["ways"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"{path} does not describe ways of stitching: {error!r}") from None


def _way(found: dict[str, Any]) -> Way:
    lines = {subject: (tuple(map(int, r)), tuple(map(int, c))) for subject, (r, c) in found["lines"].items()}
    way = Way(**{**found, "lines": lines})
    if not way.name.isidentifier():
        raise ValueError(f"a way is named {way.name!r}")  # it names a folder
    return way
