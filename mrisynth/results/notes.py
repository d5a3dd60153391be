"""What people wrote about a sweep and its trials: stars, tags and a note, in the sweep's `notes.json`.

Several people may write at once: each change reads the file, changes one entry and puts it back under a lock.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mrisynth.errors import InvalidInputError, MrisynthError
from mrisynth.files import read_json, refuse_newer, write_json
from mrisynth.results.store import SweepDirectory

SCHEMA_VERSION = 1
LONGEST_NOTE, LONGEST_TAG, MOST_TAGS = 4000, 40, 20
"""What one entry may hold, in characters and in tags."""

_WAIT = 5.0  # seconds for somebody else's change, which takes milliseconds


@dataclass(frozen=True, slots=True)
class Note:
    """What people wrote about one trial, or about a sweep.

    Args:
        star: whether it is worth coming back to.
        tags: short words, sorted.
        text: a note of any kind; shown as it is, never as markup.
    """

    star: bool = False
    tags: tuple[str, ...] = ()
    text: str = ""


def read_notes(sweep: SweepDirectory) -> dict[int, Note]:
    """The entries by trial; empty where nobody wrote anything.

    Raises:
        InvalidInputError: `notes.json` is damaged, or a newer program wrote it.
    """
    return {number: note for number, note in _read(sweep.notes).items() if number is not None and note != Note()}


def read_sweep_note(sweep: SweepDirectory) -> Note:
    """What people wrote about the sweep itself.

    Raises:
        InvalidInputError: `notes.json` is damaged, or a newer program wrote it.
    """
    return _read(sweep.notes).get(None, Note())


def set_star(sweep: SweepDirectory, trial: int, star: bool) -> None:
    """Star a trial or take its star away; its tags and its text stay as they are.

    Raises:
        InvalidInputError: the file is damaged.
        MrisynthError: the folder cannot be written, or somebody holds the lock.
    """
    _change(sweep, trial, lambda note: replace(note, star=star))


def set_text(sweep: SweepDirectory, trial: int, *, seen: str, text: str) -> None:
    """Replace a trial's text by what somebody made of the text that they saw.

    Raises:
        InvalidInputError: somebody else changed it meanwhile, and their text would be lost.
    """

    def changed(note: Note) -> Note:
        if note.text not in (seen, text):
            raise InvalidInputError(
                f"trial {trial} has a new note since you opened it; yours was not kept: reload the page, and add it"
            )
        return replace(note, text=text)

    _change(sweep, trial, changed)


def set_tags(sweep: SweepDirectory, trial: int | None, tags: Iterable[str]) -> None:
    """Replace a trial's tags, or (None) those of the sweep itself; star and text stay as they are."""
    words = tuple(sorted({" ".join(tag.split()) for tag in tags} - {""}))
    _change(sweep, trial, lambda note: replace(note, tags=words))


def all_tags(notes: Iterable[Note]) -> list[str]:
    """Every tag in use, sorted."""
    return sorted({tag for note in notes for tag in note.tags})


def _change(sweep: SweepDirectory, trial: int | None, change: Callable[[Note], Note]) -> None:
    try:
        with FileLock(str(sweep.notes) + ".lock", timeout=_WAIT):
            notes = _read(sweep.notes)
            notes[trial] = _checked(trial, change(notes.get(trial, Note())))
            about = notes.pop(None, Note())
            kept = {str(number): asdict(note) for number, note in sorted(notes.items()) if note != Note()}
            own = {"sweep": asdict(about)} if about != Note() else {}
            write_json(sweep.notes, {"schema_version": SCHEMA_VERSION, **own, "trials": kept})
    except Timeout:
        raise MrisynthError(f"{sweep.notes} is locked by somebody else; try again") from None
    except OSError as error:
        raise MrisynthError(f"{sweep.notes} cannot be written: {error.strerror}") from None


def _checked(trial: int | None, note: Note) -> Note:
    of = "the sweep" if trial is None else f"trial {trial}"
    too_long = [tag for tag in note.tags if len(tag) > LONGEST_TAG]
    if len(note.text) > LONGEST_NOTE:
        raise InvalidInputError(f"the note on {of} has more than {LONGEST_NOTE} characters")
    if too_long:
        raise InvalidInputError(f"the tag {too_long[0][:LONGEST_TAG]}... is longer than {LONGEST_TAG} characters")
    if len(note.tags) > MOST_TAGS:
        raise InvalidInputError(f"{of} would have {len(note.tags)} tags, and may have {MOST_TAGS}")
    return note


def _read(path: Path) -> dict[int | None, Note]:
    """The entries by trial, the sweep's own under None; what in one is not of the right kind is passed over."""
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except ValueError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("trials"), dict):
        raise InvalidInputError(f"{path} does not hold notes; move it away to begin anew")
    refuse_newer(path, content.get("schema_version"), SCHEMA_VERSION)
    notes: dict[int | None, Note] = {None: _note(content.get("sweep"))}
    for key, entry in content["trials"].items():
        if re.fullmatch("[0-9]{1,9}", key):
            notes[int(key)] = _note(entry)
    return notes


def _note(entry: Any) -> Note:
    if not isinstance(entry, dict):
        return Note()
    tags, text = entry.get("tags"), entry.get("text")
    words = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    return Note(entry.get("star") is True, words, text if isinstance(text, str) else "")
