"""Filters of the trials' table; each lives in the URL, and only what was chosen does."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
import streamlit as st
from components import scores, words

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import pareto_front
from mrisynth.results.notes import Note, all_tags
from mrisynth.results.query import columns, matching

CHOICES = ("outcome", "family", "generator", "adversary")


@dataclass(frozen=True, slots=True)
class Filters:
    """What the table is narrowed to.

    Args:
        metric: the metric that ranks the trials.
        choices: column to the values that pass; an empty list lets all pass.
        least, most: the metric's bounds, None where there is none.
        where: a filter in words; see `mrisynth.results.query`.
        best: only so many trials, the best ones of those that pass all else; None for all.
        pareto: only trials that no other beats in every objective.
        starred: only trials with a star.
        tags: only trials with one of these tags; an empty list lets all pass.
    """

    metric: str
    choices: dict[str, list[str]] = field(default_factory=dict)
    least: float | None = None
    most: float | None = None
    where: str = ""
    best: int | None = None
    pareto: bool = False
    starred: bool = False
    tags: tuple[str, ...] = ()


def ask(index: Index, trials: pd.DataFrame, metrics: list[str], notes: dict[int, Note]) -> Filters:
    """Show the filters and read them."""
    by, where = st.columns([1, 3])
    metric = by.selectbox("Rank by", metrics, key="by", bind="query-params")
    text = where.text_input(
        "Filter in words",
        key="where",
        bind="query-params",
        placeholder=f'{metric} > 30 and generator == "unet"',
        help=_grammar(index),
    )
    places = st.columns(len(CHOICES))
    choices = {name: _choose(place, trials, name) for name, place in zip(CHOICES, places, strict=True)}
    least, most, best, tags, toggles = st.columns([1, 1, 1, 2, 2], vertical_alignment="bottom")
    bounds = {"value": None, "step": None, "format": "%g", "bind": "query-params", "placeholder": "any"}
    with toggles, st.container(horizontal=True):
        pareto = st.toggle("Pareto front", key="pareto", bind="query-params", help=_front(index))
        starred = st.toggle("Starred", key="starred", bind="query-params")
    return Filters(
        metric,
        choices,
        least=least.number_input(f"{metric} at least", key="at_least", **bounds),
        most=most.number_input(f"{metric} at most", key="at_most", **bounds),
        where=text or "",
        best=best.number_input(
            "Best only", min_value=1, value=None, step=1, key="best", bind="query-params", placeholder="all"
        ),
        pareto=pareto,
        starred=starred,
        tags=tuple(tags.multiselect("Tags", all_tags(notes.values()), key="tag", bind="query-params")),
    )


def passing(index: Index, trials: pd.DataFrame, filters: Filters, notes: dict[int, Note]) -> pd.DataFrame:
    """The trials that pass every filter, best first; one without a score passes only where no bound is set.

    Raises:
        InvalidInputError: the filter in words cannot be read.
    """
    keep = pd.Series(matching(index.trials, filters.where), index=trials.index)
    for name, chosen in filters.choices.items():
        if chosen:
            keep &= trials[name].isin(chosen)
    keep &= _within(trials, filters)
    if filters.pareto:
        keep &= trials["trial"].isin(pareto_front(index))
    if filters.starred:
        keep &= trials["trial"].isin([number for number, note in notes.items() if note.star])
    if filters.tags:
        tagged = [number for number, note in notes.items() if set(note.tags) & set(filters.tags)]
        keep &= trials["trial"].isin(tagged)
    places = trials["trial"].map(scores.ranks(index, filters.metric))
    return trials[keep].assign(rank=places[keep]).sort_values("rank")[: filters.best]


def _within(trials: pd.DataFrame, filters: Filters) -> pd.Series:
    keep, column = pd.Series(True, index=trials.index), f"value.{filters.metric}"
    values = trials[column] if column in trials else pd.Series(float("nan"), index=trials.index)
    bounds: list[tuple[float | None, Callable[[float], pd.Series]]] = [
        (filters.least, values.ge),
        (filters.most, values.le),
    ]
    for bound, within in bounds:
        if bound is not None:
            keep &= within(bound)
    return keep


def _choose(place: st.delta_generator.DeltaGenerator, trials: pd.DataFrame, name: str) -> list[str]:
    present = set(trials[name].dropna())
    options = [each for each in words.OUTCOMES if each in present] if name == "outcome" else sorted(present)
    return place.multiselect(name.capitalize(), options, key=name, bind="query-params", placeholder="all")


def _grammar(index: Index) -> str:
    names = ", ".join(f"`{name}`" for name in sorted(columns(index.trials)))
    return (
        'Comparisons, `in`, `and`, `or`, `not` and brackets, such as `20 < psnr <= 30 and generator in ["unet"]`. '
        f"A trial that lacks a value passes no comparison with it. Known are: {names}."
    )


def _front(index: Index) -> str:
    return "completed trials that no other beats in all of: " + words.plain(", ".join(index.objectives))
