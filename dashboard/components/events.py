"""What happened in a sweep, told in words; what happens for every epoch or write is left out."""

import json
from collections.abc import Callable
from typing import Any

import pandas as pd
from components import words

from mrisynth.results.store import SweepDirectory, read_events

Event = dict[str, Any]
_TAIL = 262_144
_QUIET = {"ask", "epoch", "index-begin", "index-written", "suggested", "told"}


def latest(sweep: SweepDirectory, count: int) -> pd.DataFrame:
    """The latest events, newest first: columns time, trial, event."""
    events = [event for event in read_events(sweep, tail=_TAIL) if not _is_quiet(event)]
    rows = [
        {
            "time": pd.to_datetime(str(event.get("time")), errors="coerce", utc=True),
            "trial": str(event.get("number", "")),
            "event": sentence(event),
        }
        for event in events[-count:][::-1]
    ]
    return pd.DataFrame(rows, columns=["time", "trial", "event"])


def sentence(event: Event) -> str:
    """One event in words; a kind that is not known is shown as it was written."""
    if known := _SENTENCES.get(str(event.get("kind"))):
        return known(event)
    rest = {key: value for key, value in event.items() if key not in ("time", "kind", "number")}
    details = ", ".join(
        f"{key} {value if isinstance(value, str) else json.dumps(value)}" for key, value in rest.items()
    )
    return f"{event.get('kind')}: {details}" if details else str(event.get("kind"))


def _is_quiet(event: Event) -> bool:
    """Whether nobody wants to hear of it; where nothing had been interrupted, nothing was put in order."""
    return str(event.get("kind")) in _QUIET or (event.get("kind") == "reconciled" and not event.get("running"))


def _ended(event: Event) -> str:
    outcome, reason = event.get("outcome"), event.get("reason")
    why = f": {event['message']}" if event.get("message") else ""
    return f"{'' if outcome == 'completed' else 'was '}{outcome}" + (f" ({reason})" if reason else "") + why


def _rung(event: Event) -> str:
    value = event.get("value")
    scored = f" with {words.number(value)}" if isinstance(value, int | float) else ""
    return f"reached the rung at epoch {event.get('epoch')}{scored}" + (", to be pruned" if event.get("pruned") else "")


_SENTENCES: dict[str, Callable[[Event], str]] = {
    "launched": lambda event: "was given to a worker",
    "outcome": _ended,
    "rung": _rung,
    "enlarged": lambda event: f"ran out of memory, and goes on with a whole GPU: {event.get('message')}",
    "attempt-failed": lambda event: f"an attempt failed: {event.get('message')}",
    "set-aside": lambda event: f"its folder was set aside as {event.get('folder')}",
    "reconciled": lambda event: f"interrupted trials were put in order: {json.dumps(event['running']).strip('[]')}",
    "driver-started": lambda event: f"its driver began, as process {event.get('pid')} on {event.get('host')}",
    "driver-stopped": lambda event: f"its driver ended; the sweep is {event.get('state')}",
}
