"""Two to eight trials on the same subject and slice, in one window; where they differ; and whether that is real."""

from typing import Any

import streamlit as st
from components import lineage, links, pairs, panels, profiles, reading, slicing, words
from components.panels import Panel
from components.selection import chosen_sweep, no_trials
from components.slicing import Chosen
from components.words import plain

from mrisynth.results.index import Index
from mrisynth.results.leaderboard import first_objective
from mrisynth.results.pictures import png
from mrisynth.results.sheets import Labelled, sheet
from mrisynth.results.store import SweepDirectory

MOST = 8


def _view(sweep: SweepDirectory) -> None:
    st.title(f"Compare trials of {plain(sweep.name)}", anchor=False)
    index = reading.load_index(sweep)
    rows = reading.trial_rows(index)
    if not rows:
        no_trials(sweep)
        return
    trials = _choose(index, rows)
    if not trials:
        st.info("Choose two to eight trials above to see them side by side.", icon=":material/compare:")
        return
    st.fragment(_pictures)(sweep, index, [rows[trial] for trial in trials])
    st.subheader("Is the difference real?", anchor=False)
    metrics = list(dict.fromkeys([*index.objectives, *index.metrics]))
    pairs.show(index, trials, metrics)
    st.subheader("Settings that differ", anchor=False)
    _settings([rows[trial] for trial in trials])


def _choose(index: Index, rows: dict[int, dict[str, Any]]) -> list[int]:
    """The box of trials, kept in step with the URL; the two best where the URL names none."""
    metric = first_objective(index)
    order = reading.ranking(index)
    asked = links.read_trials("trials", order)
    if len(asked) > MOST:
        st.warning(f"Only the first {MOST} of these {len(asked)} trials are shown.", icon=":material/filter_alt:")
    scored = [trial for trial in order if rows[trial].get(f"value.{metric}") is not None]
    named = "trials" in st.query_params
    st.session_state["compared"] = asked[:MOST] if named else scored[:2]
    labels = reading.trial_labels(index, metric)
    return st.multiselect(
        f"Trials (up to {MOST}, best first)",
        order,
        key="compared",
        max_selections=MOST,
        format_func=labels.get,
        on_change=lambda: st.query_params.update(trials=",".join(map(str, st.session_state["compared"]))),
        placeholder="choose trials",
    )


def _pictures(sweep: SweepDirectory, index: Index, rows: list[dict[str, Any]]) -> None:
    """All that changes with the slice; drawn again alone."""
    chosen = slicing.choose(sweep)
    if chosen is None:
        return
    found, absent = _panels(sweep, index, rows, chosen)
    for row, why in absent:
        st.caption(f":material/image_not_supported: Trial {row['trial']}: {why}.")
    view, reference, swipe = _look(found)
    profile = profiles.choose(chosen)
    panels.draw(found, chosen, view=view, reference=reference, swipe=swipe, profile=profile, pointed=profiles.pointed)
    profiles.show(found, chosen, profile)
    _download(sweep, found, chosen, reference)


def _panels(
    sweep: SweepDirectory, index: Index, rows: list[dict[str, Any]], chosen: Chosen
) -> tuple[list[Panel], list[tuple[dict[str, Any], str]]]:
    """Low, the trials and high; and the trials that have no such picture, with the reason."""
    metric, subject = first_objective(index), chosen.shown.subject
    scores = pairs.subject_scores(index, [row["trial"] for row in rows], metric)
    unit = words.unit(index, metric)

    def detail(who: str) -> str:
        value = scores.get(who, {}).get(subject)
        return "" if value is None else f"{metric} {words.number(value)}" + (f" {unit}" if unit else "")

    scans = sweep.slices / subject
    found = [Panel("low", "low", detail("identity"), reading.load_stored(scans, "low"))]
    absent = []
    for row in rows:
        stored = slicing.generated(sweep, row["trial"], chosen.shown)
        if isinstance(stored, str):
            absent.append((row, stored))
            continue
        found.append(Panel(str(row["trial"]), words.trial_title(row), detail(f"trial {row['trial']}"), stored))
    return [*found, Panel("high", "high", "the truth", reading.load_stored(scans, "high"))], absent


def _look(found: list[Panel]) -> tuple[str, str, tuple[str, str]]:
    """How the panels are shown: which view, what is subtracted, which two are swiped."""
    left, middle, right = st.columns([2, 1, 1])
    view = links.pick(
        left.segmented_control,
        "view",
        list(panels.VIEWS),
        "both",
        label="Show",
        format_func=lambda each: panels.VIEWS[each],
        required=True,
    )
    titles = {panel.key: panel.title for panel in found}
    if view == "swipe":
        keys = list(titles)
        first = links.pick(
            middle.selectbox, "left", keys, keys[min(1, len(keys) - 1)], label="Left", format_func=titles.get
        )
        second = links.pick(right.selectbox, "right", keys, "high", label="Right", format_func=titles.get)
        return view, "high", (first, second)
    names = {"high": "high: what is left wrong", "low": "low: what was changed"}
    reference = "high"
    if view != "images":
        reference = links.pick(
            middle.selectbox, "minus", list(names), "high", label="Difference to", format_func=names.get
        )
    return view, reference, ("low", "high")


def _download(sweep: SweepDirectory, found: list[Panel], chosen: Chosen, reference: str) -> None:
    """The panels as one PNG with a caption, drawn only when somebody asks for it."""
    window, position = chosen.window, chosen.position
    scores = ", ".join(f"{panel.title} {panel.detail}" for panel in found if panel.detail and panel.key != "high")
    caption = (
        f"Sweep {sweep.name}, subject {chosen.words}. Grey from {window.black:.2f} to {window.white:.2f} "
        f"({window.origin}). Differences to {reference}: blue brighter, red darker, up to {window.limit:.2f}. "
        + (f"Means over the slices of this subject: {scores}. " if scores else "")
        + "n = 1 slice."
    )

    def picture() -> bytes:
        images = {panel.key: Labelled(panel.title, panel.image(position)) for panel in found}
        spacing = chosen.shown.spacing
        return png(sheet([*images.values()], images[reference], window=window, spacing=spacing, caption=caption))

    name = f"{sweep.name}-{chosen.shown.subject}-{chosen.index}.png"
    st.download_button("Download as PNG, with caption", picture, name, "image/png", icon=":material/download:")


def _settings(rows: list[dict[str, Any]]) -> None:
    """Only the parameters in which these trials differ."""
    table = lineage.difference_table(rows, [f"trial {row['trial']}" for row in rows])
    if table.empty:
        st.caption("These trials have the same settings." if len(rows) > 1 else "Choose a second trial.")
    else:
        st.dataframe(table, hide_index=True)


if sweep := chosen_sweep():
    _view(sweep)
