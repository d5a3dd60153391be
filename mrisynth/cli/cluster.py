"""`mrisynth cluster`: a sweep for a Ray cluster, for Kubernetes, for SLURM; and waiting for a cluster's nodes."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrisynth.cli.console import program as this_program
from mrisynth.cli.console import say

if TYPE_CHECKING:
    from mrisynth.search.submission.entry import Entry

app = typer.Typer(help="Sweeps on other machines.", no_args_is_help=True)
submit = typer.Typer(
    help="Submit a sweep, or write what submits it. Each way runs `mrisynth sweep ... --or-resume`.",
    no_args_is_help=True,
)
app.add_typer(submit, name="submit")

Space = Annotated[str, typer.Argument(help="A shipped space's name, or a YAML file.")]
Store = Annotated[
    str, typer.Option("--data", metavar="STORE", help="The prepared cohort, as nodes see it, or s3://BUCKET/FOLDER.")
]
Results = Annotated[str, typer.Option(help="The folder for sweeps, as nodes see it.")]
Name = Annotated[str, typer.Option(help="The sweep's name.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override the space, as `mrisynth sweep` does.")
]
Trials = Annotated[int | None, typer.Option(min=1, help="Trials in all, instead of the space's budget.")]
Hours = Annotated[float | None, typer.Option(min=0, help="Core-hours in all, instead of the space's budget.")]
Storage = Annotated[
    str | None, typer.Option(metavar="STORAGE", help="What holds the study, as `mrisynth sweep` takes it.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="A file, instead of stdout.")]
Cpus = Annotated[int, typer.Option(min=1, help="Cores of each node.")]
Gpus = Annotated[int, typer.Option(min=0, help="GPUs of each node.")]


def _entry(
    space: Space,
    *,
    data: Store,
    results: Results,
    name: Name,
    max_trials: Trials = None,
    max_hours: Hours = None,
    storage: Storage = None,
    set_: Set = None,
) -> "Entry":
    """What `mrisynth sweep` shall be told, wherever it runs."""
    from mrisynth.search.submission.entry import Entry

    given = {"--max-trials": max_trials, "--max-hours": max_hours, "--storage": storage}
    options = [(option, str(value)) for option, value in given.items() if value is not None]
    return Entry(space, data, results, name, (*options, *(("--set", text) for text in set_ or [])))


def _of_a_sweep(**defaults: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take the parameters of `_entry`, some with a default, in the place of its first one, the entry."""

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        shared = inspect.signature(_entry).parameters
        own = list(inspect.signature(command).parameters.values())[1:]
        own = [*(one.replace(default=defaults.get(name, one.default)) for name, one in shared.items()), *own]

        @wraps(command)
        def run(**given: Any) -> None:
            entry = _entry(**{name: given.pop(name) for name in shared})
            command(entry, **given)

        run.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in own}
        return run

    return wrap


@submit.command()
@_of_a_sweep()
def job(
    entry: "Entry",
    *,
    address: Annotated[str, typer.Option(metavar="URL", help="The cluster's dashboard.")] = "http://127.0.0.1:8265",
    program: Annotated[str, typer.Option(help="How the head calls mrisynth.")] = "mrisynth",
) -> None:
    """Give the sweep to a running Ray cluster, which drives it; prints the job's id."""
    from mrisynth.search.submission.entry import space_path
    from mrisynth.search.submission.job import submit as submit_job

    entry = replace(entry, space=space_path(entry.space))
    identity = submit_job(entry, address, program=program)
    print(identity)  # noqa: T201
    say(f"read its log: ray job logs --follow {identity} --address {address}")
    say(f"stop it: {this_program()} stop {entry.folder}, on any machine that sees the folder")


@submit.command()
@_of_a_sweep(data="/data/store", results="/results")
def kuberay(
    entry: "Entry",
    *,
    image: Annotated[str, typer.Option(help="Of every pod: target cpu or gpu of docker/Dockerfile.")],
    nodes: Annotated[int, typer.Option(min=1, help="Pods that run trials; the head is one more.")] = 1,
    cpus: Cpus = 8,
    gpus: Gpus = 0,
    memory: Annotated[str, typer.Option(help="Of each node.")] = "32Gi",
    data_claim: Annotated[str, typer.Option(help="The volume claim seen at /data.")] = "mrisynth-data",
    results_claim: Annotated[str, typer.Option(help="The one seen at /results.")] = "mrisynth-results",
    database_secret: Annotated[str | None, typer.Option(help="The secret with the study's password.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Default: kubectl's.")] = None,
    output: Output = None,
) -> None:
    """Write a RayJob for Kubernetes with KubeRay, for `kubectl apply -f -`."""
    from mrisynth.search.submission.kuberay import Pods, render

    pods = Pods(
        image=image,
        workers=nodes,
        cpus=cpus,
        gpus=gpus,
        memory=memory,
        data_claim=data_claim,
        results_claim=results_claim,
        database_secret=database_secret,
        namespace=namespace,
    )
    _write(render(entry, pods), output)


@submit.command()
@_of_a_sweep()
def slurm(
    entry: "Entry",
    *,
    nodes: Annotated[int, typer.Option(min=1, help="How many.")] = 1,
    cpus: Cpus = 8,
    gpus: Gpus = 0,
    time: Annotated[str, typer.Option(help="The limit; near it the job stops cleanly and queues again.")] = "24:00:00",
    memory: Annotated[str | None, typer.Option(help="Of each node, like 64G.")] = None,
    partition: Annotated[str | None, typer.Option(help="SLURM's partition.")] = None,
    account: Annotated[str | None, typer.Option(help="SLURM's account.")] = None,
    sbatch: Annotated[
        list[str] | None, typer.Option(metavar="OPTION", help="A further option of sbatch, like --constraint=a100.")
    ] = None,
    setup: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COMMAND", help="Makes mrisynth known on a node, like 'source /shared/venv/bin/activate'."
        ),
    ] = None,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="Whole nodes (--exclusive), and Ray by `ray symmetric-run`.")
    ] = False,
    output: Output = None,
) -> None:
    """Write a batch script for SLURM, for `sbatch`."""
    from mrisynth.search.submission.entry import space_path
    from mrisynth.search.submission.slurm import Allocation, render

    allocation = Allocation(
        nodes=nodes,
        cpus=cpus,
        gpus=gpus,
        time=time,
        memory=memory,
        partition=partition,
        account=account,
        more=tuple(sbatch or ()),
    )
    entry = replace(entry, space=space_path(entry.space))
    _write(render(entry, allocation, setup=setup or [], symmetric=symmetric), output)


@app.command()
def wait(
    address: Annotated[
        str, typer.Argument(help="The cluster: host:port, or auto. This machine must be one of its nodes.")
    ],
    *,
    nodes: Annotated[int, typer.Option(min=1, help="How many, the head among them.")],
    timeout: Annotated[float, typer.Option(min=0, help="Seconds.")] = 300,
) -> None:
    """Wait until so many nodes have joined a Ray cluster: a sweep takes the room that it finds when it starts."""
    from mrisynth.cli.signals import stoppable
    from mrisynth.search.submission.waiting import wait_for_nodes

    with stoppable("the cluster is left as it is"):
        wait_for_nodes(address, nodes, timeout=timeout)


def _write(text: str, output: Path | None) -> None:
    """To a file, or to stdout as it is."""
    if output is None:
        print(text, end="")  # noqa: T201
        return
    from mrisynth.files import write_bytes

    write_bytes(output, text.encode())
    say(f"written: {output}")
