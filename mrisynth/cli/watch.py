"""`mrisynth status --watch`: a sweep as it goes on, drawn on a terminal, told line by line in a pipe."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mrisynth.cli.console import output, show
from mrisynth.words import hours_in_words, in_words, tell_rate, tell_remaining, tell_spent

EVERY = 2.0
"""Seconds between two looks; a driver writes the index no more often."""

_RUNNING = 12
"""How many of the running trials are listed."""

_ENDED = ("done", "stopped", "failed", "stale")


def watch(sweep: Path, *, pause: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """Show a sweep until it ends, or its driver gives no more signs of life.

    Args:
        sweep: RESULTS/NAME.
        pause: called with the seconds to wait before looking again.

    Returns:
        The last status.
    """
    if not output.is_terminal:
        return _tell(sweep, pause)
    with Live(console=output, auto_refresh=False) as live:
        while True:
            answer = _look(sweep)
            live.update(_draw(answer), refresh=True)
            if answer["state"] in _ENDED:
                return answer
            pause(EVERY)


def _look(sweep: Path) -> dict[str, Any]:
    from mrisynth.results.leaderboard import status
    from mrisynth.results.store import open_sweep

    return status(open_sweep(sweep))


def _tell(sweep: Path, pause: Callable[[float], None]) -> dict[str, Any]:
    """A line whenever something has changed that a person would want to hear of."""
    before = None
    while True:
        answer = _look(sweep)
        now = (answer["state"], answer["trials"], answer["best"] and answer["best"]["trial"])
        if now != before:
            show("; ".join(filter(None, (answer["state"], *_summary(answer)))))
        if answer["state"] in _ENDED:
            return answer
        before = now
        pause(EVERY)


def _summary(answer: dict[str, Any]) -> list[str | None]:
    """Trials, the best one, the rate, the remaining time."""
    counted = ", ".join(f"{count} {outcome}" for outcome, count in answer["trials"].items() if count)
    rate = tell_rate(answer["rate"]) if answer["rate"] else None
    left = tell_remaining(answer["remaining"]) if answer["state"] == "running" else None
    return [counted or "no trial yet", _best(answer), rate, left and f"remaining {left}"]


def _best(answer: dict[str, Any]) -> str | None:
    """The best trial, its objectives, and by how much the first of them beats the low-field images themselves."""
    best = answer["best"]
    if not best:
        return None
    scores = [f"{name} {best['values'][name]:.4g}" for name in answer["objectives"] if name in best["values"]]
    if scores and (gain := best["gains"].get("identity")):
        scores[0] += f" ({gain['mean']:+.2f} over identity)"
    breaks = f", breaks {' and '.join(best['breaks'])}" if best["breaks"] else ""
    return f"best: trial {best['trial']}, {', '.join(scores)}{breaks}"


def _draw(answer: dict[str, Any]) -> Group:
    """All of it for a terminal."""
    counted, best, rate, left = _summary(answer)
    lines = [Text(f"{answer['sweep']}: {answer['state']}", style="bold"), Text(f"trials  {counted}")]
    lines += [Text(line) for line in (best, rate and f"rate    {rate}", left) if line]
    lines += [Text(f"{alert['severity']}: {alert['reason']} {alert['remedy']}") for alert in _grave(answer)]
    return Group(*lines, _budget(answer), *([_running(answer)] if answer["running"] else []))


def _grave(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The alerts that cannot wait until the sweep has ended."""
    return [alert for alert in answer["alerts"] if alert["severity"] != "info"]


def _budget(answer: dict[str, Any]) -> Table:
    """Each limit with a bar of what is spent."""
    table = Table.grid(padding=(0, 1))
    for name, part in answer["budget"].items():
        if part["limit"]:
            spent = tell_spent(name, part["spent"], part["limit"])
            table.add_row(
                ProgressBar(total=part["limit"], completed=min(part["spent"], part["limit"]), width=24), spent
            )
    cost = hours_in_words(answer["budget"]["hours"]["spent"], "core-")
    table.add_row("", f"cost so far: {cost} in {in_words(answer['ran'])}")
    return table


def _running(answer: dict[str, Any]) -> Table:
    """The trials that run, with the epoch that each has done."""
    table = Table(header_style="bold")
    for column, justify in (("trial", "right"), ("model", "left"), ("epoch", "right")):
        table.add_column(column, justify="right" if justify == "right" else "left")
    for trial in answer["running"][:_RUNNING]:
        table.add_row(str(trial["trial"]), trial["model"], f"{trial['epoch']} of {trial['epochs'] or '?'}")
    if more := len(answer["running"]) - _RUNNING:
        table.add_row("", f"and {more} more", "") if more > 0 else None
    return table
