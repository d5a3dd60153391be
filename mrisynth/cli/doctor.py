"""`mrisynth doctor`: what to know about this machine, and a drill whether a search here survives being killed."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrisynth.cli.console import program, say, show, show_json
from mrisynth.cli.results import AsJson
from mrisynth.cli.stores import store_at
from mrisynth.errors import UsageError

if TYPE_CHECKING:
    from mrisynth.search.drill.verdict import Verdict
    from mrisynth.search.machine import Item

KILLS = 10
"""Nearly every kind of kill once: two or three minutes."""


def doctor(
    results: Annotated[Path | None, typer.Option(help="The folder that holds your sweeps.")] = None,
    *,
    resume_drill: Annotated[
        bool,
        typer.Option("--resume-drill", help="Run a toy sweep in --results whose processes are killed (kill -9)."),
    ] = False,
    storage: Annotated[
        str, typer.Option(metavar="STORAGE", help="Of the drill: journal, sqlite, postgresql://USER@HOST/DB.")
    ] = "journal",
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster (host:port, or auto): look at each of its nodes too.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Shall be readable from every node; a folder or a URL.", parser=store_at)
    ] = None,
    kills: Annotated[int, typer.Option(min=1, help="Of the drill: how often something is killed.")] = KILLS,
    seed: Annotated[int, typer.Option(help="Of the drill: for the order of the kills and their moments.")] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Of the drill: keep the toy sweep's folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """What to know about this machine; with --resume-drill, whether a search here survives whatever is killed."""
    if not resume_drill:
        _examine(results, address, data, as_json)
        return
    if results is None:
        raise UsageError("say where the drill shall run: --results, the folder that holds your sweeps")
    from mrisynth.cli.signals import stoppable
    from mrisynth.cli.sweep import say_plain
    from mrisynth.search.drill.kills import draw_kills
    from mrisynth.search.drill.toy_sweep import ToySettings
    from mrisynth.search.drill.verdict import remove_drill, run_drill

    settings = ToySettings(storage=storage, address=address, trials=4 + kills, seed=seed)
    planned = draw_kills(kills, seed, cluster=address is not None)
    say_plain(f"a toy sweep in {results}, its study in {storage}; {kills} kills, about {_minutes(kills)}")
    with stoppable(f"the drill's folder is still in {results}"):
        verdict = run_drill(results, settings=settings, kills=planned, say=say_plain)
    kept = keep or not verdict.passed
    if not kept:
        remove_drill(verdict.sweep)
    _show_verdict(verdict, kept=kept, as_json=as_json)
    if not verdict.passed:
        raise typer.Exit(1)


def _examine(results: Path | None, address: str | None, store: Path | None, as_json: bool) -> None:
    from mrisynth.search.machine import examine

    items = examine(results)
    if address is not None:
        if results is None:
            raise UsageError("say which folder every node shall see: --results, the folder that holds your sweeps")
        items += _examine_nodes(results, address, store)
    wrong = [item for item in items if item.verdict == "error"]
    if as_json:
        show_json({"passed": not wrong, "items": [asdict(item) for item in items]})
    else:
        for item in items:
            remedy = f"; {item.remedy}" if item.remedy else ""
            show(f"{item.verdict:8}{item.name}: {item.value}{remedy}")
    if wrong:
        raise typer.Exit(1)


def _examine_nodes(results: Path, address: str, store: Path | None) -> list["Item"]:
    """What there is to know about each node of a cluster."""
    from mrisynth.data.store.mirror import location_of
    from mrisynth.search.engine import ray_session

    with ray_session(address):
        from mrisynth.search.nodes import examine_nodes

        nodes = examine_nodes(results, None if store is None else location_of(store))
    return [replace(item, name=f"node {node.name}, {item.name}") for node in nodes for item in node.items]


def _show_verdict(verdict: "Verdict", *, kept: bool, as_json: bool) -> None:
    if as_json:
        show_json(_as_json(verdict, kept=kept))
        return
    ends = ", ".join(f"{count} {outcome}" for outcome, count in verdict.trials.items())
    show(f"{'passed' if verdict.passed else 'FAILED'}: {len(verdict.strikes)} kills in {verdict.seconds:.0f} s")
    show(f"trials: {sum(verdict.trials.values())} of {verdict.budget} ({ends}), {verdict.drives} drives")
    show(f"epochs that were interrupted and begun again: {verdict.again}")
    for reason in verdict.skipped:
        show(f"not tried: {reason}")
    for damage in verdict.damage:
        show(f"damage: {damage}")
    if kept:
        say(f"the toy sweep is in {verdict.sweep}; what its drivers said is in drill/driver.log there")
    if not verdict.passed:
        say(
            "do not trust a long search to this folder and storage yet: try --storage journal and a folder on a local "
            f"disk, look at {program()} doctor --results {verdict.sweep.parent}, and report it with that folder"
        )


def _as_json(verdict: "Verdict", *, kept: bool) -> dict[str, Any]:
    answer = {**asdict(verdict), "passed": verdict.passed, "kills": [asdict(strike) for strike in verdict.strikes]}
    del answer["strikes"], answer["sweep"]
    return {**answer, "folder": str(verdict.sweep) if kept else None}


def _minutes(kills: int) -> str:
    """How long a drill may take: 10 to 15 seconds a kill on two cores, and a minute where Ray's control store dies."""
    return f"{max(1, round(kills / 5))} minutes" if kills > 7 else "a minute or two"
