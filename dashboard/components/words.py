"""Numbers and outcomes in words that need no explanation."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mrisynth.results.index import Index
from mrisynth.words import in_words

STATES = {
    "queued": ("gray", "waiting for its driver"),
    "running": ("blue", "running now"),
    "stopped": ("orange", "stopped on request; `mrisynth resume` continues it"),
    "stale": (
        "red",
        "said that it runs, but its driver has been silent for over a minute; `mrisynth resume` continues it",
    ),
    "done": ("green", "its budget is spent"),
    "failed": ("red", "ended by an error; the last events say which"),
}
OUTCOMES = {
    "completed": "trained and scored to the end",
    "pruned": "stopped early, because others were better at that point",
    "continued": "stopped early, and continued later as another trial",
    "rejected": "its settings cannot work (diverged, collapsed, out of memory)",
    "lost": "its worker, node or storage failed; `mrisynth retry` runs it again",
    "running": "being trained",
    "queued": "not begun yet",
}
BADGES = {
    "completed": "green",
    "pruned": "orange",
    "continued": "yellow",
    "rejected": "red",
    "lost": "violet",
    "running": "blue",
    "queued": "gray",
}
"""The names that Streamlit has for nearly the same colours as `COLOURS`."""
COLOURS = {
    "completed": "#2e9e5b",
    "pruned": "#e0a030",
    "continued": "#c8b46a",
    "rejected": "#d64545",
    "lost": "#8e5bb5",
    "running": "#3b82d6",
    "queued": "#9aa3ad",
}
# While the driver may still change something, pages look again every few seconds.
LIVE = ("queued", "running", "stale")


def plain(text: object) -> str:
    """What somebody wrote, so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~<>$:&])", r"\\\1", str(text)).replace("\n", " ")


def arrow(index: Index, metric: str) -> str:
    """Which way is better."""
    return "↑" if index.direction(metric) == "maximize" else "↓"


def unit(index: Index, metric: str) -> str:
    """The metric's unit, empty where it has none."""
    return str(index.manifest["metrics"].get(metric, {}).get("unit") or "")


def metric_label(index: Index, metric: str) -> str:
    """A metric with its direction and unit: "psnr ↑ (dB)"."""
    of = unit(index, metric)
    return f"{metric} {arrow(index, metric)}" + (f" ({of})" if of else "")


def metric_help(index: Index, metric: str) -> str:
    """What a metric is, and which way is better."""
    description = index.manifest["metrics"].get(metric, {}).get("description") or metric
    better = "higher" if index.direction(metric) == "maximize" else "lower"
    return f"{plain(description)}; {better} is better"


def number(value: float | None, *, sign: bool = False) -> str:
    """A number to four significant digits; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"  # noqa: RUF001
    digits = 0 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:{'+' if sign else ''}.{min(digits, 6)}f}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None or not math.isfinite(seconds):
        return "–"  # noqa: RUF001
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if hours < 1 else f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def ago(moment: datetime, now: datetime) -> str:
    """When something was, as people ask: "12 s ago (2026-11-26 18:56 UTC)"."""
    return f"{in_words((now - moment).total_seconds())} ago ({moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC)"


def outcome_badges(trials: Mapping[str, int]) -> str:
    """How many trials ended how, as coloured badges: "2 completed", "1 running"."""
    badges = [f":{BADGES[outcome]}-badge[{count} {outcome}]" for outcome, count in trials.items() if count]
    return " ".join(badges) or "no trial has begun yet"


def trial_label(row: Mapping[str, Any], metric: str) -> str:
    """How a trial is called in a list."""
    parts = [f"trial {row['trial']}", row["name"], row["generator"], row["outcome"]]
    value = row.get(f"value.{metric}")
    parts.append(f"{metric} {number(value)}" if value is not None else None)
    return ", ".join(str(part) for part in parts if part)


def trial_title(row: Mapping[str, Any]) -> str:
    """How a trial is called above its picture: "trial 3 (unet-7)"."""
    return f"trial {row['trial']}" + (f" ({row['name']})" if row["name"] else "")


def ending(row: Mapping[str, Any], state: str) -> str:
    """One sentence: how a trial ended, or how far it is."""
    trial, epochs, planned = f"Trial {row['trial']}", row["epochs"], row["epochs_planned"]
    of = f"{epochs} of {planned} epochs" if planned else f"{epochs} epochs"
    reason = f" ({row['reason']})" if row["reason"] else ""
    waits = "" if state in LIVE[:2] else f", and the sweep is {state}, so it waits to be resumed"
    sentence = {
        "completed": f"{trial} completed {of}.",
        "pruned": f"{trial} was stopped on request after {of}."
        if row["reason"]
        else f"{trial} was pruned after {of}: others were better at that point.",
        "continued": f"{trial} was stopped after {of}, and continued later as another trial.",
        "rejected": f"{trial} was rejected{reason} after {of}.",
        "lost": f"{trial} was lost{reason} after {of}.",
        "running": f"{trial} has done {of}{waits}.",
        "queued": f"{trial} has not begun yet{waits}.",
    }[row["outcome"]]
    return sentence + (f" It goes on from trial {row['retry_of']}." if row["retry_of"] is not None else "")
