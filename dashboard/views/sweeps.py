"""All sweeps: what each is doing, how its trials ended, and what its best trial gains."""

import streamlit as st
from components import figures, reading, trouble, words
from components.selection import no_sweeps
from components.words import plain

from mrisynth.errors import MrisynthError
from mrisynth.results.leaderboard import status
from mrisynth.results.store import SweepDirectory


def show(sweep: SweepDirectory) -> None:
    """One sweep as a card."""
    with st.container(border=True):
        st.subheader(plain(sweep.name), anchor=False)
        try:
            trouble.warn(sweep)
            index = reading.load_index(sweep)
            found = status(sweep, index)
        except MrisynthError as error:
            st.error(plain(f"This sweep cannot be read: {error}."), icon=":material/error:")
            return
        figures.state_line(found["state"])
        if index.manifest.get("description"):
            st.text(index.manifest["description"])
        st.markdown(f"**Trials:** {words.counts(found['trials'])}")
        figures.budget_bar(found)
        figures.best_tiles(index, found["best"])
        overview, trials, _ = st.columns([1, 1, 4])
        here = {"sweep": sweep.name}
        overview.page_link("views/overview.py", label="Overview", icon=":material/monitoring:", query_params=here)
        trials.page_link("views/trials.py", label="Trials", icon=":material/table_rows:", query_params=here)


st.title("Sweeps", anchor=False)
sweeps = st.session_state["all sweeps"]
if not sweeps:
    no_sweeps()
for each in sweeps.values():
    show(each)
