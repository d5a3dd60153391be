"""A trial's slice stitched in several ways: its own, the paper's two, and one that was asked for."""

import json
import shlex
from typing import Any

import pandas as pd
import streamlit as st
from components import reading, words
from components.slicing import Chosen
from components.words import plain

from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError
from mrisynth.results.index import Index
from mrisynth.results.leaderboard import first_objective
from mrisynth.results.pictures import png
from mrisynth.results.seams import Stitched, stitching_sheet
from mrisynth.results.stitchings import Stitchings, Way, read_stitchings
from mrisynth.results.store import SweepDirectory

TITLES = {
    "trial": "as this trial",
    "text": "as the paper's text",
    "figures": "as the paper's figures",
    "asked": "as asked for",
}
_SEAM = "seam"


def show(sweep: SweepDirectory, index: Index, row: dict[str, Any], chosen: Chosen) -> None:
    """The chosen slice in each way, with where its seams are; else how to get there."""
    folder = sweep.trial(row["trial"]).stitchings
    try:
        found = read_stitchings(folder)
    except NotFoundError:
        _offer(sweep, row)
        return
    except InvalidInputError as error:
        st.warning(plain(f"{error}. Make it anew:"), icon=":material/broken_image:")
        _offer(sweep, row)
        return
    if row["epochs"] and found.epoch != row["epochs"]:
        st.caption(f"These are of epoch {found.epoch}; the trial has come to epoch {row['epochs']} since.")
    st.caption(
        "The same slice of the same trial: only how its patches are put together differs. A seam map shows how much "
        "the error (generated - high) changes from one pixel to the next. Orange marks at the edges say where patches "
        "meet: a seam is a bright straight line that begins at a mark."
    )
    _pictures(sweep, row["trial"], found, chosen)
    st.dataframe(_table(index, found, chosen.shown.subject), hide_index=True)
    st.caption(
        f"The scores are {plain(chosen.shown.subject)}'s, over all slices that are kept of it. *seam* compares the "
        "changes of the error across the lines where patches meet with all others: at 1 no seam shows. Where the other "
        "scores are equal, so are the images: a network that looks no further around a pixel than the crop makes the "
        "same of it in every patch."
    )


def _offer(sweep: SweepDirectory, row: dict[str, Any]) -> None:
    if row.get("param.generator") == "forest":
        st.caption("A forest makes whole slices: there is nothing to stitch.")
        return
    st.caption("To see its slices as the paper stitched, beside this trial's own way, and where patches meet:")
    command = shlex.join(["mrisynth", "evaluate", str(sweep.root / str(row["trial"])), "--stitchings"])
    st.code(command, language="bash", wrap_lines=True)


def _pictures(sweep: SweepDirectory, trial: int, found: Stitchings, chosen: Chosen) -> None:
    folder, shown = sweep.trial(trial).stitchings, chosen.shown
    ways = []
    for way, *_ in _different(found):
        try:
            stored = reading.load_stored(folder / way.name, shown.subject)
        except MrisynthError as error:
            st.caption(plain(f"{_title(way)}: {error}"))
            continue
        if stored.steps.shape == shown.low.shape and shown.subject in way.lines:
            ways.append(Stitched(_title(way), stored.values(chosen.position), way.lines[shown.subject]))
        else:
            st.caption(plain(f"{_title(way)}: these slices are of another cohort."))
    if not ways:
        return
    high, mask = shown.high[chosen.position], shown.mask[chosen.position]
    picture = stitching_sheet(ways, high, mask, window=chosen.window, spacing=shown.spacing)
    st.image(png(picture), width=picture.width, output_format="PNG")


def _table(index: Index, found: Stitchings, subject: str) -> pd.DataFrame:
    names = dict.fromkeys((first_objective(index), "psnr", "ssim", _SEAM))
    return pd.DataFrame(
        [
            {
                "stitched": ", ".join(map(_title, (way, *same))),
                "stride": way.stitching.get("stride"),
                "crop": way.stitching.get("crop"),
                "blend": way.stitching.get("blend"),
                **{words.metric_label(index, name): way.subjects.get(subject, {}).get(name) for name in names},
            }
            for way, *same in _different(found)
        ]
    )


def _different(found: Stitchings) -> list[list[Way]]:
    """The ways, those together that are the same by two names."""
    same: dict[str, list[Way]] = {}
    for way in found.ways:
        same.setdefault(json.dumps(way.stitching, sort_keys=True), []).append(way)
    return list(same.values())


def _title(way: Way) -> str:
    return TITLES.get(way.name, way.name)
