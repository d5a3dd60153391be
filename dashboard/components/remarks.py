"""Stars, tags and notes of sweeps and trials: shown, and changed by whoever looks."""

from collections.abc import Callable, Iterable

import streamlit as st
from components.words import plain

from mrisynth.errors import MrisynthError
from mrisynth.results.notes import (
    LONGEST_NOTE,
    MOST_TAGS,
    Note,
    all_tags,
    read_notes,
    read_sweep_note,
    set_star,
    set_tags,
    set_text,
)
from mrisynth.results.store import SweepDirectory

_FAILED = "why a remark was not kept"


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
    if said := st.session_state.pop(_FAILED, None):
        st.error(plain(said), icon=":material/error:")
    star(sweep, [trial], notes)
    box, seen = f"note on {trial} of {sweep.name}", f"note seen on {trial} of {sweep.name}"
    if box not in st.session_state:  # the box is new on the page, and shows what stands in the file now
        st.session_state[seen] = note.text
    with st.form(f"remarks on {trial}"):
        tags = st.multiselect(
            "Tags",
            sorted({*all_tags(notes.values()), *note.tags}),
            list(note.tags),
            key=f"tags of {trial} of {sweep.name}",
            accept_new_options=True,
            max_selections=MOST_TAGS,
        )
        text = st.text_area("Note", note.text, key=box, max_chars=LONGEST_NOTE)
        if st.form_submit_button("Keep", icon=":material/save:"):
            _keep(
                lambda: set_tags(sweep, trial, tags),
                lambda: set_text(sweep, trial, seen=st.session_state[seen], text=text),
                lambda: st.session_state.update({seen: text}),
            )


def sweep_tags(sweep: SweepDirectory) -> tuple[str, ...]:
    """The tags of a sweep itself; none where its notes are damaged, which its other pages say."""
    try:
        return read_sweep_note(sweep).tags
    except MrisynthError:
        return ()


def badges(sweep: SweepDirectory) -> None:
    """The tags of a sweep."""
    if tags := sweep_tags(sweep):
        st.markdown(" ".join(f":gray-badge[:material/label: {plain(tag)}]" for tag in tags), width="content")


def edit_sweep(sweep: SweepDirectory, others: Iterable[SweepDirectory]) -> None:
    """The tags of a sweep, and a box in which they are changed; offered are those of the others too."""
    if said := st.session_state.pop(_FAILED, None):
        st.error(plain(said), icon=":material/error:")
    key, mine = f"tags of the sweep {sweep.name}", sweep_tags(sweep)
    with st.container(horizontal=True, vertical_alignment="center"):
        badges(sweep)
        with st.popover("Tags", icon=":material/label:"):
            st.multiselect(
                "Tags of this sweep",
                sorted({*mine, *(tag for other in others for tag in sweep_tags(other))}),
                list(mine),
                key=key,
                accept_new_options=True,
                max_selections=MOST_TAGS,
                help="Words by which the page Sweeps finds it; type a new one and press Enter. They are kept at once.",
                on_change=lambda: _try(lambda: set_tags(sweep, None, st.session_state[key])),
            )


def _keep(*changes: Callable[[], object]) -> None:
    """Make the changes, and draw the page again with them."""
    _try(*changes)
    st.rerun()


def _try(*changes: Callable[[], object]) -> None:
    """Make the changes; the page says why where one was not kept."""
    try:
        for change in changes:
            change()
    except MrisynthError as error:
        st.session_state[_FAILED] = f"{error}."
