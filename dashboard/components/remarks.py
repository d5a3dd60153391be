"""Stars, tags and notes: shown, and changed by whoever looks."""

from collections.abc import Callable

import streamlit as st
from components.words import plain

from mrisynth.errors import MrisynthError
from mrisynth.results.notes import (
    LONGEST_NOTE,
    MOST_TAGS,
    Note,
    all_tags,
    read_notes,
    set_star,
    set_tags,
    set_text,
)
from mrisynth.results.store import SweepDirectory


def load(sweep: SweepDirectory) -> dict[int, Note]:
    """What people wrote, by trial; a damaged file is a sentence on the page, and no notes."""
    try:
        return read_notes(sweep)
    except MrisynthError as error:
        st.warning(plain(f"The notes of this sweep cannot be read: {error}."), icon=":material/warning:")
        return {}


def star(sweep: SweepDirectory, trials: list[int], notes: dict[int, Note]) -> None:
    """A button that stars trials, or takes their stars away where all have one."""
    starred = all(notes.get(trial, Note()).star for trial in trials)
    label = "Take the star away" if starred else "Star"
    if st.button(label, icon=":material/star:", key="star the trials"):
        _keep(*(lambda trial=trial: set_star(sweep, trial, not starred) for trial in trials))


def edit(sweep: SweepDirectory, trial: int) -> None:
    """Star, tags and note of one trial."""
    notes = load(sweep)
    note = notes.get(trial, Note())
    _announce()
    star(sweep, [trial], notes)
    with st.form(f"remarks on {trial}"):
        tags = st.multiselect(
            "Tags",
            sorted({*all_tags(notes.values()), *note.tags}),
            list(note.tags),
            accept_new_options=True,
            max_selections=MOST_TAGS,
        )
        text = st.text_area("Note", note.text, max_chars=LONGEST_NOTE, help="shown as text, never as markup")
        if st.form_submit_button("Keep", icon=":material/save:"):
            changes: list[Callable[[], None]] = []
            if tuple(sorted(tags)) != note.tags:
                changes.append(lambda: set_tags(sweep, trial, tags))
            if text != note.text:
                changes.append(lambda: set_text(sweep, trial, seen=_seen(sweep, trial, note), text=text))
            _keep(*changes)
    _remember(sweep, trial, note)


def _keep(*changes: Callable[[], None]) -> None:
    """Make the changes, and draw the page again with them."""
    try:
        for change in changes:
            change()
    except MrisynthError as error:
        st.session_state["what became of a remark"] = f"{error}."
    st.rerun()


def _announce() -> None:
    if said := st.session_state.pop("what became of a remark", None):
        st.error(plain(said), icon=":material/error:")


def _seen(sweep: SweepDirectory, trial: int, now: Note) -> str:
    """The text that was on the page when the reader began to write, not the one that stands in the file now."""
    return str(st.session_state.get(("seen", sweep.name, trial), now.text))


def _remember(sweep: SweepDirectory, trial: int, note: Note) -> None:
    st.session_state["seen", sweep.name, trial] = note.text
