"""Which sweep and which trial are looked at: both live in the URL, so that a link restores the view.

What a URL says is only ever compared with what exists; it is never made into a path.
"""

from collections.abc import Mapping

import streamlit as st
from components import trouble
from components.words import plain

from mrisynth.errors import NotFoundError
from mrisynth.results.store import SweepDirectory, sweep_state

_REMEMBERED = "remembered sweep"


def choose(sweeps: Mapping[str, SweepDirectory]) -> None:
    """The box in which a sweep is chosen, kept in step with the URL."""
    st.session_state["all sweeps"] = dict(sweeps)
    asked = st.query_params.get("sweep") or st.session_state.get(_REMEMBERED)
    if asked is None and len(sweeps) == 1:
        asked = next(iter(sweeps))
    if asked is not None:
        _keep("sweep", asked)
        st.session_state[_REMEMBERED] = asked
    st.session_state["chosen sweep"] = asked if asked in sweeps else None
    st.selectbox("Sweep", list(sweeps), key="chosen sweep", placeholder="choose a sweep", on_change=_choice_changed)


def chosen_sweep() -> SweepDirectory | None:
    """The sweep that is looked at; says what to do where there is none.

    Raises:
        NotFoundError: the URL names one that does not exist.
    """
    sweeps, asked = st.session_state["all sweeps"], st.query_params.get("sweep")
    if asked in sweeps:
        trouble.warn(sweeps[asked])
        return sweeps[asked]
    if asked is not None:
        raise NotFoundError(f"there is no sweep {asked[:80]!r} in this results folder; choose another one at the left")
    if sweeps:
        st.info("Choose a sweep at the left.", icon=":material/arrow_back:")
    else:
        no_sweeps()
    return None


def no_sweeps() -> None:
    """What to say where the results folder is empty."""
    st.info(
        "There is no sweep in this results folder yet. "
        "`mrisynth sweep SPACE --data STORE --results FOLDER --name NAME` starts one; reload this page to see it.",
        icon=":material/info:",
    )


def no_trials(sweep: SweepDirectory) -> None:
    """What to say where a sweep has no trial yet."""
    live = sweep_state(sweep) in ("queued", "running")
    st.info(
        "No trial has begun yet: the first ones come when the driver has prepared the data; this page then shows them."
        if live
        else "No trial has begun, and the sweep does not run: `mrisynth resume` starts it.",
        icon=":material/hourglass_empty:",
    )


def chosen_trial(trials: list[int], labels: Mapping[int, str]) -> int | None:
    """The trial that is looked at, chosen in a box that is kept in step with the URL; None while none is chosen.

    Args:
        trials: the trials that exist, best first.
        labels: how each is called.
    """
    asked = st.query_params.get("trial", "")
    number = {str(trial): trial for trial in trials}.get(asked)
    if asked and number is None:
        st.warning(f"There is no trial {plain(asked[:80])} in this sweep.", icon=":material/search_off:")
    st.session_state["chosen trial"] = number
    return st.selectbox(
        "Trial",
        trials,
        key="chosen trial",
        format_func=lambda trial: labels[trial],
        placeholder="choose a trial (best first)",
        on_change=_trial_changed,
    )


def open_trial(sweep: SweepDirectory, trial: int) -> None:
    """Go to a trial's page."""
    st.switch_page("views/trial.py", query_params={"sweep": sweep.name, "trial": str(trial)})


def compare_link(sweep: SweepDirectory, trials: list[int]) -> None:
    """A link to the page on which trials stand side by side."""
    label, numbers = f"Compare {len(trials)} trials", ",".join(map(str, trials))
    query = {"sweep": sweep.name, "trials": numbers}
    st.page_link("views/compare.py", label=label, icon=":material/compare:", query_params=query)


def _keep(name: str, value: str) -> None:
    if st.query_params.get(name) != value:
        st.query_params[name] = value


def _choice_changed() -> None:
    chosen = st.session_state["chosen sweep"]
    st.query_params.pop("trial", None)
    if chosen is None:
        st.session_state.pop(_REMEMBERED, None)
        st.query_params.pop("sweep", None)
    else:
        _keep("sweep", chosen)


def _trial_changed() -> None:
    chosen = st.session_state["chosen trial"]
    if chosen is None:
        st.query_params.pop("trial", None)
    else:
        _keep("trial", str(chosen))
