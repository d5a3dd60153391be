"""All trials of a sweep as a table to filter, sort, compare and take home; the URL holds the filters."""

import streamlit as st
from components import export, filters, reading, remarks, selection, table, thumbnails
from components.selection import chosen_sweep
from components.words import plain

from mrisynth.errors import MrisynthError
from mrisynth.results.index import Index
from mrisynth.results.notes import Note
from mrisynth.results.store import SweepDirectory

MOST_COMPARED = 8


def _view(sweep: SweepDirectory) -> None:
    st.title(f"Trials of {plain(sweep.name)}", anchor=False)
    index = reading.load_index(sweep)
    trials = reading.trials_frame(index)
    if trials.empty:
        selection.no_trials(sweep)
        return
    notes = remarks.load(sweep)
    metrics = list(dict.fromkeys([*index.objectives, *index.metrics]))
    chosen = filters.ask(index, trials, metrics, notes)
    searched = [path for path in index.manifest.get("searched", []) if path in index.parameters]
    extra = [path for path in searched if path not in filters.CHOICES]
    with st.expander("Settings shown"):
        shown = st.multiselect("Settings", index.parameters, extra, key="settings", bind="query-params")
    # What the back link on a trial's page restores.
    st.session_state["trials query"] = {name: st.query_params.get_all(name) for name in st.query_params}
    try:
        kept = filters.passing(index, trials, chosen, notes)
    except MrisynthError as error:
        st.error(plain(f"{error}."), icon=":material/filter_alt:")
        return
    st.caption(
        f"{len(kept)} of {len(trials)} trials. Select rows by the box at their left to open, star or compare them; "
        "click a heading to sort. Pruned trials show the scores of their last rung and rank below the completed ones."
    )
    if kept.empty:
        st.info("No trial passes these filters: take one away.", icon=":material/filter_alt_off:")
        return
    actions = st.container(horizontal=True, vertical_alignment="center")
    wanted = table.Columns(chosen.metric, metrics, shown)
    pictures = thumbnails.of_trials(sweep, kept["trial"].tolist())
    selected = table.show(index, table.rows(index, kept, wanted, notes=notes, pictures=pictures), wanted)
    with actions:
        _actions(sweep, selected, notes)
    if len(selected) == 1:
        _yaml(sweep, index, selected[0])
    export.buttons(sweep, index, kept["trial"])


def _actions(sweep: SweepDirectory, selected: list[int], notes: dict[int, Note]) -> None:
    """What can be done with the selected trials."""
    if not selected:
        st.caption("No row is selected.")
        return
    if len(selected) == 1:
        query = {"sweep": sweep.name, "trial": str(selected[0])}
        st.page_link(
            "views/trial.py", label=f"Open trial {selected[0]}", icon=":material/imagesmode:", query_params=query
        )
    elif len(selected) <= MOST_COMPARED:
        selection.compare_link(sweep, selected)
    else:
        st.caption(f"{len(selected)} trials are selected; up to {MOST_COMPARED} can be compared.")
    remarks.star(sweep, selected, notes)


def _yaml(sweep: SweepDirectory, index: Index, trial: int) -> None:
    with st.expander(f"config.yaml of trial {trial}, to copy"):
        st.code(export.yaml(sweep, index, trial), language="yaml")


def _come_back() -> None:
    """Restore the filters where the browser's back button leads to this page with the parameters of the page it left.

    Streamlit puts those into the history as a step of its own before it changes the page.
    """
    if {"trial", "trials"} & set(st.query_params):
        known = st.session_state.get("trials query", {})
        st.query_params.from_dict({**known, "sweep": st.query_params.get("sweep", "")})
        st.rerun()


_come_back()
if sweep := chosen_sweep():
    _view(sweep)
