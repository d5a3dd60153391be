"""What the pages show: read through `mrisynth.results` only, and kept until it changes on disk."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st
from components.words import trial_label

from mrisynth.errors import MrisynthError, UsageError
from mrisynth.results.index import Index, Indexer, read_index
from mrisynth.results.leaderboard import ranking as rank
from mrisynth.results.slices import Floats, ShownSlices, StoredSlices, read_shown, read_slices, read_stored
from mrisynth.results.store import SweepDirectory, list_sweeps, read_yaml

VARIABLE = "MRISYNTH_RESULTS"

EVERY = "5s"
"""How often what runs is read and drawn again."""


def results_folder() -> Path:
    """The folder named on the command line, else in the environment.

    Raises:
        UsageError: neither names one.
    """
    named = sys.argv[1] if len(sys.argv) > 1 else os.environ.get(VARIABLE)
    if not named:
        raise UsageError(f"no results folder was named: run `mrisynth dashboard RESULTS`, or set {VARIABLE}")
    return Path(named).absolute()


def sweeps(folder: Path) -> dict[str, SweepDirectory]:
    """The sweeps by name, the one with the latest sign of life first."""
    return {sweep.name: sweep for sweep in sorted(list_sweeps(folder), key=_latest, reverse=True)}


def load_index(sweep: SweepDirectory) -> Index:
    """The sweep's index as it stands now."""
    try:
        return _last(str(sweep.root)).read(sweep)
    except MrisynthError:
        return _built(str(sweep.root))


def index_error(sweep: SweepDirectory) -> MrisynthError | None:
    """Why the index that the driver wrote cannot be read, if so: then `load_index` makes one of the trials' folders."""
    try:
        _last(str(sweep.root)).read(sweep)
    except MrisynthError as error:
        return error
    return None


def asked(sweep: SweepDirectory) -> dict[str, Any]:
    """What was asked of a sweep (`sweep.yaml`); empty where its file is damaged."""
    return _kept_yaml(str(sweep.sweep_yaml), _stamp(sweep.sweep_yaml))


def trials_frame(index: Index) -> pd.DataFrame:
    """One row a trial, with the index's columns; never to be changed by the caller."""
    return _kept_trials(index, str(index.manifest["sweep"]), str(index.manifest["written"]))


def trial_rows(index: Index) -> dict[int, dict[str, Any]]:
    """Trial to its row, with the index's columns; never to be changed by the caller."""
    return _kept_rows(index, str(index.manifest["sweep"]), str(index.manifest["written"]))


def trial_labels(index: Index, metric: str) -> dict[int, str]:
    """How each trial is called in a list; never to be changed by the caller."""
    return _kept_labels(index, str(index.manifest["sweep"]), str(index.manifest["written"]), metric)


def history_frame(index: Index, trials: list[int]) -> pd.DataFrame:
    """The numbers of some trials by epoch: columns trial, epoch, part (train, validation, scores), name, value."""
    history = index.history.filter(pc.is_in(index.history["trial"], pa.array(trials, pa.int64()))).to_pandas()
    parts = history["key"].astype(str).str.split(".", n=1, expand=True)
    history["part"], history["name"] = (parts[0], parts[1]) if len(history) else ("", "")
    return history.drop(columns="key")


def ranking(index: Index, metric: str | None = None) -> list[int]:
    """The trials' numbers, best first, by a metric (default: the first objective)."""
    return _kept_ranking(index.manifest["sweep"], index.manifest["written"], metric, index)


def subject_frame(index: Index, trials: Sequence[int], metric: str | None = None) -> pd.DataFrame:
    """What some trials scored on each subject, by one metric or all: columns trial, subject, metric, value."""
    wanted = pc.is_in(index.subjects["trial"], pa.array(trials, pa.int64()))
    if metric is not None:
        wanted = pc.and_(wanted, pc.equal(index.subjects["metric"], metric))
    return index.subjects.filter(wanted).to_pandas()


def shown_subjects(sweep: SweepDirectory) -> list[str]:
    """The subjects of whom slices are kept, by name."""
    if not sweep.slices.is_dir():
        return []
    return sorted(folder.name for folder in sweep.slices.iterdir() if (folder / "slices.json").is_file())


def load_shown(sweep: SweepDirectory, subject: str) -> ShownSlices:
    """The slices that every trial is shown on; `subject` is one of `shown_subjects`."""
    folder = sweep.slices / subject
    return _kept_shown(str(folder), _stamp(folder / "slices.json"))


def read_generated(sweep: SweepDirectory, trial: int, subject: str) -> Floats:
    """What a trial made of a subject's slices, read anew: for those who keep what they make of it."""
    return read_slices(sweep.trial(trial).images, subject)


def generated_stamp(sweep: SweepDirectory, trial: int, subject: str) -> tuple[int, int]:
    """A value that changes when a trial's slices of a subject do; zeros where there are none."""
    return _stamp(sweep.trial(trial).images / f"{subject}.npz")


def load_stored(folder: Path, name: str) -> StoredSlices:
    """Slices as they are stored, 16-bit steps, exact and small.

    Args:
        folder: a trial's `images` (name: one of `shown_subjects`), or a subject's folder in `sweep.slices`.
        name: the file's name without its ending; for scans "low" or "high".
    """
    return _kept_stored(str(folder), name, _stamp(folder / f"{name}.npz"))


def _latest(sweep: SweepDirectory) -> tuple[int, str]:
    return max(_stamp(sweep.heartbeat)[0], _stamp(sweep.sweep_yaml)[0]), sweep.name


def _stamp(path: Path) -> tuple[int, int]:
    """A value that changes when the file does; zeros where there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


class _Last:
    """The last index read of one sweep. A driver writes one every few seconds: those before are let go."""

    def __init__(self) -> None:
        self._lock, self._stamp = Lock(), (0, 0)
        self._index: Index | None = None

    def read(self, sweep: SweepDirectory) -> Index:
        with self._lock:
            stamp = _stamp(sweep.index / "manifest.json")
            if self._index is None or stamp != self._stamp:
                self._index, self._stamp = read_index(sweep), stamp
            return self._index


@st.cache_resource(max_entries=512, show_spinner=False)
def _kept_yaml(path: str, stamp: tuple[int, int]) -> dict[str, Any]:
    try:
        return read_yaml(Path(path))
    except MrisynthError:
        return {}


@st.cache_resource(max_entries=16, show_spinner=False)
def _last(root: str) -> _Last:
    return _Last()


@st.cache_resource(max_entries=4, ttl=5, show_spinner="Reading the trials' folders")
def _built(root: str) -> Index:
    return _indexer(root).build()


@st.cache_resource(max_entries=4, show_spinner=False)
def _indexer(root: str) -> Indexer:
    return Indexer(SweepDirectory(Path(root)))


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept_trials(_index: Index, sweep: str, written: str) -> pd.DataFrame:
    return _index.trials.to_pandas()


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept_rows(_index: Index, sweep: str, written: str) -> dict[int, dict[str, Any]]:
    return {row["trial"]: row for row in _index.trials.to_pylist()}


@st.cache_resource(max_entries=8, show_spinner=False)
def _kept_labels(_index: Index, sweep: str, written: str, metric: str) -> dict[int, str]:
    return {trial: trial_label(row, metric) for trial, row in trial_rows(_index).items()}


@st.cache_resource(max_entries=32, show_spinner=False)
def _kept_ranking(sweep: str, written: str, metric: str | None, _index: Index) -> list[int]:
    return rank(_index, metric)


@st.cache_resource(max_entries=32, show_spinner=False)
def _kept_shown(folder: str, stamp: tuple[int, int]) -> ShownSlices:
    return read_shown(Path(folder))


@st.cache_resource(max_entries=128, show_spinner=False)
def _kept_stored(folder: str, name: str, stamp: tuple[int, int]) -> StoredSlices:
    return read_stored(Path(folder), name)
