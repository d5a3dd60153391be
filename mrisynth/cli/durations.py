"""How durations are typed."""

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
