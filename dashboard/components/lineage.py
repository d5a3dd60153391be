"""What a trial is made of: how its settings differ from others', who trained it, and how to train it again."""

from typing import Any

import pandas as pd
import streamlit as st
from components.words import plain

from mrisynth.results.differences import differing, nearest
from mrisynth.results.health import made_by
from mrisynth.results.index import Index
from mrisynth.results.lineage import attempts, repeat_command
from mrisynth.results.published_trials import not_run
from mrisynth.results.records import read_mapping
from mrisynth.results.store import SweepDirectory


def difference_table(rows: list[dict[str, Any]], titles: list[str]) -> pd.DataFrame:
    """Only the settings that differ: a column a trial, under its title; a setting that a trial lacks is empty."""
    table = {path: [_said(value) for value in values] for path, values in differing(rows).items()}
    frame = pd.DataFrame.from_dict(table, orient="index", columns=titles)
    return frame.rename_axis("setting").reset_index()


def show_differences(index: Index, rows: dict[int, dict[str, Any]], trial: int, best: int | None) -> None:
    """How a trial's settings differ from those of the best trial and of the named one that is most like it.

    Named are those that ran under a name, and the paper's; of equally near ones it is one that ran.

    Args:
        index: the sweep's index.
        rows: every trial of it.
        trial: which one.
        best: the best trial, None while there is none.
    """
    ran = [row for row in rows.values() if row["name"]]
    absent = not_run(index.manifest.get("config_schema", {}), [row["name"] for row in ran])
    named = nearest(rows[trial], [*ran, *absent])
    beside = {f"trial {trial}": rows[trial]}
    if best is not None and best != trial:
        beside[f"best: trial {best}"] = rows[best]
    if named is not None:
        ran_here = named["trial"] is not None
        title = (
            f"named {named['name']}: trial {named['trial']}"
            if ran_here
            else f"published {named['name']}: did not run here"
        )
        beside[title] = dict(named)
    if len(beside) == 1:
        st.caption(
            "There is no other trial to compare it with: it is the best one, and no named one ran in this sweep."
        )
        return
    table = difference_table([*beside.values()], [*beside])
    if table.empty:
        st.caption(f"Its settings are those of {plain(' and of '.join([*beside][1:]))}.")
        return
    st.dataframe(table, hide_index=True)
    st.caption(
        "Beside it: the best trial, if that is another one, and of the named trials and the paper's systems the one "
        "that differs from it in the fewest settings. Empty: no such setting; a loss without a weight is not used."
    )


def show(sweep: SweepDirectory, index: Index, row: dict[str, Any]) -> None:
    """Code, data, seed, cost and workers of a trial, and the command that trains it again."""
    code, asked = made_by(sweep), read_mapping(sweep.lineage).get("asked")
    seed = asked.get("seed") if isinstance(asked, dict) else None
    hours = None if row["seconds"] is None else row["seconds"] * index.cores / 3600
    facts = {
        "mrisynth": " ".join(word for word in (code.get("mrisynth"), code.get("commit")) if word),
        "data": index.manifest.get("data_key"),
        "seed of the sweep": seed,
        "cost": None if hours is None else f"{hours:.3g} core-hours",
        "goes on from trial": row.get("retry_of"),
        "continued as trial": _continued_as(index, row["trial"]),
    }
    st.text("\n".join(f"{name}: {value}" for name, value in facts.items() if value not in (None, "")))
    if found := attempts(sweep.trial(row["trial"])):
        table = pd.DataFrame(
            {
                "host": [attempt.host for attempt in found],
                "began (UTC)": [attempt.started for attempt in found],
                "from epoch": [attempt.from_epoch for attempt in found],
                "failed because": [attempt.error for attempt in found],
            }
        )
        st.dataframe(table if table["failed because"].any() else table.drop(columns="failed because"), hide_index=True)
    st.caption("The same again, without Ray, in a folder of its own:")
    st.code(repeat_command(sweep, row["trial"]), language="bash", wrap_lines=True)


def _continued_as(index: Index, trial: int) -> int | None:
    """The trial that goes on with this one."""
    numbers, origins = (index.trials[name].to_pylist() for name in ("trial", "retry_of"))
    return next((number for number, origin in zip(numbers, origins, strict=True) if origin == trial), None)


def _said(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
