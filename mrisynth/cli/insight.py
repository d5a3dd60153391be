"""`mrisynth insight`: what a search learned; needs neither torch nor ray."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mrisynth.cli.console import program, say, show, show_json, show_table


def insight(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep: RESULTS/NAME.")],
    by: Annotated[str | None, typer.Option(help="The metric; default: the first objective.")] = None,
    family: Annotated[str | None, typer.Option(help="Only forest, cnn or gan; default: all, and each.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")] = False,
) -> None:
    """What a search learned: what matters, ranges that were too narrow, families, how stable the order is."""
    from mrisynth.results.index import open_index
    from mrisynth.results.insight.summary import insight as ask
    from mrisynth.results.store import open_sweep

    answer = ask(open_index(open_sweep(sweep)), by=by, family=family)
    if as_json:
        show_json(answer)
        return
    refused = all(found["refusal"] for found in answer["importance"])
    for found in answer["importance"][: 1 if refused else None]:
        _show_importance(answer, found)
    for edge in answer["edges"]:
        show(f"{edge['family']}: {edge['sentence']}" if edge["family"] else edge["sentence"])
    _show_families(answer)
    _show_stability(answer)
    say(f"as pictures: {program()} dashboard {sweep.parent}, page Analysis")


def _show_importance(answer: dict[str, Any], found: dict[str, Any]) -> None:
    whose = found["family"] or "all families"
    if found["refusal"]:
        show(f"{whose}: {found['refusal']}")
        return
    title = (
        f"{answer['sweep']}: what matters for {found['metric']}, {whose}; {found['counted']}. Share of the variance of "
        f"their order (least and most of several repeats); columns of chance reached {_share(found['noise'])}"
    )
    rows = [
        [
            each["path"],
            _share(each["share"]),
            f"{_share(each['low'])} to {_share(each['high'])}",
            "" if each["above_noise"] else "may be chance",
            str(each["trials"]),
        ]
        for each in found["parameters"]
    ]
    show_table(title, ["parameter", "share", "spread", "", "trials"], rows, right={"share", "spread", "trials"})


def _show_families(answer: dict[str, Any]) -> None:
    keys = ("least", "lower", "median", "upper", "most")
    rows = [[each["family"], str(each["trials"]), *[f"{each[key]:.4g}" for key in keys]] for each in answer["families"]]
    if rows:
        heads = ["completed", "least", "lower quarter", "median", "upper quarter", "most"]
        show_table(f"{answer['by']} of the families", ["family", *heads], rows, right=set(heads))
    for rung in answer["rungs"]:
        if rung["pruned"]:
            show(
                f"{rung['family']}: of {rung['reached']} trials that reached {rung['fraction']:.0%} of their epochs, "
                f"{rung['pruned']} ended there"
            )


def _show_stability(answer: dict[str, Any]) -> None:
    seeds, subjects = answer["seeds"], answer["subjects"]
    if seeds["refusal"]:
        show(seeds["refusal"])
    else:
        tau = "" if seeds["tau"] is None else f"; Kendall's tau between the orders of two seeds {seeds['tau']:.2f}"
        show(
            f"seeds: {len(seeds['repeated'])} configurations ran with several; between them {answer['by']} deviates by "
            f"{seeds['seed_deviation']:.3g}{tau}"
        )
    if not subjects["refusal"]:
        best = subjects["places"][0]
        show(
            f"subjects: without any one of {subjects['subjects']}, trial {best['trial']} (the best) has place "
            f"{best['best']:g} to {best['worst']:g} of {len(subjects['places'])}"
        )


def _share(value: float) -> str:
    return f"{value:.0%}"
