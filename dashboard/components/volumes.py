"""Three planes of low, generated and high volume, with one crosshair, and the error laid over the generated one."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from components import links, served

from mrisynth.errors import InvalidInputError, MrisynthError
from mrisynth.files import read_json
from mrisynth.results.pictures import Window, colours, shared_window
from mrisynth.results.store import SweepDirectory
from mrisynth.results.volumes import encode, read_grid, read_volume

_HERE = Path(__file__).parent
_LIBRARY = _HERE.parent / "vendor" / "niivue" / "niivue-0.69.0.js"
_KEY, _KIND = "volumes", "application/gzip"
_MIDDLE = [0.5, 0.5, 0.5]
_EVERY = 3  # voxels on each axis that the window is taken from: a percentile of all would take seconds

_component = st.components.v2.component(
    _KEY,
    html='<div class="volumes" tabindex="0" role="group"></div>',
    css=(_HERE / "browser" / "volumes.css").read_text(encoding="utf-8"),
    js=(_HERE / "browser" / "volumes.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The volumes of one subject, as files.

    Args:
        low, generated, high: compressed NIfTI.
        error: generated - high, cut off at the window's limit.
        window: grey levels and limit of the error.
    """

    low: bytes
    generated: bytes
    high: bytes
    error: bytes
    window: Window


def at_hand(sweep: SweepDirectory, trials: list[int]) -> dict[int, dict[str, Any]]:
    """The trials that have whole volumes, in the given order, with {"epoch", "subjects"} of each."""
    found = {}
    for trial in trials:
        try:
            described = read_json(sweep.trial(trial).volumes / "volumes.json")
            subjects = [str(name) for name in described["subjects"]]
            found[trial] = {"epoch": int(described["epoch"]), "subjects": _existing(sweep, trial, subjects)}
        except (MrisynthError, KeyError, TypeError, ValueError, OSError):
            continue
    return {trial: each for trial, each in found.items() if each["subjects"]}


def load(sweep: SweepDirectory, trial: int, subject: str) -> Loaded:
    """Everything the viewer shows; `subject` is one that `at_hand` named.

    Raises:
        NotFoundError: a file is missing.
        InvalidInputError: a file is damaged, or of another cohort than the others.
    """
    scans = sweep.volumes / subject
    paths = [scans / "low.nii.gz", sweep.trial(trial).volumes / f"{subject}.nii.gz", scans / "high.nii.gz"]
    stamps = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)
    return _kept(tuple(map(str, paths)), stamps)


def draw(loaded: Loaded, label: str) -> None:
    """Show the viewer."""
    window = loaded.window
    files = {name: getattr(loaded, name) for name in ("low", "generated", "high", "error")}
    _component(
        key=_KEY,
        data={
            "library": served.address(_library(), "text/javascript", "niivue"),
            "files": {name: served.address(data, _KIND, f"volume {name}") for name, data in files.items()},
            "window": {"black": window.black, "white": window.white, "limit": window.limit, "origin": window.origin},
            "colours": colours()[np.rint(np.linspace(0, 510, 256)).astype(int)].T.tolist(),
            "label": label,
            "at": _read_place(),
        },
        on_at_change=_moved,
    )


def _existing(sweep: SweepDirectory, trial: int, subjects: list[str]) -> list[str]:
    """Those whose files stand in the folders, by the names that are found there and not by what was written."""
    folder = sweep.trial(trial).volumes
    files = {path.name.removesuffix(".nii.gz") for path in folder.iterdir()}
    scans = {path.name for path in sweep.volumes.iterdir()} if sweep.volumes.is_dir() else set()
    return [name for name in subjects if name in files & scans]


@st.cache_resource(max_entries=4, show_spinner="Reading whole volumes")
def _kept(paths: tuple[str, ...], stamps: tuple[int, ...]) -> Loaded:
    low, generated, high = (read_volume(Path(path)) for path in paths)
    if not low.shape == generated.shape == high.shape:
        raise InvalidInputError(f"the volumes beside {paths[1]} are of different shapes")
    some = (slice(None, None, _EVERY),) * 3
    window = shared_window(low[some], high[some])
    error = np.clip(generated - high, -window.limit, window.limit)
    data = [Path(path).read_bytes() for path in paths]
    return Loaded(*data, encode(error, read_grid(Path(paths[1]))), window)


@cache
def _library() -> bytes:
    return _LIBRARY.read_bytes()


def _read_place() -> list[float]:
    """Where the crosshair stands, as parts of the volume, from the URL; the middle where it says something else."""
    try:
        place = [float(word) for word in st.query_params.get("at", "").split(",")]
    except ValueError:
        return _MIDDLE
    good = len(place) == 3 and all(math.isfinite(part) and 0 <= part <= 1 for part in place)
    return place if good else _MIDDLE


def _moved() -> None:
    place = st.session_state[_KEY].get("at") or _MIDDLE
    links.write("at", ",".join(f"{part:.4f}" for part in place))
