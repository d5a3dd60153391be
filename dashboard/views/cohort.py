"""The subjects of a sweep: their split, how well they were prepared, what they look like, and how hard they are."""

from typing import Any

import streamlit as st
from components import difficulty, links, quality, reading
from components.selection import chosen_sweep
from components.words import plain

from mrisynth.errors import MrisynthError
from mrisynth.files import read_json
from mrisynth.results.leaderboard import first_objective
from mrisynth.results.store import SweepDirectory


def _view(sweep: SweepDirectory) -> None:
    st.title(f"Cohort of {plain(sweep.name)}", anchor=False)
    index = reading.load_index(sweep)
    subjects = _subjects(sweep)
    st.subheader("Subjects and their preparation", anchor=False)
    if subjects:
        quality.table(subjects)
    else:
        st.info(
            "How this sweep's subjects were prepared is not in its folder (cohort/subjects.json): an earlier version "
            "made it, or it has not begun. `mrisynth data info STORE` tells the same of the prepared data.",
            icon=":material/info:",
        )
    st.subheader("How hard each subject is", anchor=False)
    metrics = list(dict.fromkeys([*index.objectives, *index.metrics]))
    left, _ = st.columns([1, 3])
    metric = links.pick(left.selectbox, "metric", metrics, first_objective(index), label="Metric")
    difficulty.show(index, metric)
    st.subheader("What they look like", anchor=False)
    quality.pictures(sweep, subjects)


def _subjects(sweep: SweepDirectory) -> list[dict[str, Any]]:
    try:
        found = read_json(sweep.cohort / "subjects.json")["subjects"]
        return [each for each in found if isinstance(each, dict) and "subject" in each]
    except (MrisynthError, KeyError, TypeError, ValueError):
        return []


if sweep := chosen_sweep():
    _view(sweep)
