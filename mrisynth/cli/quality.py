"""`mrisynth data quality`: look at a prepared cohort, and decide who stays in it."""

from pathlib import Path
from typing import Annotated

import typer

from mrisynth.cli.console import say, show, show_json
from mrisynth.cli.stores import Store, name_of
from mrisynth.errors import UsageError


def quality(
    store: Store,
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the page; default: STORE/quality.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: the figures as JSON, and no page.")] = False,
    accept: Annotated[list[str] | None, typer.Option(help="A subject that was looked at and is good.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="A subject to leave out of the cohort.")] = None,
    undo: Annotated[list[str] | None, typer.Option(help="A subject about which nothing is decided any more.")] = None,
    reason: Annotated[str, typer.Option(help="Why; needed to exclude.")] = "",
) -> None:
    """One HTML page of figures and pictures, worst subject first; or write down a decision on subjects."""
    if accept or exclude or undo:
        from mrisynth.data.quality.judgement import decide

        if out is not None or as_json:
            raise UsageError("decide first, then make the page: --accept, --exclude and --undo make none")
        key = decide(store, accept=accept or (), exclude=exclude or (), undo=undo or (), reason=reason)
        say(f"written to decisions.json of {name_of(store)}; the data key is now {key}")
        return
    if reason:
        raise UsageError("--reason belongs to --accept or --exclude")
    if as_json:
        _show_figures(store)
        return
    from mrisynth.data.quality.page import write_page

    if out is not None and (blocking := next((path for path in (out, *out.parents) if path.is_file()), None)):
        raise UsageError(f"--out {out}: {blocking} is a file; name a folder for the page")
    show(str(write_page(store, out or store / "quality")))


def _show_figures(store: Path) -> None:
    from dataclasses import asdict

    from mrisynth.data.quality.figures import assess

    subjects = [
        {
            "subject": one.subject.name,
            "split": one.subject.split,
            "key": one.subject.key,
            "figures": one.values,
            "robust_z": one.scores,
            "alarms": one.alarms,
            "outliers": one.outliers,
            "decision": asdict(one.decision) if one.decision else None,
            "decided_on_this_preparation": one.decision is not None and not one.stale,
        }
        for one in assess(store)
    ]
    show_json({"subjects": subjects})
