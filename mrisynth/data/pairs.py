"""Pair lists: which two scans belong to one subject, as a CSV file says it."""

import csv
import difflib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mrisynth.errors import InvalidInputError
from mrisynth.files import write_bytes, write_json

SPLITS = ("train", "validation", "test")
SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REQUIRED = ("subject", "low", "high")
_FILES = ("low", "high", "mask", "low_to_high")
_OPTIONAL = ("split", "mask", "low_to_high")


@dataclass(frozen=True)
class Pair:
    """The two scans of one subject.

    Args:
        subject: letters, digits, `.`, `_`, `-`; begins with a letter or digit.
        low: the low-field scan, a file or a DICOM folder.
        high: the high-field scan, likewise.
        split: `train`, `validation` or `test`, where the user has decided.
        mask: tissue on the high-field scan's grid, where the user has one.
        low_to_high: a transform file that registers low to high (it maps points of the high-field scan to points of the
            low-field scan, as ITK's resampling takes it), where the user has one.
        outside: which of these files the list names by a relative path that leaves its folder (`../`).
    """

    subject: str
    low: Path
    high: Path
    split: str | None = None
    mask: Path | None = None
    low_to_high: Path | None = None
    outside: tuple[Path, ...] = field(default=(), compare=False)


def read_csv(path: Path) -> list[Pair]:
    """The pairs of a CSV file (comma, semicolon or tab, with a header line); see `mrisynth.data.cohort.read_pairs`.

    Raises:
        InvalidInputError: the list is not valid; all its mistakes, with their line numbers.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path} is not a text file in UTF-8; save it as 'CSV UTF-8'") from None
    except OSError as reason:
        raise InvalidInputError(f"{path} cannot be read ({reason.strerror}); check its permissions") from None
    if "\0" in text:
        raise InvalidInputError(f"{path} is not a text file; save it as 'CSV UTF-8'")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        columns = [(name or "").strip() for name in reader.fieldnames or []]
        _check_columns(path, columns)
        reader.fieldnames = columns
        rows = [_row(reader.line_num, values) for values in reader]
    except csv.Error as reason:
        raise InvalidInputError(f"{path}, line {reader.line_num}: {reason}; save it as plain CSV") from None
    _check_subjects(rows)
    mistakes = [f"line {row.line}: {mistake}" for row in rows for mistake in row.mistakes]
    if mistakes:
        head = f"{path}, " if len(mistakes) == 1 else f"{path} has {len(mistakes)} mistakes:\n"
        raise InvalidInputError(head + "\n".join(mistakes))
    if not rows:
        raise InvalidInputError(f"{path} lists no subject; add a line 'subject,low,high' for each")
    return [_pair(path.parent, row.values) for row in rows]


def write_pairs(folder: Path, rows: Iterable[tuple[str, str, str]]) -> Path:
    """Write `pairs.csv` into a folder, whole or not at all.

    Args:
        folder: where; relative paths in the rows start here.
        rows: subject, low, high.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_REQUIRED)
    writer.writerows(rows)
    write_bytes(folder / "pairs.csv", text.getvalue().encode())
    return folder / "pairs.csv"


def claim_folder(folder: Path, record_name: str, record: dict[str, Any]) -> None:
    """Make a folder ours to write a cohort into: its old `pairs.csv` goes, its record says how the new one was made.

    Args:
        folder: made if missing.
        record_name: the file that marks a folder which the same command wrote before and may write again.
        record: what it will say.

    Raises:
        InvalidInputError: the folder holds a cohort that something else wrote.
    """
    pairs = folder / "pairs.csv"
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(f"{folder} is a file; name a folder for the new cohort")
    if pairs.exists() and not (folder / record_name).exists():
        raise InvalidInputError(f"{pairs} is already there and was not made by this command; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / record_name, record)
    pairs.unlink(missing_ok=True)


def duplicates(names: Iterable[str]) -> list[str]:
    """The names that occur more than once, in the order of their first occurrence."""
    return [name for name, count in Counter(names).items() if count > 1]


@dataclass
class _Row:
    """One line of a pairs file, and the mistakes found in it."""

    line: int
    values: dict[str, str]
    mistakes: list[str] = field(default_factory=list)


def _check_columns(path: Path, columns: list[str]) -> None:
    """Required columns must be there; others are the user's own, unless they look like a misspelt one of ours."""
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        raise InvalidInputError(
            f"{path}, line 1: missing column {', '.join(missing)}; the first line must be 'subject,low,high', "
            f"optionally with {', '.join(_OPTIONAL)}"
        )
    for name in duplicates(columns):
        raise InvalidInputError(f"{path}, line 1: column '{name}' is there twice; keep one")
    for name in columns:
        meant = _similar(name)
        if meant:
            raise InvalidInputError(f"{path}, line 1: unknown column '{name}'; did you mean '{meant}'?")


def _check_subjects(rows: list[_Row]) -> None:
    """A subject on several lines, perhaps in several splits; told at the last of them."""
    for name in duplicates(row.values["subject"] for row in rows):
        twice = [row for row in rows if row.values["subject"] == name]
        lines = ", ".join(str(row.line) for row in twice)
        splits = sorted({row.values.get("split", "") for row in twice} - {""})
        where = f" and in {len(splits)} splits ({', '.join(splits)})" if len(splits) > 1 else ""
        twice[-1].mistakes.append(
            f"subject '{name}' is there {len(twice)} times (lines {lines}){where}; keep one line a subject"
        )


def _similar(name: str) -> str | None:
    known = (*_REQUIRED, *_OPTIONAL)
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.75)
    return close[0] if close and name not in known else None


def _row(line: int, raw: dict[str | Any, str | Any]) -> _Row:
    """A line's values, stripped, and what is wrong with it alone."""
    extra = raw.pop(None, None)
    row = _Row(line, {name: (value or "").strip() for name, value in raw.items()})
    if extra:
        row.mistakes.append("more values than columns; quote a path that contains the separator")
    row.mistakes += [f"no value for '{name}'; fill it in" for name in _REQUIRED if not row.values[name]]
    subject, split = row.values["subject"], row.values.get("split", "")
    if subject and not SUBJECT.fullmatch(subject):
        row.mistakes.append(f"subject '{subject}' is not a plain name; use letters, digits and . _ - only")
    if split and split not in SPLITS:
        row.mistakes.append(f"unknown split '{split}'; use {', '.join(SPLITS)}")
    row.mistakes += [f"'{row.values[name]}' names no home folder" for name in _FILES if not _has_home(row.values, name)]
    return row


def _has_home(values: dict[str, str], name: str) -> bool:
    """Whether a path's `~` or `~user`, if any, is somebody's home."""
    try:
        Path(values.get(name, "")).expanduser()
    except RuntimeError:
        return False
    return True


def _leaves(value: str) -> bool:
    """Whether a relative path ends up beside or above the folder that it starts in."""
    return os.path.normpath(value).split(os.sep, 1)[0] == os.pardir


def _pair(folder: Path, values: dict[str, str]) -> Pair:
    def path(name: str) -> Path | None:
        value = values.get(name)
        return folder / Path(value).expanduser() if value else None

    low, high = path("low"), path("high")
    assert low is not None
    assert high is not None
    split = values.get("split") or None
    outside = tuple(folder / values[name] for name in _FILES if _leaves(values.get(name, "")))
    return Pair(
        values["subject"],
        low,
        high,
        split=split,
        mask=path("mask"),
        low_to_high=path("low_to_high"),
        outside=outside,
    )
