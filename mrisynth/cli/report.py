"""`mrisynth report`: a sweep as a page to hand on; needs neither torch nor ray."""

from pathlib import Path
from typing import Annotated

import typer

from mrisynth.cli.console import program, say, show
from mrisynth.errors import NoCompletedTrialError, UsageError


def report(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep: RESULTS/NAME.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the report; default: SWEEP/report.")
    ] = None,
    k: Annotated[
        int, typer.Option("-k", min=1, help="Trials of each family, best first; published ones are always shown.")
    ] = 8,
) -> None:
    """Tables and figures of a sweep, as in the paper: one HTML page for any browser, CSV and LaTeX files beside it."""
    from mrisynth.results.report import write_report
    from mrisynth.results.store import open_sweep

    if out is not None and (blocking := next((path for path in (out, *out.parents) if path.is_file()), None)):
        raise UsageError(f"--out {out}: {blocking} is a file; name a folder for the report")
    written = write_report(open_sweep(sweep), out, k=k)
    show(str(written.page))
    if not written.completed:
        raise NoCompletedTrialError(
            f"no trial of {sweep} has completed, so the page holds no scores; see: {program()} status {sweep}"
        )
    say(f"{len(written.files)} tables and figures as files beside it")
