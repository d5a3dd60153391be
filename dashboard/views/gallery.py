"""One slice as every trial made it: a tile a trial, best first; a click opens the trial."""

import math
from typing import Any

import streamlit as st
from components import links, reading, slicing, tiles, words
from components.selection import chosen_sweep, no_trials, open_trial
from components.slicing import Chosen
from components.tiles import Tile
from components.words import plain

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import first_objective
from mrisynth.results.store import SweepDirectory

PAGE = 24


def _view(sweep: SweepDirectory) -> None:
    st.title(f"Gallery of {plain(sweep.name)}", anchor=False)
    index = reading.load_index(sweep)
    if not index.trials.num_rows:
        no_trials(sweep)
        return
    st.fragment(_gallery)(sweep, index)


def _gallery(sweep: SweepDirectory, index: Index) -> None:
    """All that changes with slice, order and page; drawn again alone."""
    chosen = slicing.choose(sweep)
    if chosen is None:
        return
    left, right = st.columns([1, 3])
    metrics = list(dict.fromkeys([*index.objectives, *index.metrics]))
    metric = links.pick(left.selectbox, "by", metrics, first_objective(index), label="Sorted by")
    rows = _ordered(index, metric)
    pages = max(1, math.ceil(len(rows) / PAGE))
    page = 1
    if pages > 1:
        page = links.pick(right.select_slider, "page", range(1, pages + 1), 1, label=f"Page (of {pages})")
    begin = (page - 1) * PAGE
    shown = rows[begin : begin + PAGE]
    st.caption(
        f"Trials {begin + 1} to {begin + len(shown)} of {len(rows)}, best {words.metric_label(index, metric)} first. "
        "The dashed tiles are the scans and the baselines. Click a trial to open it. Grey from "
        f"{chosen.window.black:.2f} (black) to {chosen.window.white:.2f} (white) for all: {chosen.window.origin}."
    )
    opened = tiles.draw(
        [*_pinned(index, chosen, metric), *(_tile(sweep, row, chosen, metric) for row in shown)], chosen
    )
    if opened is not None and opened in {row["trial"] for row in rows}:
        open_trial(sweep, opened)


def _ordered(index: Index, metric: str) -> list[dict[str, Any]]:
    """The trials best first, with what a tile says of them."""
    names = ("trial", "name", "outcome", "generator", "adversary", f"value.{metric}")
    kept = index.trials.select([name for name in names if name in index.trials.column_names])
    rows = {row["trial"]: row for row in kept.to_pylist()}
    return [rows[trial] for trial in reading.ranking(index, metric)]


def _pinned(index: Index, chosen: Chosen, metric: str) -> list[Tile]:
    """Low, its histogram matched, and high, before all trials."""

    def score(baseline: str) -> str:
        scores = index.manifest["baselines"].get(baseline, {}).get("subjects", {}).get(chosen.shown.subject, {})
        return f"{metric} {words.number(scores.get(metric))}"

    shown, at = chosen.shown, chosen.position
    return [
        Tile(None, "high", "the truth", "high-field scan", shown.high[at]),
        Tile(None, "low (identity)", score("identity"), "low-field scan", shown.low[at]),
        Tile(None, "matched", score("matched"), "low, histogram matched", shown.matched[at]),
    ]


def _tile(sweep: SweepDirectory, row: dict[str, Any], chosen: Chosen, metric: str) -> Tile:
    stored = slicing.generated(sweep, row["trial"], chosen.shown)
    networks = row["generator"] or ""
    if row["adversary"] not in (None, "none"):
        networks += f" + {row['adversary']}"
    value = f"{metric} {words.number(row.get(f'value.{metric}'))}"
    if row["outcome"] != "completed":
        value += f", {row['outcome']}"
    picture = stored if isinstance(stored, str) else stored.values(chosen.position)
    return Tile(row["trial"], words.trial_title(row), value, networks, picture)


if sweep := chosen_sweep():
    _view(sweep)
