"""`mrisynth stop`: asks through the sweep's folder, and so needs neither Ray nor the driver's machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrisynth.cli.console import program, say
from mrisynth.errors import NotFoundError

if TYPE_CHECKING:
    from mrisynth.results.store import SweepDirectory


def stop(
    path: Annotated[Path, typer.Argument(metavar="SWEEP|TRIAL", help="RESULTS/NAME, or RESULTS/NAME/NUMBER.")],
) -> None:
    """Stop a sweep, or end one of its trials, wherever it runs: whoever sees its folder can."""
    from mrisynth.results.store import SweepDirectory, open_sweep

    inside = path.name.isdecimal() and SweepDirectory(path.parent).sweep_yaml.is_file()
    if inside:
        _stop_trial(open_sweep(path.parent), int(path.name))
    else:
        _stop_sweep(open_sweep(path))


def _stop_sweep(sweep: "SweepDirectory") -> None:
    from mrisynth.results.control import request_stop
    from mrisynth.results.store import sweep_state

    state = sweep_state(sweep)
    if state not in ("running", "stale"):
        say(f"{sweep.root} does not run: it is {state}")
    else:
        request_stop(sweep)
        silent = ", if it still lives: it has given no sign of life for over a minute" if state == "stale" else ""
        say(f"asked its driver to stop{silent}; it looks every few seconds, and lets running trials end their epoch")
    if state != "done":
        say(f"go on with: {program()} resume {sweep.root}")


def _stop_trial(sweep: "SweepDirectory", number: int) -> None:
    from mrisynth.files import read_json
    from mrisynth.results.control import request_stop
    from mrisynth.results.store import sweep_state

    trial = sweep.trial(number)
    if not trial.root.is_dir():
        raise NotFoundError(f"there is no trial {number} in {sweep.root}")
    if trial.outcome.is_file():
        say(f"trial {number} has ended already: it was {read_json(trial.outcome)['outcome']}")
        return
    request_stop(sweep, number)
    state = sweep_state(sweep)
    when = "within seconds" if state == "running" else f"when the sweep, which is {state}, is resumed"
    say(f"trial {number} will be ended {when}; it then counts as pruned")
    say(f"run it to its end later with: {program()} retry {sweep.root} --pruned {number}")
