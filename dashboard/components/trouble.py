"""What is wrong with a whole sweep, in one sentence that says what to do; said above every page about it."""

import pyarrow.compute as pc
import streamlit as st
from components import reading
from components.words import plain

from mrisynth.errors import NewerError, NotFoundError
from mrisynth.results.index import Index
from mrisynth.results.store import SweepDirectory, sweep_state

_INSTEAD = "What is shown was read from the trials' folders"


def warn(sweep: SweepDirectory) -> None:
    """Say that the index cannot be read, or that all trials of a sweep that has ended failed; else nothing."""
    error = reading.index_error(sweep)
    if isinstance(error, NotFoundError):
        if sweep.trial_directories():
            st.info(
                f"This sweep has no index yet. {_INSTEAD}; a driver writes an index as it runs, and "
                "`mrisynth resume` starts one.",
                icon=":material/info:",
            )
    elif isinstance(error, NewerError):
        st.warning(f"{plain(error)}. {_INSTEAD} and may lack something.", icon=":material/update:")
    elif error is not None:
        st.warning(
            f"The index of this sweep is damaged: {plain(error)}. {_INSTEAD} instead; `mrisynth resume` writes the "
            "index anew.",
            icon=":material/healing:",
        )
    if sweep_state(sweep) in ("done", "stopped", "failed"):
        _none_completed(reading.load_index(sweep))


def _none_completed(index: Index) -> None:
    counts = {row["values"]: row["counts"] for row in pc.value_counts(index.trials["outcome"]).to_pylist()}
    if not counts or not {"completed", "running", "queued"}.isdisjoint(counts):
        return
    said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    st.warning(
        f"No trial of this sweep completed ({said}), so there is no best one. The page Trials says how each ended: "
        "correct the space or the data, and start another sweep.",
        icon=":material/report:",
    )
