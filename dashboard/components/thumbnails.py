"""Small pictures of what trials made of one slice, for the table."""

import base64

import streamlit as st
from components import reading
from PIL import Image

from mrisynth.errors import MrisynthError
from mrisynth.results.pictures import grey, png, shared_window
from mrisynth.results.store import SweepDirectory

SIDE, MOST = 64, 60
"""The longer side in pixels, and how many trials of a table get one: each costs a file to be read."""


def of_trials(sweep: SweepDirectory, trials: list[int]) -> dict[int, str]:
    """Trial to a data URL of its middle slice of the first subject, for the first `MOST` that have one."""
    subjects = reading.shown_subjects(sweep)
    if not subjects:
        return {}
    found = {trial: _thumbnail(sweep, trial, subjects[0]) for trial in trials[:MOST]}
    return {trial: url for trial, url in found.items() if url is not None}


def _thumbnail(sweep: SweepDirectory, trial: int, subject: str) -> str | None:
    return _kept(sweep, str(sweep.root), trial, subject, reading.generated_stamp(sweep, trial, subject))


@st.cache_data(max_entries=5000, show_spinner=False)
def _kept(_sweep: SweepDirectory, root: str, trial: int, subject: str, stamp: tuple[int, int]) -> str | None:
    try:
        shown = reading.load_shown(_sweep, subject)
        generated = reading.read_generated(_sweep, trial, subject)
    except MrisynthError:
        return None
    if generated.shape != shown.high.shape:
        return None
    image = Image.fromarray(grey(generated[len(generated) // 2], shared_window(shown.low, shown.high))).convert("L")
    scale = SIDE / max(image.size)
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    return "data:image/png;base64," + base64.b64encode(png(small)).decode()
