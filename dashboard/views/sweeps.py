"""All sweeps: what each is doing, how its trials ended, and what its best trial gains."""

import streamlit as st
from components import cards
from components.selection import no_sweeps

MOST = 20  # sweeps shown at once; the search finds the others
_REMEMBERED = "remembered search"


def _search(box: st.delta_generator.DeltaGenerator) -> str:
    """The text that is searched for: that of the URL, else the one with which this page was left."""
    arrived = "search" not in st.session_state  # Streamlit forgets what a page's boxes hold when another is opened
    if arrived and "search" not in st.query_params and st.session_state.get(_REMEMBERED):
        st.session_state["search"] = st.session_state[_REMEMBERED]
    text = box.text_input(
        "Search",
        key="search",
        bind="query-params",
        type="search",
        placeholder="a name, a space, a tag, a state",
        help="Sweeps that have every word in their name, description, space, tags or state.",
    )
    st.session_state[_REMEMBERED] = text or ""
    return text or ""


def _view() -> None:
    sweeps = list(st.session_state["all sweeps"].values())
    if not sweeps:
        no_sweeps()
        return
    box, count = st.columns([2, 3], vertical_alignment="bottom")
    text = _search(box)
    found = [sweep for sweep in sweeps if cards.matches(sweep, text)]
    shown = found[:MOST]
    more = f"; the {len(shown)} latest are shown, search for the others" if len(found) > len(shown) else ""
    count.caption(f"{len(found)} of {len(sweeps)} sweeps, the latest sign of life first{more}")
    if not found:
        st.info("No sweep has all these words: take one away.", icon=":material/search_off:")
    for sweep in shown:
        cards.show(sweep)


st.title("Sweeps", anchor=False)
_view()
