"""One trial: how it ended, what it scored, its curves, its pictures, its settings."""

import json
from typing import Any

import pandas as pd
import streamlit as st
from components import charts, figures, lineage, reading, remarks, slicing, stitching, viewer, words
from components.selection import chosen_sweep, chosen_trial, no_trials
from components.words import plain

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import BASELINES, breaking, first_objective, gains
from mrisynth.results.lineage import resume_points
from mrisynth.results.store import SweepDirectory, TrialDirectory, sweep_state

LOG_LINES, LOG_BYTES, COLUMNS = 60, 20_000, 3


def _view(sweep: SweepDirectory) -> None:
    st.title(f"Trial of {plain(sweep.name)}", anchor=False)
    index = reading.load_index(sweep)
    rows = reading.trial_rows(index)
    if not rows:
        no_trials(sweep)
        return
    metric = first_objective(index)
    trial = chosen_trial(reading.ranking(index), reading.trial_labels(index, metric))
    query = {**st.session_state.get("trials query", {}), "sweep": sweep.name}
    st.page_link("views/trials.py", label="Back to the trials", icon=":material/arrow_back:", query_params=query)
    if trial is not None:
        _show(sweep, index, rows, trial)


def _show(sweep: SweepDirectory, index: Index, rows: dict[int, dict[str, Any]], trial: int) -> None:
    row = rows[trial]
    st.markdown(f"**{words.ending(row, sweep_state(sweep))}**")
    if row["name"]:
        st.text(f"Its name: {row['name']}")
    if row["message"]:
        st.text(row["message"])
    if row.get("warning"):
        st.warning(plain(row["warning"]), icon=":material/warning:")
    if breaks := breaking(index).get(row["trial"]):
        st.warning(f"Breaks {' and '.join(breaks)}.", icon=":material/warning:")
    _tiles(index, row)
    st.fragment(_pictures)(sweep, index, row)  # another slice draws this alone
    st.subheader("Scores", anchor=False)
    if row["outcome"] == "pruned":
        st.caption(f"This trial was stopped early: these are the scores after {row['rung'] or row['epochs']} epochs.")
    _scores(index, row["trial"])
    st.subheader("Settings that differ", anchor=False)
    best = next((each for each in reading.ranking(index) if rows[each]["outcome"] == "completed"), None)
    lineage.show_differences(index, rows, trial, best)
    st.subheader("Curves", anchor=False)
    _curves(sweep, index, trial)
    st.subheader("Remarks", anchor=False)
    remarks.edit(sweep, row["trial"])
    st.subheader("Settings", anchor=False)
    _settings(sweep, row)
    st.subheader("Where it comes from", anchor=False)
    lineage.show(sweep, index, row)


def _pictures(sweep: SweepDirectory, index: Index, row: dict[str, Any]) -> None:
    st.subheader("Pictures", anchor=False)
    if chosen := slicing.choose(sweep):
        viewer.show(sweep, row["trial"], chosen)
        st.subheader("Ways of stitching", anchor=False)
        stitching.show(sweep, index, row, chosen)


def _tiles(index: Index, row: dict[str, Any]) -> None:
    metric = first_objective(index)
    gained = gains(index, metric, [row["trial"]]).get(row["trial"], {})
    columns = st.columns(4)
    label, about = words.metric_label(index, metric), words.metric_help(index, metric)
    columns[0].metric(label, words.number(row.get(f"value.{metric}")), help=about)
    for column, baseline in zip(columns[1:], BASELINES, strict=False):
        figures.gain_tile(column, index, metric, baseline, gained.get(baseline))
    columns[3].metric("Worker time", words.duration(row["seconds"]))


def _scores(index: Index, trial: int) -> None:
    """Every metric: the trial's subjects, their mean, and both baselines."""
    subjects = reading.subject_frame(index, [trial])
    if subjects.empty:
        st.caption("Nothing has been scored yet: that happens at each rung and at the end.")
        return
    table = subjects.pivot_table(index="metric", columns="subject", values="value", sort=False)
    table.insert(0, "mean", table.mean(axis=1))
    for baseline in BASELINES:
        values = index.manifest["baselines"].get(baseline, {}).get("values", {})
        table[f"{baseline} (mean)"] = [values.get(name) for name in table.index]
    table.insert(0, "metric", [words.metric_label(index, name) for name in table.index])
    numbers = {name: st.column_config.NumberColumn(format="%.4f") for name in table if name != "metric"}
    st.dataframe(table, hide_index=True, column_config=numbers)
    st.caption(
        "↑ higher is better, ↓ lower is better. *identity* is the low-field scan as it is; *matched* is the same "
        "with its histogram matched to high-field scans."
    )


def _curves(sweep: SweepDirectory, index: Index, trial: int) -> None:
    history = reading.history_frame(index, [trial])
    if history.empty:
        st.caption("No epoch has ended yet.")
        return
    logarithmic = st.toggle("Logarithmic axes", key="log", bind="query-params")
    history["title"] = [
        words.metric_label(index, name) if part == "scores" else f"{name} (loss)"
        for part, name in zip(history["part"], history["name"], strict=True)
    ]
    marks = resume_points(sweep.trial(trial))
    if marks:
        epochs = f"epoch{'s' * (len(marks) > 1)} {', '.join(map(str, marks))}"
        st.caption(f"Dashed: another worker took the trial up, after {epochs}.")
    st.caption(
        "*train*: the mean over an epoch's steps, while the weights change; *train_eval*: some training patches after "
        "the epoch; *validation*: the validation patches after it; *scores*: metrics of stitched validation slices, at "
        "rungs and at the end. *deviation*: how much the output differs from patch to patch, as a share of how much "
        "the high-field patches do; near 0 the network ignores its input."
    )
    columns = st.columns(COLUMNS)
    for position, (title, frame) in enumerate(history.groupby("title", sort=True)):
        chart = charts.loss(frame, str(title), marks, logarithmic=logarithmic)
        columns[position % COLUMNS].altair_chart(chart, key=f"curve of {title}")


def _settings(sweep: SweepDirectory, row: dict[str, Any]) -> None:
    directory = sweep.trial(row["trial"])
    facts = {
        "generator weights": row["generator_parameters"],
        "adversary weights": row["adversary_parameters"],
        "began (UTC)": row["started"],
        "ended (UTC)": row["ended"],
    }
    lines = [f"{name}: {_said(value)}" for name, value in facts.items() if value is not None]
    st.text("\n".join(lines) or "Nothing more is known about this trial.")
    if directory.config.is_file():
        text = directory.config.read_text(errors="replace", encoding="utf-8")
        name = f"{sweep.name}-trial-{row['trial']}.yaml"
        st.download_button("Download config.yaml", text, name, "application/yaml", icon=":material/download:")
        with st.expander("Every setting"):
            st.dataframe(_setting_rows(row), hide_index=True)
    _log(directory)


def _setting_rows(row: dict[str, Any]) -> pd.DataFrame:
    settings = {name.removeprefix("param."): value for name, value in row.items() if name.startswith("param.")}
    known = {path: value for path, value in settings.items() if value is not None}
    text = [value if isinstance(value, str) else json.dumps(value) for value in known.values()]
    return pd.DataFrame({"setting": list(known), "value": text})


def _said(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:%Y-%m-%d %H:%M:%S}"


def _log(directory: TrialDirectory) -> None:
    """The end of what the worker printed."""
    if not directory.log.is_file():
        return
    with directory.log.open("rb") as stream:
        stream.seek(max(0, directory.log.stat().st_size - LOG_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    with st.expander(f"The last {len(lines)} lines of the log"):
        st.code("\n".join(lines), language=None, wrap_lines=True)


if sweep := chosen_sweep():
    _view(sweep)
