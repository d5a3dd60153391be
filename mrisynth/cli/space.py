"""`mrisynth space`: list, show, check, sample, schema."""

import json
from typing import Annotated

import typer

from mrisynth.cli.console import output, say, show, show_json, show_table

app = typer.Typer(help="Search spaces: what a sweep may try.", no_args_is_help=True)

SpaceName = Annotated[str, typer.Argument(metavar="SPACE", help="A shipped space's name, or a YAML file.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")]


@app.command("list")
def list_() -> None:
    """The spaces that come with mrisynth."""
    from mrisynth.search.space import list_spaces

    show_table("", ["space", "what it searches"], [[name, text] for name, text in list_spaces().items()])


@app.command()
def check(space: SpaceName) -> None:
    """Check a space file: every mistake with its line and its remedy."""
    from mrisynth.search.space import load_space

    loaded = load_space(space)
    for warning in loaded.warnings:
        say(f"[yellow]warning:[/] {warning}")
    show(f"{loaded.name}: {len(loaded.search)} parameters, {loaded.budget.trials} trials; nothing wrong")


@app.command("show")
def show_(space: SpaceName, as_json: AsJson = False) -> None:
    """What a space searches and what it holds fixed; its named trials with their networks' sizes."""
    from mrisynth.search.space import load_space, trial_sizes

    loaded = load_space(space)
    sizes = trial_sizes(loaded)
    if as_json:
        show_json({"trials": sizes, "search": loaded.describe()})
        return
    rows = [[path, text["values"], text["when"]] for path, text in loaded.describe().items()]
    show_table(f"{loaded.name}: {loaded.description}", ["parameter", "values", "only when"], rows)
    if sizes:
        columns = ["name", "generator", "parameters", "adversary", "parameters"]
        rows = [
            [str(t[key]) for key in ("name", "generator", "generator_parameters", "adversary", "adversary_parameters")]
            for t in sizes
        ]
        show_table("named trials, run first", columns, rows)


@app.command()
def sample(
    space: SpaceName,
    number: Annotated[int, typer.Option("-n", min=1, help="How many configurations.")] = 5,
    seed: Annotated[int, typer.Option(help="The same seed gives the same configurations.")] = 0,
) -> None:
    """Draw configurations at random: one JSON line each."""
    from mrisynth.search.space import load_space, sample_configs

    for config in sample_configs(load_space(space), number, seed=seed):
        show(json.dumps(config.dump()))


@app.command()
def schema() -> None:
    """The JSON Schema of a trial's configuration."""
    from mrisynth.training.config import json_schema

    output.print_json(data=json_schema())
