"""`mrisynth sweep` and `mrisynth resume`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from mrisynth.cli.console import program, say
from mrisynth.cli.results import show_leaderboard, show_pictures
from mrisynth.cli.stores import Data, store_at

if TYPE_CHECKING:
    from mrisynth.search.driver import SweepOutcome

Address = Annotated[
    str | None, typer.Option(help="A running Ray cluster (host:port, or auto); default: Ray on this machine alone.")
]
Concurrent = Annotated[int | None, typer.Option(min=1, help="Trials at once; default: what the machine has room for.")]
MaxTrials = Annotated[int | None, typer.Option(min=1, help="Trials in all, instead of the space's budget.")]
MaxHours = Annotated[float | None, typer.Option(min=0, help="Worker-hours in all, instead of the space's budget.")]


def sweep(
    space: Annotated[str, typer.Argument(help="A shipped space's name, or a YAML file.")],
    *,
    data: Data,
    results: Annotated[Path, typer.Option(help="The folder that holds your sweeps.")],
    name: Annotated[str, typer.Option(help="This sweep's name: a new folder in --results.")],
    address: Address = None,
    max_concurrent: Concurrent = None,
    max_trials: MaxTrials = None,
    max_hours: MaxHours = None,
    seed: Annotated[int, typer.Option(help="The same seed suggests the same trials (with one worker).")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override space and named trials, e.g. epochs=3; 'published=\\[fcn-1, unet-7]': only these run.",
        ),
    ] = None,
) -> None:
    """Search a space: train, score and compare trials until the budget is spent."""
    from mrisynth.search.driver import Launch, start_sweep
    from mrisynth.search.space import load_space, with_overrides

    budget = {"budget.trials": max_trials, "budget.hours": max_hours}
    limits = {key: value for key, value in budget.items() if value is not None}
    asked = with_overrides(with_overrides(load_space(space), set_ or []), limits)
    for warning in asked.warnings:
        say(f"[yellow]warning:[/] {escape(warning)}")
    launch = Launch(address=address, max_concurrent=max_concurrent)
    run_and_report(
        lambda: start_sweep(asked, store=data, results=results, name=name, seed=seed, launch=launch, progress=say),
        results / name,
    )


def resume(
    sweep: Annotated[Path, typer.Argument(help="RESULTS/NAME of a sweep that was stopped, killed or interrupted.")],
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="The prepared cohort, if it has moved.", parser=store_at, metavar="STORE"),
    ] = None,
    address: Address = None,
    max_concurrent: Concurrent = None,
) -> None:
    """Finish what a sweep began: running trials go on from their checkpoints, nothing is lost, nothing done twice."""
    from mrisynth.search.driver import Launch, resume_sweep

    launch = Launch(address=address, max_concurrent=max_concurrent)
    run_and_report(lambda: resume_sweep(sweep, store=data, launch=launch, progress=say), sweep)


def run_and_report(drive: Callable[[], "SweepOutcome"], folder: Path) -> None:
    """Drive a sweep to its end, then show what came out; the exit code says how it ended."""
    outcome = drive()
    if outcome.state == "stopped":
        say(f"stopped; go on with: {program()} resume {folder}")
        raise typer.Exit(128 + outcome.signal if outcome.signal else 0)
    show_leaderboard(folder, k=5)
    show_pictures(folder)
    say(f"browse all of it: {program()} dashboard {folder.parent}")
