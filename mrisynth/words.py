"""Durations, sizes, budgets and lists of trials as people say them, and what they meant by a word that there is not."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

LIMITS = {"trials": "trials", "hours": "core-hours", "gpu_hours": "GPU-hours", "wall": "hours of wall time"}
"""What the limits of a budget are called."""


def in_words(seconds: float) -> str:
    """A duration: "40 s", "3 min", "2 h 10 min", "3 d 4 h"."""
    seconds = max(seconds, 0.0)
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def hours_in_words(hours: float, kind: str = "") -> str:
    """A limit of time: "2 core-hours", "90 GPU-minutes", "25 seconds"; `kind` is what stands before the unit."""
    factor, unit = _unit(hours)
    return f"{_figure(factor * hours)} {kind}{unit}"


def tell_spent(name: str, spent: float, limit: float | None) -> str:
    """What is spent of a limit: "4 of 50 trials", "15.2 core-seconds (no limit)", "41.8 of 40 seconds of wall time".

    Args:
        name: of the limit; one of `LIMITS`.
        spent: trials, or hours.
        limit: the same; None where there is none.
    """
    factor, unit = (1, "trials") if name == "trials" else _unit(spent if limit is None else limit)
    what = LIMITS[name].replace("hours", unit)
    if limit is None:
        return f"{_figure(factor * spent)} {what} (no limit)"
    return f"{_figure(factor * spent)} of {_figure(factor * limit)} {what}"


def _unit(hours: float) -> tuple[int, str]:
    """The unit in which people say so many hours, and how many of it an hour has."""
    if hours >= 2:
        return 1, "hours"
    return (60, "minutes") if 60 * hours >= 2 else (3600, "seconds")


def _figure(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def size_in_words(bytes_: float) -> str:
    """A size: 780 kB, 5.4 MB, 1.6 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if bytes_ >= factor:
            return f"{bytes_ / factor:.3g} {unit}"
    return f"{bytes_ / 1e3:.3g} kB"


def nearest(word: Any, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, whatever its case; None where none is near."""
    by_lower = {name.lower(): name for name in reversed([*known])}
    near = get_close_matches(str(word).lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def name_trials(numbers: Sequence[int]) -> str:
    """Some trials by number, the first eight of them: "trial 4", "trials 4, 9, 12, ..."."""
    shown = ", ".join(map(str, numbers[:8]))
    return f"trial{'s' * (len(numbers) != 1)} {shown}{', ...' * (len(numbers) > 8)}"


def tell_rate(rate: float) -> str:
    """How many trials end in an hour: "0.35 trials an hour", "2,050 trials an hour"."""
    return f"{rate:,.0f} trials an hour" if rate >= 100 else f"{rate:.3g} trials an hour"


def tell_remaining(left: Mapping[str, Any] | None) -> str | None:
    """How long a sweep will go on: "about 12 min (9 min to 15 min), until its trials are done".

    Args:
        left: as `results.progress` gives it; None where that is unknown.
    """
    if left is None:
        return None
    ends = "until its trials are done" if left["by"] == "trials" else f"until its {LIMITS[left['by']]} are spent"
    return f"about {in_words(left['seconds'])} ({in_words(left['low'])} to {in_words(left['high'])}), {ends}"
