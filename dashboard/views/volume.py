"""Whole volumes in three planes: low, generated and high with one crosshair, and the error laid over."""

from typing import Any

import streamlit as st
from components import links, reading, volumes, words
from components.selection import chosen_sweep, no_trials
from components.words import plain

from mrisynth.errors import MrisynthError
from mrisynth.results.index import Index
from mrisynth.results.leaderboard import first_objective
from mrisynth.results.store import SweepDirectory


def _view(sweep: SweepDirectory) -> None:
    st.title(f"Volumes of {plain(sweep.name)}", anchor=False)
    index = reading.load_index(sweep)
    order = reading.ranking(index)
    if not order:
        no_trials(sweep)
        return
    found = volumes.at_hand(sweep, order)
    asked = st.query_params.get("trial")
    if not found or (asked in map(str, order) and int(asked) not in found):
        _how_to(sweep, int(asked) if asked in map(str, order) else order[0], found)
        if not found:
            return
        st.query_params.pop("trial")
    _choose(sweep, index, found)


def _choose(sweep: SweepDirectory, index: Index, found: dict[int, dict[str, Any]]) -> None:
    metric = first_objective(index)
    rows = {row["trial"]: row for row in index.trials.to_pylist()}
    left, right = st.columns([2, 1])
    trial = links.pick(
        left.selectbox,
        "trial",
        list(found),
        next(iter(found)),
        label="Trial (those with whole volumes, best first)",
        format_func=lambda number: words.trial_label(rows[number], metric),
    )
    subjects = found[trial]["subjects"]
    subject = links.pick(right.selectbox, "subject", subjects, subjects[0], label="Subject (validation)")
    try:
        loaded = volumes.load(sweep, trial, subject)
    except MrisynthError as error:
        st.warning(plain(f"These volumes cannot be shown: {error}."), icon=":material/warning:")
        return
    epoch, now = found[trial]["epoch"], rows[trial]["epochs"]
    if now and epoch != now:
        st.caption(f"These volumes were made after epoch {epoch}; the trial has come to epoch {now} since.")
    volumes.draw(loaded, f"{subject}, trial {trial}")


def _how_to(sweep: SweepDirectory, trial: int, found: dict[int, dict[str, Any]]) -> None:
    """Why there is nothing to see, and the command that changes it."""
    others = f" There are some already of trial {', '.join(map(str, list(found)[:5]))}, shown below." if found else ""
    st.info(
        f"Whole volumes are made on request, since they take longer than the scoring.{others} This makes those of "
        f"trial {trial}; reload this page afterwards:",
        icon=":material/view_in_ar:",
    )
    st.code(f"mrisynth evaluate {sweep.root / str(trial)} --volumes", language="bash", wrap_lines=True)


if sweep := chosen_sweep():
    _view(sweep)
