"""A batch script for SLURM: what is asked of the scheduler and of mrisynth at the top, then a shipped script."""

import shlex
from dataclasses import dataclass

from mrisynth.errors import UsageError
from mrisynth.search.submission.entry import Entry, checked, fitting, plain
from mrisynth.shipped import recipe

BODY_BEGINS = "# What follows is the same for every sweep."
"""The line of a shipped script where the part begins that is taken as it stands."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """What is asked of SLURM.

    Attributes:
        nodes: how many.
        cpus: cores of each.
        gpus: of each; 0 for none.
        time: the limit, like "24:00:00" or "2-00:00:00".
        memory: of each node, like "64G"; None: SLURM's default.
        partition: None: SLURM's default.
        account: None: SLURM's default.
        more: further options of sbatch, like "--constraint=a100".
    """

    nodes: int = 1
    cpus: int = 8
    gpus: int = 0
    time: str = "24:00:00"
    memory: str | None = None
    partition: str | None = None
    account: str | None = None
    more: tuple[str, ...] = ()


def render(entry: Entry, allocation: Allocation, *, setup: list[str], symmetric: bool = False) -> str:
    """The batch script.

    Args:
        entry: what shall be run.
        allocation: what is asked of SLURM.
        setup: shell commands that make `mrisynth` and `ray` known on a node, one a line, written as they are.
        symmetric: start Ray by `ray symmetric-run`, which ends by stopping every Ray process of the user on its nodes,
            so that whole nodes are asked for.

    Raises:
        UsageError: something that would not mean in the script what it says.
    """
    checked(entry)
    for command in setup:
        plain("--setup", command)
    _, begins, body = recipe("slurm", "sweep.sbatch").read_text(encoding="utf-8").partition(BODY_BEGINS)
    directives = _directives(entry.name, allocation, symmetric=symmetric)
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {directive}" for directive in directives),
        "",
        "# Make mrisynth and ray known, on every node.",
        "setup() {",
        *(f"  {command}" for command in setup or [":"]),
        "}",
        f"sweep=({shlex.join(entry.words())})",
        f"folder={shlex.quote(entry.folder)}",
        f"cpus={allocation.cpus}",
        f"gpus={allocation.gpus}",
        f"symmetric={'yes' if symmetric else ''}",
        "",
    ]
    return "\n".join(lines) + "\n" + begins + body


def _directives(name: str, asked: Allocation, *, symmetric: bool) -> list[str]:
    """The options of sbatch. Nothing can be quoted in them, so that each value must look like what it is."""
    given = {
        "--job-name": f"mrisynth-{name}",
        "--nodes": str(asked.nodes),
        "--ntasks-per-node": "1",
        "--cpus-per-task": str(asked.cpus),
        "--time": fitting("--time", asked.time, r"(\d+-)?\d+(:\d+){0,2}"),
        "--output": "%x-%j.log",
        "--open-mode": "append",
        # To this script alone, three minutes before the end: time for running trials to end their epoch.
        "--signal": "B:USR1@180",
    }
    if asked.gpus:
        given["--gpus-per-node"] = str(asked.gpus)
    if asked.memory:
        given["--mem"] = fitting("--memory", asked.memory, r"\d+[KMGT]?")
    if asked.partition:
        given["--partition"] = fitting("--partition", asked.partition, r"[\w.,-]+")
    if asked.account:
        given["--account"] = fitting("--account", asked.account, r"[\w.@-]+")
    more = [fitting("--sbatch", option, r"--[a-z][a-z-]*(=[\w.,:;@%&|!*/+()\[\]-]+)?") for option in asked.more]
    twice = [option for option in more if option.partition("=")[0] in given]
    if twice:
        raise UsageError(f"--sbatch {twice[0]}: this option is set already")
    whole = ["--exclusive"] if symmetric else []
    return [*(f"{option}={value}" for option, value in given.items()), "--requeue", *whole, *more]
