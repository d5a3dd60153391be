"""How durations are typed and told."""

import re

import typer

_HOURS = {"s": 1 / 3600, "m": 1 / 60, "min": 1 / 60, "h": 1.0, "": 1.0, "d": 24.0}


def hours_in(text: str) -> float:
    """The hours in "90m", "2h", "1h30m", "45 s", "2d" or "1.5" (hours).

    Raises:
        typer.BadParameter: it is something else, or nothing.
    """
    parts = re.findall(r"([0-9]*\.?[0-9]+)\s*([a-z]*)", text.strip().lower())
    rest = re.sub(r"([0-9]*\.?[0-9]+)\s*([a-z]*)", "", text.strip().lower()).strip()
    if not parts or rest or any(unit not in _HOURS for _, unit in parts):
        raise typer.BadParameter(f"{text!r} is no duration; write 90m, 2h, 1h30m or 1.5 (hours)")
    hours = sum(float(number) * _HOURS[unit] for number, unit in parts)
    if hours <= 0:
        raise typer.BadParameter(f"{text!r} is no time at all")
    return hours


def in_words(seconds: float) -> str:
    """A duration as a person would say it: "40 s", "3 min", "2 h 10 min", "3 d 4 h"."""
    seconds = max(seconds, 0.0)
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
