"""The scores of each trial's subjects as a table, computed once for an index and a metric."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st
from components import reading

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import BASELINES


def by_subject(index: Index, metric: str) -> pd.DataFrame:
    """One row a trial that was scored, one column a subject; never to be changed by the caller."""
    return _by_subject(index, *_key(index), metric)


def gain_frame(index: Index, metric: str) -> pd.DataFrame:
    """By trial: columns "<mean or minimum> gain over <baseline>", as `leaderboard.gains` has them."""
    return _gain_frame(index, *_key(index), metric)


def ranks(index: Index, metric: str) -> dict[int, int]:
    """Trial to its place, from 1, in the order of `leaderboard.top`."""
    return {trial: place + 1 for place, trial in enumerate(reading.ranking(index, metric))}


def _key(index: Index) -> tuple[str, str]:
    """What tells this index from all others: a driver writes one at a time."""
    return str(index.manifest["sweep"]), str(index.manifest["written"])


@st.cache_resource(max_entries=64, show_spinner=False)
def _by_subject(_index: Index, sweep: str, written: str, metric: str) -> pd.DataFrame:
    wanted = pc.is_in(_index.subjects["metric"], value_set=pa.array([metric]))
    scores = _index.subjects.filter(wanted).to_pandas()
    return scores.pivot_table(index="trial", columns="subject", values="value", sort=True)


@st.cache_resource(max_entries=64, show_spinner=False)
def _gain_frame(_index: Index, sweep: str, written: str, metric: str) -> pd.DataFrame:
    scores, sign = by_subject(_index, metric), 1 if _index.direction(metric) == "maximize" else -1
    columns = {}
    for baseline in BASELINES:
        subjects = _index.manifest["baselines"].get(baseline, {}).get("subjects", {})
        known = {name: each[metric] for name, each in subjects.items() if each.get(metric) is not None}
        gained = sign * (scores - pd.Series(known, dtype="float64").reindex(scores.columns))
        columns[f"mean gain over {baseline}"] = gained.mean(axis=1)
        columns[f"minimum gain over {baseline}"] = gained.min(axis=1)
    return pd.DataFrame(columns, index=scores.index)
