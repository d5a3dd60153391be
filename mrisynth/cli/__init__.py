"""The command line: thin commands; what is heavy is imported inside them, so that `--help` answers at once."""

import sys

import typer

from mrisynth import __version__
from mrisynth.cli import cluster, data, results, space, sweep, trial
from mrisynth.cli.console import say
from mrisynth.cli.dashboard import dashboard
from mrisynth.cli.demo import demo
from mrisynth.cli.doctor import doctor
from mrisynth.cli.evaluate import evaluate
from mrisynth.cli.insight import insight
from mrisynth.cli.report import report
from mrisynth.cli.stop import stop
from mrisynth.errors import MrisynthError

app = typer.Typer(
    help="Find the best model for turning low-field MRI into high-field MRI, by search.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"mrisynth {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Find the best model for turning low-field MRI into high-field MRI, by search."""


app.command(rich_help_panel="Start here")(demo)
app.command(rich_help_panel="Start here")(doctor)
app.add_typer(data.app, name="data", rich_help_panel="Data")
app.add_typer(space.app, name="space", rich_help_panel="Search")
app.command(rich_help_panel="Search")(sweep.sweep)
app.command(rich_help_panel="Search")(sweep.resume)
app.command(rich_help_panel="Search")(sweep.extend)
app.command(rich_help_panel="Search")(sweep.retry)
app.command(rich_help_panel="Search")(stop)
app.add_typer(cluster.app, name="cluster", rich_help_panel="Search")
app.command(rich_help_panel="Results")(results.status)
app.command(rich_help_panel="Results")(results.top)
app.command(rich_help_panel="Results")(insight)
app.command(rich_help_panel="Results")(report)
app.command(rich_help_panel="Results")(dashboard)
app.command(rich_help_panel="One trial")(trial.train)
app.command(rich_help_panel="One trial")(evaluate)


def main() -> None:
    """Run a command; a user's mistake is one sentence on stderr and its exit code."""
    try:
        app()
    except MrisynthError as error:
        say(f"[bold red]error:[/] {_escape(str(error))}")
        sys.exit(error.exit_code)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
