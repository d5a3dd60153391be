"""`mrisynth space`: list, show, check, sample, schema."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from mrisynth.cli.console import output, say, show, show_json, show_table
from mrisynth.cli.space_tree import network_size, show_tree
from mrisynth.errors import InvalidInputError
from mrisynth.words import LIMITS

if TYPE_CHECKING:
    from mrisynth.search.settings import Halving
    from mrisynth.search.space import Space

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
        say(f"[yellow]warning:[/] {escape(warning)}")
    count = loaded.budget.trials or (len(loaded.published) if not loaded.search else None)
    trials = "" if count is None else f", {count} trial{'s' if count > 1 else ''}"
    thrown = loaded.feasibility.bounds_in_words
    if thrown and not any(thrown in warning for warning in loaded.warnings):
        say(f"{thrown}: those are rejected at once, and count in no budget")
    show(f"{loaded.name}: {len(loaded.search)} parameters searched{trials}; nothing wrong")


@app.command("show")
def show_(space: SpaceName, as_json: AsJson = False) -> None:
    """What a space searches as a tree with the size of each branch, and its named trials with their networks' sizes."""
    from mrisynth.search.space import load_space, trial_sizes
    from mrisynth.search.tree import tree

    loaded = load_space(space)
    sizes = trial_sizes(loaded)
    nodes, whole = tree(loaded.parameters)
    if as_json:
        size = {**whole.to_dict(), "tree": [node.to_dict() for node in nodes]}
        show_json({"trials": sizes, "search": loaded.describe(), "size": size, "constraints": loaded.limits})
        return
    show(f"{loaded.name}: {loaded.description}" if loaded.description else loaded.name)
    for name, text in _terms(loaded):
        show(f"  {name}: {text}")
    if loaded.search:
        show_tree(f"{len(loaded.search)} parameters searched: {whole}", nodes)
    if sizes:
        _show_sizes(sizes)
        _show_recipes({trial["name"]: trial["config"] for trial in sizes})


def _terms(space: "Space") -> Iterator[tuple[str, str]]:
    """On what terms a space is searched: name and words."""
    from mrisynth.search.tree import generator_sizes

    yield "objective", ", ".join(f"{direction} {metric}" for metric, direction in space.objectives.items())
    limits = [f"{value:g} {LIMITS.get(name, name)}" for name, value in space.budget.model_dump().items() if value]
    if limits:
        yield "budget", " or ".join(limits)
    if space.search:
        yield "sampler", space.sampler
        yield "pruner", _pruner(space.pruner)
    if space.bounds:
        thrown = space.feasibility.bounds_in_words
        yield "constraints", " and ".join(map(str, space.bounds)) + (f" ({thrown})" if thrown else "")
    generator = space.fixed.get("generator")
    if space.search and generator and (sizes := generator_sizes(space.parameters, generator)):
        yield "generator", f"{generator}, {network_size(*sizes)}"
    if space.fixed:
        yield "fixed", ", ".join(f"{path}={_plain(value)}" for path, value in space.fixed.items())


def _pruner(halving: "Halving | None") -> str:
    if halving is None:
        return "none"
    rungs = ", ".join(f"{rung:g}" for rung in halving.rungs)
    quota = f", after the first {halving.quota}" if halving.quota else ""
    return f"halving at {rungs} of the epochs, keeping {halving.keep:.0%} of a family{quota}"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).replace('"', "")


def _show_sizes(sizes: list[dict[str, Any]]) -> None:
    """Named trials with their networks and how many parameters these have."""
    keys = ("name", "generator", "generator_parameters", "adversary", "adversary_parameters")
    columns = ["named trial", "generator", "parameters", "adversary", "its parameters"]
    show_table("", columns, [[_cell(trial[key]) for key in keys] for trial in sizes], right={*columns[2::2]})


def _show_recipes(configs: dict[str, dict[str, Any]]) -> None:
    """Named trials with the weights of their losses, their rates and their epochs, as in the paper's table 1."""
    from mrisynth.training.losses import LOSSES

    losses = [name for name in LOSSES if any(config.get("losses", {}).get(name) for config in configs.values())]
    rates = ["generator_lr", "discriminator_lr"]
    columns = ["named trial", *losses, "rate", "adversary's", "epochs"]
    rows = [
        [
            name,
            *(_cell(config.get("losses", {}).get(loss) or None) for loss in losses),
            *(_rate(config.get("optimizer", {}).get(rate)) for rate in rates),
            _cell(config.get("epochs")),
        ]
        for name, config in configs.items()
    ]
    show_table("", columns, rows, right={*columns[1:]})


def _cell(value: Any) -> str:
    """A value in a table: unet, 1,829,025, 1.5; a dash where there is none."""
    if value is None or value == "none":
        return "-"
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _rate(rate: float | None) -> str:
    """A learning rate as people write it, 2e-3; a dash where there is none."""
    if rate is None:
        return "-"
    digits, _, exponent = f"{rate:.3e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"


@app.command()
def sample(
    space: SpaceName,
    number: Annotated[int, typer.Option("-n", min=1, help="How many configurations.")] = 5,
    seed: Annotated[int, typer.Option(help="The same seed gives the same configurations.")] = 0,
) -> None:
    """Draw configurations at random: one JSON line each."""
    from mrisynth.search.space import load_space, sample_configs

    loaded = load_space(space)
    if not loaded.search:
        raise InvalidInputError(f"space {loaded.name} searches nothing; see its trials: mrisynth space show {space}")
    for config in sample_configs(loaded, number, seed=seed):
        show(json.dumps(config.dump()))
    if thrown := loaded.feasibility.bounds_in_words:
        say(f"{thrown}: they are not among these")


@app.command()
def schema(
    space: Annotated[
        bool, typer.Option("--space", help="Of a whole space file, for editors: ranges and conditions included.")
    ] = False,
) -> None:
    """The JSON Schema of a trial's configuration, or of a space file."""
    from mrisynth.search.space_schema import space_schema
    from mrisynth.training.config import json_schema

    output.print_json(data=space_schema() if space else json_schema())
