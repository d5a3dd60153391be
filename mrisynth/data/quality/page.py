"""The page of a cohort: one HTML file that needs neither network nor script."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mrisynth.data.quality.figures import FEWEST, FIGURES, LIMIT, Assessment, assess
from mrisynth.data.quality.pictures import draw_histograms, write_picture
from mrisynth.data.store.prepared import open_cohort
from mrisynth.data.store.records import name_of, quoted
from mrisynth.files import write_bytes

_HERE = Path(__file__).parent


def write_page(store: Path, folder: Path) -> Path:
    """Write FOLDER/quality.html and each subject's picture as a PNG in FOLDER/pictures; returns the page's path."""
    found = assess(store)
    environment = Environment(
        loader=FileSystemLoader(_HERE, encoding="utf-8"), autoescape=True, undefined=StrictUndefined
    )
    html = environment.get_template("page.html").render(
        store=name_of(store),
        quoted_store=quoted(store),
        data_key=open_cohort(store).data_key,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        figures=FIGURES,
        rule=_rule(len(found)),
        summary=_summary(found),
        subjects=[_subject(one, folder / "pictures") for one in found],
    )
    path = folder / "quality.html"
    write_bytes(path, html.encode())
    return path


def describe_decision(one: Assessment) -> str:
    """What was decided about a subject, in a sentence; empty where nothing was."""
    decision = one.decision
    if decision is None:
        return ""
    reason = f": {decision.reason}" if decision.reason else ""
    stale = " (on an earlier preparation of it: look again)" if one.stale else ""
    return f"{decision.verdict} by {decision.who} on {decision.when[:16].replace('T', ' ')} UTC{reason}{stale}"


def verdict(one: Assessment) -> str:
    """One or two words on a subject: what a person decided, or else what was found."""
    if one.decision and not (one.stale and one.decision.verdict == "accepted"):
        return one.decision.verdict
    return "look: alarm" if one.alarms else "look: outlier" if one.outliers else "good"


def _summary(found: Sequence[Assessment]) -> str:
    looks = [one.subject.name for one in found if verdict(one).startswith("look")]
    excluded = sum(verdict(one) == "excluded" for one in found)
    text = f"Look at {', '.join(looks)}." if looks else "No subject waits for a decision."
    return f"{text} {excluded} excluded." if excluded else text


def _rule(subjects: int) -> str:
    rule = "Red (alarm): a fixed limit is broken, whatever the cohort looks like. "
    if subjects < FEWEST:
        return f"{rule}Outliers are not told: {subjects} subjects are too few."
    few = " With so few subjects this is a hint only." if subjects < 10 else ""
    return (
        f"{rule}Amber (outlier): worse than the median of the cohort (n = {subjects}) by more than {LIMIT} robust "
        f"deviations.{few}"
    )


def _subject(one: Assessment, folder: Path) -> dict[str, Any]:
    word = verdict(one)
    marks = {"look: alarm": "bad", "look: outlier": "odd", "excluded": "soft"}
    return {
        "name": one.subject.name,
        "split": one.subject.split,
        "verdict": word,
        "mark": marks.get(word, "good"),
        "cells": [_cell(one, at) for at in range(len(FIGURES))],
        "alarms": one.alarms,
        "outliers": one.outliers,
        "decision": describe_decision(one),
        "picture": _url(write_picture(one.subject, folder)),
        "histograms": _url(draw_histograms(one.subject)),
    }


def _cell(one: Assessment, at: int) -> dict[str, str]:
    """One figure in the table; a dash where it is not known."""
    figure = FIGURES[at]
    value = one.values[figure.name]
    if value is None:
        return {"text": "–", "mark": ""}  # noqa: RUF001
    fixed = (figure.name == "jacobian_min" and value <= 0) or (figure.name == "mirrored" and value > 0.1)
    mark = "bad" if fixed else "odd" if one.scores.get(figure.name, 0) > LIMIT else ""
    return {"text": f"{value:.{figure.digits}f}", "mark": mark}


def _url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
