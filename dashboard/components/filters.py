"""Filters of the trials' table; each lives in the URL, and only what was chosen does."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import streamlit as st
from components import words

CHOICES = ("outcome", "family", "generator", "adversary")


@dataclass(frozen=True, slots=True)
class Filters:
    """What the table is narrowed to.

    Args:
        choices: column to the values that pass; an empty list lets all pass.
        metric: the metric that ranks the trials.
        least, most: its bounds, None where there is none.
    """

    choices: dict[str, list[str]]
    metric: str
    least: float | None
    most: float | None


def ask(trials: pd.DataFrame, metrics: list[str]) -> Filters:
    """Show the filters and read them."""
    columns = st.columns(len(CHOICES))
    choices = {name: _choose(column, trials, name) for name, column in zip(CHOICES, columns, strict=True)}
    by, least, most = st.columns([2, 1, 1])
    metric = by.selectbox("Rank by", metrics, key="by", bind="query-params")
    bounds = {"value": None, "step": None, "format": "%g", "bind": "query-params", "placeholder": "any"}
    return Filters(
        choices,
        metric,
        least.number_input(f"{metric} at least", key="at_least", **bounds),
        most.number_input(f"{metric} at most", key="at_most", **bounds),
    )


def passing(trials: pd.DataFrame, filters: Filters) -> pd.DataFrame:
    """The trials that pass every filter; one without a score passes only where no bound is set."""
    keep = pd.Series(True, index=trials.index)
    for name, chosen in filters.choices.items():
        if chosen:
            keep &= trials[name].isin(chosen)
    column = f"value.{filters.metric}"
    values = trials[column] if column in trials else pd.Series(float("nan"), index=trials.index)
    bounds: list[tuple[float | None, Callable[[float], pd.Series]]] = [
        (filters.least, values.ge),
        (filters.most, values.le),
    ]
    for bound, within in bounds:
        if bound is not None:
            keep &= within(bound)
    return trials[keep]


def _choose(column: st.delta_generator.DeltaGenerator, trials: pd.DataFrame, name: str) -> list[str]:
    present = set(trials[name].dropna())
    options = [each for each in words.OUTCOMES if each in present] if name == "outcome" else sorted(present)
    return column.multiselect(name.capitalize(), options, key=name, bind="query-params", placeholder="all")
