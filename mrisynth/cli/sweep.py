"""`mrisynth sweep`, `resume`, `extend` and `retry`: what drives a sweep."""

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from mrisynth.cli.console import program, say
from mrisynth.cli.durations import hours_in
from mrisynth.cli.forecast import check_room, make_forecast, show_nothing_done, show_plan
from mrisynth.cli.results import show_leaderboard, show_missed, show_pictures
from mrisynth.cli.stores import Data, store_at
from mrisynth.errors import InvalidInputError, NotFoundError, UsageError

if TYPE_CHECKING:
    from mrisynth.search.launch import SweepOutcome

GRACE = 20.0
"""As in `search.driver.Launch`, which would be slow to import for a help text."""

_RAISES = {
    "trials": "--max-trials N",
    "hours": "--max-hours N",
    "gpu_hours": "--max-gpu-hours N",
    "wall": "--max-wall TIME",
}
"""The option of `extend` that raises each limit."""
_NEARLY = 0.9
"""A sweep that has used so much of its time ended because of it: the last sign of life is a few seconds old."""

Address = Annotated[
    str | None, typer.Option(help="A running Ray cluster (host:port, or auto); default: Ray on this machine alone.")
]
Concurrent = Annotated[int | None, typer.Option(min=1, help="Trials at once; default: what the machine has room for.")]
Grace = Annotated[
    float, typer.Option(min=0, help="Seconds that running trials have to end their epoch when the sweep is stopped.")
]
Begun = Annotated[Path, typer.Argument(metavar="SWEEP", help="RESULTS/NAME.")]
Moved = Annotated[
    Path | None, typer.Option(help="The prepared cohort, if it has moved.", parser=store_at, metavar="STORE")
]
Storage = Annotated[
    str | None, typer.Option(metavar="URL", help="The study's database, if it has moved.", show_default=False)
]
MaxTrials = Annotated[int | None, typer.Option(min=1, help="Trials in all, instead of the space's budget.")]
MaxHours = Annotated[float | None, typer.Option(min=0, help="Core-hours in all, instead of the space's budget.")]
MaxGpuHours = Annotated[float | None, typer.Option(min=0, help="GPU-hours in all, instead of the space's budget.")]
MaxWall = Annotated[
    float | None,
    typer.Option(parser=hours_in, metavar="TIME", help="How long it may run, over all launches: 90m, 2h, 1.5 (hours)."),
]


NewStorage = Annotated[
    str,
    typer.Option(
        metavar="STORAGE",
        help="What holds the study: journal or sqlite (a file in the sweep's folder), postgresql://USER@HOST/DB.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what it would do, and a forecast from a short probe; start nothing.")
]
Forecast = Annotated[
    bool, typer.Option("--forecast", help="Probe and forecast first, then start; the forecast is kept.")
]
OrResume = Annotated[
    bool,
    typer.Option(
        "--or-resume", help="If there is a sweep of that name, go on with it: for jobs that a scheduler restarts."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override space and named trials, e.g. epochs=3; 'published=\\[fcn-1, unet-7]': only these run.",
    ),
]


def sweep(
    space: Annotated[str, typer.Argument(help="A shipped space's name, or a YAML file.")],
    *,
    data: Data,
    results: Annotated[Path, typer.Option(help="The folder that holds your sweeps.")],
    name: Annotated[str, typer.Option(help="This sweep's name: a new folder in --results.")],
    address: Address = None,
    max_concurrent: Concurrent = None,
    grace: Grace = GRACE,
    max_trials: MaxTrials = None,
    max_hours: MaxHours = None,
    max_gpu_hours: MaxGpuHours = None,
    max_wall: MaxWall = None,
    storage: NewStorage = "journal",
    dry_run: DryRun = False,
    forecast: Forecast = False,
    seed: Annotated[int, typer.Option(help="The same seed suggests the same trials (with one worker).")] = 0,
    or_resume: OrResume = False,
    set_: Set = None,
) -> None:
    """Search a space: train, score and compare trials until the budget is spent."""
    from mrisynth.search.driver import start_sweep
    from mrisynth.search.entry import start_or_resume
    from mrisynth.search.launch import Launch, NewSweep
    from mrisynth.search.space import load_space, with_overrides

    budget = {"trials": max_trials, "hours": max_hours, "gpu_hours": max_gpu_hours, "wall": max_wall}
    limits = {f"budget.{name}": value for name, value in budget.items() if value is not None}
    asked = with_overrides(with_overrides(load_space(space), set_ or []), limits)
    for warning in asked.warnings:
        say(f"[yellow]warning:[/] {escape(warning)}")
    if dry_run:
        show_plan(asked, seed)
    found = None
    if dry_run or forecast:
        found = make_forecast(asked, data=data, max_concurrent=max_concurrent, seed=seed)
        check_room(found, results)
    if dry_run:
        show_nothing_done()
        return
    new = NewSweep(asked, data, results, name, seed, storage, found.dump() if found else None)
    launch = Launch(address=address, max_concurrent=max_concurrent, grace=grace)
    start = start_or_resume if or_resume else start_sweep
    run_and_report(lambda: start(new, launch=launch, progress=say_plain), results / name, address=address)


def resume(
    sweep: Begun,
    *,
    data: Moved = None,
    storage: Storage = None,
    address: Address = None,
    max_concurrent: Concurrent = None,
    grace: Grace = GRACE,
) -> None:
    """Finish what a sweep began: running trials go on from their checkpoints, nothing is lost, nothing done twice."""
    from mrisynth.search.driver import resume_sweep
    from mrisynth.search.launch import Launch

    launch = Launch(address=address, max_concurrent=max_concurrent, grace=grace)
    go_on = partial(resume_sweep, sweep, store=data, storage=storage)
    run_and_report(lambda: go_on(launch=launch, progress=say_plain), sweep, address=address)


def extend(
    sweep: Begun,
    *,
    max_trials: Annotated[int | None, typer.Option(min=1, help="Trials in all: more than until now.")] = None,
    max_hours: Annotated[float | None, typer.Option(min=0, help="Core-hours in all: more than until now.")] = None,
    max_gpu_hours: Annotated[float | None, typer.Option(min=0, help="GPU-hours in all: more than until now.")] = None,
    max_wall: MaxWall = None,
    data: Moved = None,
    storage: Storage = None,
    address: Address = None,
    max_concurrent: Concurrent = None,
    grace: Grace = GRACE,
) -> None:
    """Give a sweep a larger budget, and resume it: the search goes on where it ended."""
    from mrisynth.search.driver import resume_sweep
    from mrisynth.search.launch import Again, Launch

    again = Again(
        budget_trials=max_trials, budget_hours=max_hours, budget_gpu_hours=max_gpu_hours, budget_wall=max_wall
    )
    if not again.budget:
        raise UsageError("say how far: --max-trials, --max-hours, --max-gpu-hours or --max-wall, in all")
    launch = Launch(address=address, max_concurrent=max_concurrent, grace=grace)
    go_on = partial(resume_sweep, sweep, store=data, storage=storage, again=again)
    run_and_report(lambda: go_on(launch=launch, progress=say_plain), sweep, address=address)


def retry(
    sweep: Begun,
    *,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="The rejected trials, instead of the lost ones.")
    ] = False,
    pruned: Annotated[
        list[int] | None,
        typer.Option(metavar="TRIAL", help="This pruned one instead, to its end; may be given several times."),
    ] = None,
    data: Moved = None,
    storage: Storage = None,
    address: Address = None,
    max_concurrent: Concurrent = None,
    grace: Grace = GRACE,
) -> None:
    """Try lost trials again, each as a new one that starts from the old checkpoint and costs no budget; then resume."""
    from mrisynth.search.driver import resume_sweep
    from mrisynth.search.launch import Again, Launch
    from mrisynth.search.outcome import Kind

    kinds: list[Kind] = ["rejected"] if rejected else [] if pruned else ["lost"]
    again = Again(kinds=kinds, trials=pruned or [])
    launch = Launch(address=address, max_concurrent=max_concurrent, grace=grace)
    go_on = partial(resume_sweep, sweep, store=data, storage=storage, again=again)
    run_and_report(lambda: go_on(launch=launch, progress=say_plain), sweep, address=address)


def run_and_report(drive: Callable[[], "SweepOutcome"], folder: Path, *, address: str | None = None) -> None:
    """Drive a sweep, then show what came out; the exit code says how it ended, the last line how to go on.

    Args:
        drive: drives it.
        folder: the sweep's folder.
        address: the cluster that it runs on; None: this machine alone.
    """
    there = "" if address is None else f" --address {address}"
    try:
        outcome = drive()
    except KeyboardInterrupt as forced:
        _say_how_to_go_on(folder, there)
        raise typer.Exit(128 + (forced.args[0] if forced.args else signal.SIGINT)) from None
    except (UsageError, InvalidInputError, NotFoundError):
        raise
    except Exception:
        _say_how_to_go_on(folder, there)
        raise
    if outcome.state == "stopped":
        _say_how_to_go_on(folder, there)
        raise typer.Exit(128 + outcome.signal if outcome.signal else 0)
    show_leaderboard(folder, k=5)
    show_missed(folder)
    show_pictures(folder)
    say(f"browse all of it: {program()} dashboard {folder.parent}")
    if outcome.trials.get("lost"):
        say(f"try the lost trials again: {program()} retry {folder}{there}")
    _say_how_to_search_on(folder, there)


def say_plain(text: str) -> None:
    """A sentence of the search's, which may hold brackets."""
    say(escape(text))


def _say_how_to_search_on(folder: Path, there: str) -> None:
    """Name the option that raises the limit which ended the search; what was done to its end has none."""
    from mrisynth.results.index import open_index
    from mrisynth.results.leaderboard import status
    from mrisynth.results.store import open_sweep

    sweep = open_sweep(folder)
    index = open_index(sweep)
    used = {
        name: part["spent"] / part["limit"]
        for name, part in status(sweep, index)["budget"].items()
        if index.manifest["budget"].get(name)
    }
    name = max(used, key=lambda limit: used[limit], default=None)
    if name is not None and used[name] > (_NEARLY if name != "trials" else 1 - 1e-9):
        say(f"search on: {program()} extend {folder} {_RAISES[name]}{there}")


def _say_how_to_go_on(folder: Path, there: str) -> None:
    """Say it, unless the sweep is another driver's; `there`: the option that names the cluster, or nothing."""
    from mrisynth.results.store import SweepDirectory, sweep_state

    if folder.is_dir() and sweep_state(SweepDirectory(folder)) != "running":
        say(f"nothing is lost; go on with: {program()} resume {folder}{there}")
