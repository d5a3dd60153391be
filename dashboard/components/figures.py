"""The best trial of a sweep and what it gains over doing nothing, as tiles."""

from typing import Any

import streamlit as st
from components import words

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import BASELINES, first_objective
from mrisynth.words import LIMITS, tell_remaining

_BASELINE_HELP = {
    "identity": "the low-field scan as it is, only registered",
    "matched": "the low-field scan with its histogram matched to high-field scans: what contrast alone brings",
}


def state_line(state: str) -> None:
    """A sweep's state, and what it means."""
    colour, meaning = words.STATES[state]
    st.markdown(f":{colour}-badge[{state}] {meaning}")


def best_tiles(index: Index, best: dict[str, Any] | None) -> None:
    """The best completed trial's first objective, and its gains over both baselines."""
    if best is None:
        st.info("No trial has completed yet.", icon=":material/hourglass_empty:")
        return
    metric = first_objective(index)
    columns = st.columns(3)
    label = f"Best {words.metric_label(index, metric)}: trial {best['trial']}"
    columns[0].metric(label, words.number(best["values"].get(metric)), help=words.metric_help(index, metric))
    for column, baseline in zip(columns[1:], BASELINES, strict=True):
        gain_tile(column, index, metric, baseline, best["gains"].get(baseline))
    if best["breaks"]:
        st.warning(
            f"It breaks {' and '.join(best['breaks'])}: no completed trial keeps to every constraint.",
            icon=":material/warning:",
        )


def gain_tile(column: Any, index: Index, metric: str, baseline: str, gain: dict[str, float] | None) -> None:
    """By how much a trial beats a baseline: the mean over the subjects, and the subject that gains least."""
    label = f"Gain over {baseline}" + (f" ({words.unit(index, metric)})" if words.unit(index, metric) else "")
    about = f"{_BASELINE_HELP[baseline]}; positive is better; mean over the validation subjects, and the least of them"
    if gain is None:
        column.metric(label, "–", help=about)  # noqa: RUF001
        return
    least = f"{words.number(gain['minimum'], sign=True)} at least per subject"
    colour = "green" if gain["minimum"] > 0 else "red"
    column.metric(
        label, words.number(gain["mean"], sign=True), least, delta_arrow="off", delta_color=colour, help=about
    )


def budget_bar(status: dict[str, Any]) -> None:
    """How much of the budget is spent, how fast, and how long it will last."""
    budget = status["budget"]
    parts = [_spent(name, budget[name]) for name in LIMITS if budget[name]["limit"] or name in ("trials", "hours")]
    shares = [part["spent"] / part["limit"] for part in budget.values() if part["limit"]]
    if shares:
        st.progress(min(1.0, max(shares)), text="Budget: " + ", ".join(parts))
    else:
        st.caption("No limit was set; spent so far: " + ", ".join(parts))
    if status["state"] == "running" and (left := tell_remaining(status["remaining"])):
        pace = f"; {status['rate']:.3g} trials an hour" if status["rate"] else ""
        st.caption(f"Remaining: {left}{pace}")


def _spent(name: str, part: dict[str, float | None]) -> str:
    """One limit: "4 of 10 trials", "0.09 core-hours"."""
    spent = f"{part['spent']:.0f}" if name == "trials" else f"{part['spent']:.3g}"
    return f"{spent} of {part['limit']:g} {LIMITS[name]}" if part["limit"] else f"{spent} {LIMITS[name]}"
