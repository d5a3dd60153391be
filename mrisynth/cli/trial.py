"""`mrisynth train`: one trial, without Ray."""

from pathlib import Path
from typing import Annotated

import typer

from mrisynth.cli.console import say, show_table
from mrisynth.cli.stores import Data


def train(
    config: Annotated[Path, typer.Argument(help="A trial's configuration, as in trials/<number>/config.yaml.")],
    data: Data,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The trial's folder; if it holds a part, that is continued.")
    ],
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Train one configuration and score it on the validation slices, without Ray."""
    from mrisynth.training.config import load_config
    from mrisynth.training.trial import run

    record = None
    for record in run(load_config(config), store=data, directory=out, device=device):
        losses = "  ".join(f"{name} {value:.4f}" for name, value in record["train"].items())
        say(f"epoch {record['epoch']}/{record['epochs']}: {losses}")
    if record and record["scores"]:
        show_table(str(out), ["metric", "value"], [[name, f"{value:.4f}"] for name, value in record["scores"].items()])
