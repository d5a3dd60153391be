"""`mrisynth demo`: the whole way from scans to pictures, on phantoms, offline, in minutes on two cores."""

from pathlib import Path
from typing import Annotated

import typer

from mrisynth.cli.console import program, say

SUBJECTS = 10
SIZE = (80, 112, 96)
SEED = 1
NAME = "demo"


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything that the demo makes.")] = Path("demo"),
    max_trials: Annotated[int | None, typer.Option(min=1, help="Fewer trials than the space's budget.")] = None,
) -> None:
    """From phantom scans to a leaderboard and pictures, in minutes; called again, it goes on where it was."""
    from mrisynth.cli.data import prepare_cohort
    from mrisynth.cli.sweep import run_and_report, say_plain
    from mrisynth.data.cohort import check_pairs, read_pairs
    from mrisynth.data.phantom.cohort import make_cohort
    from mrisynth.search.driver import resume_sweep, start_sweep
    from mrisynth.search.launch import NewSweep
    from mrisynth.search.space import load_space, with_overrides

    scans, store, results = out / "scans", out / "store", out / "results"
    pairs = scans / "pairs.csv"
    size = "x".join(map(str, SIZE))
    say(f"[bold]1/4[/] scans: {SUBJECTS} phantom specimens of {size} voxels at two field strengths, in {scans}")
    if not pairs.is_file():
        make_cohort(scans, subjects=SUBJECTS, size=SIZE, seed=SEED)
    say(f"[bold]2/4[/] check: {program()} data check {pairs}")
    for finding in check_pairs(read_pairs(pairs)):
        say(f"  {finding.subject}: {finding.message}; {finding.remedy}")
    say(f"[bold]3/4[/] preparation: {program()} data prepare {pairs} {store}")
    prepare_cohort(pairs, store)
    sweep = results / NAME
    say(f"[bold]4/4[/] sweep: {program()} sweep demo --data {store} --results {results} --name {NAME}")
    if sweep.is_dir():
        run_and_report(lambda: resume_sweep(sweep, progress=say_plain), sweep)
    else:
        space = with_overrides(load_space("demo"), {"budget.trials": max_trials} if max_trials else {})
        new = NewSweep(space, store, results, NAME, seed=SEED)
        run_and_report(lambda: start_sweep(new, progress=say_plain), sweep)
