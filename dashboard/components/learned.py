"""What a search learned, computed once for each index that its driver writes."""

import pandas as pd
import streamlit as st

from mrisynth.results.index import Index
from mrisynth.results.insight.domains import Domain, column_values, searched_domains
from mrisynth.results.insight.edges import Edge, edges
from mrisynth.results.insight.importance import Importances, importance
from mrisynth.results.insight.judged import judge
from mrisynth.results.insight.parallel import Lines, parallel_lines
from mrisynth.results.insight.progress import Progress, progress
from mrisynth.results.insight.stability import SeedStability, SubjectStability, seed_stability, subject_stability
from mrisynth.results.leaderboard import pareto_front
from mrisynth.results.store import SweepDirectory

Version = tuple[str, str]
"""Which index of which sweep: what a kept answer depends on beside its question."""


def version(sweep: SweepDirectory, index: Index) -> Version:
    """The index's version."""
    return str(sweep.root), str(index.manifest["written"])


@st.cache_data(max_entries=64, show_spinner="Weighing the parameters…")
def importances(of: Version, _index: Index, metric: str, family: str | None) -> Importances:
    """See `mrisynth.results.insight.importance`."""
    return importance(_index, metric, family=family)


@st.cache_data(max_entries=64, show_spinner=False)
def narrow(of: Version, _index: Index, metric: str, family: str | None) -> list[Edge]:
    """See `mrisynth.results.insight.edges`."""
    return edges(_index, metric, family=family)


@st.cache_data(max_entries=64, show_spinner=False)
def lines(of: Version, _index: Index, metric: str, paths: tuple[str, ...], family: str | None) -> Lines:
    """See `mrisynth.results.insight.parallel`."""
    return parallel_lines(_index, metric, paths, family=family)


@st.cache_data(max_entries=32, show_spinner=False)
def reached(of: Version, _index: Index, objectives: tuple[str, ...]) -> Progress:
    """See `mrisynth.results.insight.progress`."""
    return progress(_index, objectives)


@st.cache_data(max_entries=32, show_spinner=False)
def stability(of: Version, _index: Index, metric: str) -> tuple[SeedStability, SubjectStability]:
    """See `mrisynth.results.insight.stability`."""
    return seed_stability(_index, metric), subject_stability(_index, metric)


@st.cache_data(max_entries=32, show_spinner=False)
def front(of: Version, _index: Index, objectives: tuple[str, ...]) -> set[int]:
    """The completed trials that no other beats in all of some metrics."""
    directions = {name: _index.direction(name) for name in objectives}
    asked = Index({**_index.manifest, "objectives": directions}, _index.trials, _index.history, _index.subjects)
    return pareto_front(asked)


@st.cache_data(max_entries=32, show_spinner=False)
def completed(of: Version, _index: Index, metric: str, family: str | None) -> pd.DataFrame:
    """The completed trials with a score, the best last.

    Returns:
        Columns trial, family, value (the metric), and a parameter's path for each searched one: NaN or
        None where the trial does not have it.
    """
    judged = judge(_index, metric, family=family)
    rows = judged.rows[judged.completed]
    frame = _index.trials.select(["trial", "family"]).take(rows).to_pandas()
    frame["family"] = frame["family"].fillna("unknown")  # a version that did not write it
    columns = {path: column_values(_index, domain)[rows] for path, domain in domains(of, _index).items()}
    frame = pd.concat([frame, pd.DataFrame({"value": judged.values[judged.completed], **columns})], axis=1)
    return frame.iloc[judged.quality[judged.completed].argsort(kind="stable")].reset_index(drop=True)


@st.cache_data(max_entries=32, show_spinner=False)
def domains(of: Version, _index: Index) -> dict[str, Domain]:
    """The searched parameters and their ranges."""
    return searched_domains(_index)
