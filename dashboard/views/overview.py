"""One sweep as it runs: the best so far, what to look after, how trials ended, curves of the running ones, events."""

import streamlit as st
from components import alerts, charts, events, figures, reading, remarks, words
from components.selection import chosen_sweep, no_trials
from components.words import plain

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import first_objective, status
from mrisynth.results.published import COUNTERPARTS
from mrisynth.results.store import SweepDirectory, sweep_state

EVERY, EVENTS, CURVES = "3s", 20, 12
_GHOSTS = (
    "Grey diamonds at the right edge: the scores that the paper printed for its models. They are of another cohort, "
    "whose scans are private: for orientation, not for comparison."
)


def show(sweep: SweepDirectory, live: bool) -> None:
    """What changes while the sweep runs; drawn again every few seconds until it ends."""
    if live and sweep_state(sweep) not in words.LIVE:
        st.rerun()
    index = reading.load_index(sweep)
    found = status(sweep, index)
    figures.state_line(found["state"])
    figures.budget_bar(found)
    if index.trials.num_rows:
        figures.best_tiles(index, found["best"])
    alerts.show(found["alerts"])
    if not index.trials.num_rows:
        no_trials(sweep)
        _events(sweep)
        return
    left, right = st.columns([2, 1])
    with left:
        _scores(index)
    with right:
        st.subheader("How trials ended", anchor=False)
        said = ", ".join(f"{count} {outcome}" for outcome, count in found["trials"].items() if count)
        st.altair_chart(charts.outcomes(found["trials"]), key="outcomes", alt=f"how trials ended: {said}")
        _nodes(found["nodes"])
    _running(index)
    _events(sweep)


def _scores(index: Index) -> None:
    st.subheader("Best so far", anchor=False, help="stair: the best completed trial up to there")
    metrics = list(dict.fromkeys([*index.objectives, *index.metrics])) or [first_objective(index)]
    left, right, switches = st.columns([1, 1, 1.4], vertical_alignment="bottom")
    metric = left.selectbox("Metric", metrics, key="metric", bind="query-params")
    along = right.selectbox("Along", list(charts.ALONG), key="along", bind="query-params", help=charts.ALONG["cost"])
    with switches, st.container(horizontal=True):
        families = st.toggle("Each family", key="families", bind="query-params", help="the best so far of each family")
        paper = metric in COUNTERPARTS and st.toggle("The paper", True, key="paper", bind="query-params", help=_GHOSTS)
    frame = charts.scored_frame(index, reading.trials_frame(index), metric, along=along, families=families)
    if frame.empty:
        st.caption("The curve begins with the first trial that completes or is pruned.")
        return
    chart = charts.best_so_far(index, frame, metric, along=along, families=families, paper=paper)
    st.altair_chart(chart, key="scores", alt=f"{metric} of {len(frame)} trials by {along}, and the best so far")
    if paper:
        st.caption(_GHOSTS)


def _nodes(nodes: dict[str, list[int]]) -> None:
    if nodes:
        st.subheader("Where they run", anchor=False)
    for node, trials in nodes.items():
        noun = "trial" if len(trials) == 1 else "trials"
        st.markdown(f"**{plain(node)}**: {len(trials)} {noun} ({', '.join(map(str, trials))})")


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
        charts.running(history[(history["part"] == part) & (history["name"] == name)], chosen),
        key="running",
        alt=f"{chosen} of the running trials by epoch",
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
    remarks.edit_sweep(sweep, st.session_state["all sweeps"].values())
    live = sweep_state(sweep) in words.LIVE
    st.fragment(show, run_every=EVERY if live else None)(sweep, live)


if sweep := chosen_sweep():
    _view(sweep)
