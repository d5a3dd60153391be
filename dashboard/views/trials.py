"""All trials of a sweep as a table to filter, sort and open; the URL holds the filters."""

import streamlit as st
from components import filters, reading, table
from components.selection import chosen_sweep, open_trial
from components.words import plain

from mrisynth.results.store import SweepDirectory


def _view(sweep: SweepDirectory) -> None:
    st.title(f"Trials of {plain(sweep.name)}", anchor=False)
    index = reading.load_index(sweep)
    trials = reading.trials_frame(index)
    if trials.empty:
        st.info("No trial has begun yet.", icon=":material/hourglass_empty:")
        return
    metrics = list(dict.fromkeys([*index.objectives, *index.metrics]))
    chosen = filters.ask(trials, metrics)
    searched = [path for path in index.manifest.get("searched", []) if path in index.parameters]
    extra = [path for path in searched if path not in filters.CHOICES]
    parameters = st.multiselect("Settings shown", index.parameters, extra, key="settings", bind="query-params")
    kept = filters.passing(trials, chosen)
    # What the back link on a trial's page restores.
    st.session_state["trials query"] = {name: st.query_params.get_all(name) for name in st.query_params}
    st.caption(
        f"{len(kept)} of {len(trials)} trials. Select a row (the box at its left) to open that trial; click a heading "
        "to sort. Pruned trials show the scores of their last rung and rank below the completed ones."
    )
    if kept.empty:
        st.info("No trial passes these filters.", icon=":material/filter_alt_off:")
        return
    ranked = table.ranked(index, kept, chosen.metric)
    selected = table.show(index, ranked, metric=chosen.metric, metrics=metrics, parameters=parameters)
    if selected is not None:
        open_trial(sweep, selected)


if sweep := chosen_sweep():
    _view(sweep)
