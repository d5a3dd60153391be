"""A sweep as a card: its state, how far it is, its best trial, and on which data and by which code it was made."""

from datetime import UTC, datetime
from typing import Any

import streamlit as st
from components import alerts, figures, reading, remarks, words
from components.words import plain

from mrisynth.errors import MrisynthError, NotFoundError
from mrisynth.results import health
from mrisynth.results.index import Index
from mrisynth.results.leaderboard import status
from mrisynth.results.store import SweepDirectory, sweep_state


def matches(sweep: SweepDirectory, text: str) -> bool:
    """Whether every word of a search is in the sweep's name, description, space, tags or state."""
    if not text.strip():
        return True
    asked = reading.asked(sweep)
    about = (sweep.name, asked.get("description"), asked.get("space"), sweep_state(sweep), *remarks.sweep_tags(sweep))
    known = " ".join(str(each) for each in about if each).casefold()
    return all(word in known for word in text.casefold().split())


def show(sweep: SweepDirectory) -> None:
    """One sweep as a card, which is drawn again every few seconds while the sweep runs."""
    live = sweep_state(sweep) == "running"
    st.fragment(_card, run_every=reading.EVERY if live else None)(sweep, live)


def _card(sweep: SweepDirectory, live: bool) -> None:
    if live and sweep_state(sweep) != "running":
        st.rerun()
    with st.container(border=True, key=f"card of {sweep.name}"):
        try:
            index = reading.load_index(sweep)
            found = status(sweep, index)
        except MrisynthError as error:
            st.subheader(plain(sweep.name), anchor=False)
            st.error(plain(f"This sweep cannot be read: {error}."), icon=":material/error:")
            return
        left, right = st.columns([2, 3])
        with left:
            _state(sweep, index, found)
        with right:
            figures.best_tiles(index, found["best"])
        alerts.summary(found["alerts"])
        damaged = not isinstance(reading.index_error(sweep), NotFoundError | None)
        if damaged or health.unreadable(sweep):
            said = "Some files of this sweep could not be read: its page Health says which."
            st.markdown(f":orange[:material/broken_image: {said}]")
        _foot(sweep, index)


def _state(sweep: SweepDirectory, index: Index, found: dict[str, Any]) -> None:
    """What the sweep is, what it does, and how far it is."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(plain(sweep.name), anchor=False, width="content")
        remarks.badges(sweep)
    figures.state_line(found["state"])
    if index.manifest.get("description"):
        st.text(index.manifest["description"])
    st.markdown(f"**Trials:** {words.outcome_badges(found['trials'])}")
    figures.budget_bar(found)


def _foot(sweep: SweepDirectory, index: Index) -> None:
    """Where to go on, and of what the sweep was made."""
    with st.container(horizontal=True, vertical_alignment="center"):
        here = {"sweep": sweep.name}
        for page, icon in (("overview", "monitoring"), ("trials", "table_rows"), ("health", "vital_signs")):
            label = page.capitalize()
            st.page_link(f"views/{page}.py", label=label, icon=f":material/{icon}:", query_params=here, width="content")
        st.caption(_made(sweep, index))


def _made(sweep: SweepDirectory, index: Index) -> str:
    """On which data, in which space, by which code, and when it lived last."""
    code, sign = health.made_by(sweep), health.last_sign(sweep)
    commit = f" (commit {code['commit'][:12]})" if "commit" in code else ""
    parts = [
        f"data {index.manifest.get('data_key') or 'not recorded'}",
        f"space {reading.asked(sweep).get('space') or 'not recorded'}",
        f"mrisynth {code['mrisynth']}{commit}" if "mrisynth" in code else "code not recorded",
        f"last sign of life {words.ago(sign.time, datetime.now(UTC))}" if sign and sign.time else "no sign of life yet",
    ]
    return " · ".join(map(plain, parts))
