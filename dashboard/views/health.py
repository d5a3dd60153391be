"""Who made a sweep and who drives it, what its files are and whether they are whole, and what its metrics mean."""

import platform
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st
from components import reading, words
from components.selection import chosen_sweep
from components.words import plain

from mrisynth import __version__
from mrisynth.results import health
from mrisynth.results.index import Index
from mrisynth.results.records import moment, read_mapping
from mrisynth.results.store import SweepDirectory, sweep_state
from mrisynth.words import size_in_words

UNKNOWN = "not recorded"


def _here() -> None:
    """What shows this page."""
    folder = reading.results_folder()
    free = health.free_space(folder)
    _facts(
        [
            ("mrisynth", __version__),
            ("Python", platform.python_version()),
            ("Streamlit", st.__version__),
            ("results folder", str(folder)),
            ("free on its disk", size_in_words(free) if free is not None else UNKNOWN),
        ]
    )


def _driver(sweep: SweepDirectory, live: bool) -> None:
    """Who drives the sweep; drawn again every few seconds while it runs."""
    state = sweep_state(sweep)
    if live and state != "running":
        st.rerun()
    sign, holder = health.last_sign(sweep), health.lease(sweep)
    _facts([("state", f"{state}: {words.STATES[state][1]}"), *_sign("sign of life", sign), *_sign("lease", holder)])


def _sign(name: str, sign: health.Sign | None) -> list[tuple[str, str]]:
    """The rows of a sign of life or of a lease."""
    if sign is None:
        return [(name, "none")]
    when = words.ago(sign.time, datetime.now(UTC)) if sign.time else "at an unknown time"
    return [(name, f"{when}, by process {sign.pid} on {sign.host}")]


def _code(sweep: SweepDirectory) -> None:
    made = health.made_by(sweep)
    if not made:
        st.caption("The sweep's folder does not say which code began it (no lineage.json).")
        return
    _facts(list(made.items()))
    if made.get("mrisynth", __version__) != __version__:
        st.info(
            plain(
                f"mrisynth {made['mrisynth']} began this sweep, and {__version__} shows it: older sweeps stay readable."
            ),
            icon=":material/info:",
        )


def _index(sweep: SweepDirectory, index: Index) -> None:
    manifest = index.manifest
    standing = read_mapping(sweep.index / "manifest.json").get("written") == manifest["written"]
    written = words.ago(when, datetime.now(UTC)) if (when := moment(manifest["written"])) else UNKNOWN
    if not standing:
        written = "just now, from the trials' folders"
    _facts(
        [
            ("form", f"version {manifest['schema_version']}, by mrisynth {manifest.get('program') or UNKNOWN}"),
            ("written", written),
            ("trials", f"{index.trials.num_rows:,}"),
            ("numbers by epoch", f"{index.history.num_rows:,}"),
            ("scores of subjects", f"{index.subjects.num_rows:,}"),
            *((each["file"], size_in_words(each["bytes"])) for each in health.index_files(sweep)),
        ]
    )
    forms = [f"{each['file']} {each['version'] or UNKNOWN} (up to {each['known']})" for each in health.schemas(sweep)]
    st.caption(plain(f"Versions of files, and up to which this program reads them: {', '.join(forms)}."))


def _damages(sweep: SweepDirectory, index: Index) -> None:
    """What could not be read; why the index could not stands above every page, and not here again."""
    found = health.damages(sweep, index)
    if reading.index_error(sweep) is not None:
        st.caption("Without an index that can be read, every look at the sweep reads all trials' folders.")
    elif not found:
        st.success("Everything in the sweep's folder that was looked at could be read.", icon=":material/check_circle:")
    for sentence in found:
        st.warning(plain(f"{sentence[:1].upper()}{sentence[1:]}."), icon=":material/warning:")


def _glossary(index: Index) -> None:
    """Every metric that the sweep knows: what it is, which way is better, its formula and its settings."""
    described: dict[str, dict[str, Any]] = index.manifest["metrics"]
    if not described:
        st.caption("The index does not describe its metrics.")
        return
    st.caption(
        "Each is one number a subject, from stitched slices; a trial's value is the mean over subjects. g is the "
        "generated slice and h the true high-field one, intensities on 0 to 1; M is the tissue mask."
    )
    for name, metric in described.items():
        left, right = st.columns([1, 3])
        aim = ", an objective of this sweep" if name in index.objectives else ""
        left.markdown(f"**{plain(words.metric_label(index, name))}**")
        left.caption(plain(f"{_better(index, name)}; {_range(metric.get('range'))}{aim}"))
        right.markdown(plain(metric.get("description") or "Not described in this sweep."))
        if metric.get("formula"):
            right.code(metric["formula"], language=None, wrap_lines=True)
        if metric.get("settings"):
            right.caption(plain(metric["settings"]))
    if not any("formula" in metric for metric in described.values()):
        st.caption("An older mrisynth wrote this index, without formulas: they stand in docs/metrics.md.")


def _better(index: Index, metric: str) -> str:
    return "more is better" if index.direction(metric) == "maximize" else "less is better"


def _range(bounds: Any) -> str:
    """The range of a metric: "-1 to 1", "from 0", "up to 100"."""
    low, high = bounds if isinstance(bounds, list) and len(bounds) == 2 else (None, None)
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"from {low:g}" if low is not None else f"up to {high:g}" if high is not None else "without bounds"


def _facts(rows: list[tuple[str, str]]) -> None:
    """Names and values, as a table of text."""
    frame = pd.DataFrame([(plain(name), plain(value)) for name, value in rows], columns=["", " "])
    st.table(frame.set_index(""), hide_header=True, border="horizontal", width="content")


def _view(sweep: SweepDirectory) -> None:
    index = reading.load_index(sweep)
    live = sweep_state(sweep) == "running"
    left, right = st.columns(2)
    with left:
        st.subheader(f"Driver of {plain(sweep.name)}", anchor=False)
        st.fragment(_driver, run_every=reading.EVERY if live else None)(sweep, live)
        st.subheader("Code that began it", anchor=False)
        _code(sweep)
    with right:
        st.subheader("Index", anchor=False)
        _index(sweep, index)
    st.subheader("What could not be read", anchor=False)
    _damages(sweep, index)
    st.subheader("Metrics", anchor=False)
    _glossary(index)


st.title("Health", anchor=False)
st.subheader("This dashboard", anchor=False)
_here()
if sweep := chosen_sweep():
    _view(sweep)
