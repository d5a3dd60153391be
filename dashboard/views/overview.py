"""One sweep as it runs: the best so far, how trials ended, curves of the running ones, the last events."""

import streamlit as st
from components import charts, events, figures, reading, words
from components.selection import chosen_sweep, no_trials
from components.words import plain

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import first_objective, status
from mrisynth.results.store import SweepDirectory, sweep_state

EVERY, EVENTS, CURVES = "3s", 20, 12


def show(sweep: SweepDirectory, metric: str | None, by_time: bool, live: bool) -> None:
    """What changes while the sweep runs; drawn again every few seconds until it ends."""
    if live and sweep_state(sweep) not in words.LIVE:
        st.rerun()
    index = reading.load_index(sweep)
    found = status(sweep, index)
    figures.state_line(found["state"])
    figures.budget_bar(found)
    if not index.trials.num_rows:
        no_trials(sweep)
        _events(sweep)
        return
    figures.best_tiles(index, found["best"])
    metric = metric or first_objective(index)
    left, right = st.columns([2, 1])
    with left:
        _scores(index, metric, by_time)
    with right:
        st.subheader("How trials ended", anchor=False)
        st.altair_chart(charts.outcomes(found["trials"]), key="outcomes")
    _running(index)
    _events(sweep)


def _scores(index: Index, metric: str, by_time: bool) -> None:
    st.subheader("Best so far", anchor=False, help="green stair: the best completed trial up to there")
    frame = charts.scored_frame(index, reading.trials_frame(index), metric, by_time=by_time)
    if frame.empty:
        st.info("No trial has completed yet.", icon=":material/hourglass_empty:")
    else:
        st.altair_chart(charts.best_so_far(index, frame, metric, by_time=by_time), key="scores")


def _running(index: Index) -> None:
    trials = reading.trials_frame(index)
    numbers = trials.loc[trials["outcome"] == "running", "trial"].tolist()[-CURVES:]
    st.subheader("Running trials", anchor=False, help=f"the {CURVES} latest")
    history = reading.history_frame(index, numbers)
    history = history[history["part"] != "scores"]
    if history.empty:
        st.caption("No trial is being trained." if not numbers else "The running trials have not ended an epoch yet.")
        return
    names = sorted(
        {f"{part} {name}" for part, name in zip(history["part"], history["name"], strict=True)}, reverse=True
    )
    chosen = st.selectbox("Loss", names, key="curve", bind="query-params")
    part, name = chosen.split(" ", 1)
    st.altair_chart(
        charts.running(history[(history["part"] == part) & (history["name"] == name)], chosen), key="running"
    )


def _events(sweep: SweepDirectory) -> None:
    st.subheader("Last events", anchor=False)
    latest = events.latest(sweep, EVENTS)
    if latest.empty:
        st.caption("Nothing has happened yet.")
        return
    time = st.column_config.DatetimeColumn("time (UTC)", format="YYYY-MM-DD HH:mm:ss", width="small")
    event = st.column_config.TextColumn("what happened", width="large")
    st.dataframe(latest, hide_index=True, column_config={"time": time, "event": event})


def _view(sweep: SweepDirectory) -> None:
    st.title(f"Overview of {plain(sweep.name)}", anchor=False)
    index = reading.load_index(sweep)
    metrics = list(dict.fromkeys([*index.objectives, *index.metrics]))
    left, right, _ = st.columns([1, 1, 2])
    metric = left.selectbox("Metric", metrics, key="metric", bind="query-params")
    along = right.selectbox("Along", ["trial number", "time"], key="along", bind="query-params")
    live = sweep_state(sweep) in words.LIVE
    st.fragment(show, run_every=EVERY if live else None)(sweep, metric, along == "time", live)


if sweep := chosen_sweep():
    _view(sweep)
