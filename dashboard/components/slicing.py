"""Which subject's slice is looked at, and the window in which it is shown."""

from dataclasses import dataclass, replace

import streamlit as st
from components import links, reading
from components.words import plain

from mrisynth.errors import MrisynthError, NotFoundError
from mrisynth.results.pictures import Window, shared_window
from mrisynth.results.slices import ShownSlices, StoredSlices
from mrisynth.results.store import SweepDirectory


@dataclass(frozen=True, slots=True)
class Chosen:
    """The slice that is looked at.

    Args:
        shown: the slices of its subject.
        position: its place among them.
        window: grey levels and limit of the differences, shared by all images on the page.
    """

    shown: ShownSlices
    position: int
    window: Window

    @property
    def index(self) -> int:
        """Its number in the volume."""
        return self.shown.indices[self.position]

    @property
    def words(self) -> str:
        """Which slice it is, as a caption says it."""
        return f"{self.shown.subject}, slice {self.index} of axis {self.shown.axis}"


def choose(sweep: SweepDirectory) -> Chosen | None:
    """Boxes for subject, slice and window; says why where there is nothing to choose."""
    subjects = reading.shown_subjects(sweep)
    if not subjects:
        st.info(
            "The slices of this sweep's subjects are not in its folder (cohort/slices), so there is nothing to show. "
            "Where the sweep was copied from elsewhere, copy its whole folder.",
            icon=":material/image_not_supported:",
        )
        return None
    left, right = st.columns([1, 3])
    subject = links.pick(left.selectbox, "subject", subjects, subjects[0], label="Subject (validation)")
    try:
        shown = reading.load_shown(sweep, subject)
    except MrisynthError as error:
        st.warning(plain(f"The slices of {subject} cannot be read: {error}."), icon=":material/warning:")
        return None
    if not shown.indices:
        st.info(f"No slice of {plain(subject)} is stored.", icon=":material/image_not_supported:")
        return None
    middle = shown.indices[len(shown.indices) // 2]
    index = links.pick(
        right.select_slider,
        "slice",
        shown.indices,
        middle,
        label=f"Slice (of axis {shown.axis})",
        disabled=len(shown.indices) < 2,
    )
    return Chosen(shown, shown.indices.index(index), window_of(shown))


def step(by: int, shown: ShownSlices) -> None:
    """Go to the next slice or the one before, as far as there is one."""
    asked = st.query_params.get("slice", "")
    names = [str(index) for index in shown.indices]
    now = names.index(asked) if asked in names else len(names) // 2
    links.write("slice", shown.indices[min(max(now + by, 0), len(shown.indices) - 1)])


def generated(sweep: SweepDirectory, trial: int, shown: ShownSlices) -> StoredSlices | str:
    """What a trial made of a subject's slices, or in a sentence why it cannot be shown."""
    try:
        stored = reading.load_stored(sweep.trial(trial).images, shown.subject)
    except NotFoundError:
        return "no picture: they are written at rungs and at the end"
    except MrisynthError:
        return "its picture is damaged; copy it again from where the sweep ran"
    if stored.steps.shape != shown.low.shape:
        return "its picture is of another cohort: the slices do not fit"
    return stored


def window_of(shown: ShownSlices) -> Window:
    """The shared window, from the subject's high slices unless the reader sets another one."""
    standard = shared_window(shown.low, shown.high)
    with st.expander("Grey window and difference scale"):
        if not st.toggle("Set by hand", key="by_hand", bind="query-params"):
            st.caption(f"Chosen from the slices: {standard.origin}; the same for every trial of this sweep.")
            return standard
        left, right = st.columns(2)
        black, white = left.slider(
            "Black and white (intensity)",
            -0.2,
            1.5,
            (standard.black, standard.white),
            0.01,
            key="grey",
            bind="query-params",
        )
        limit = right.slider(
            "Largest difference (darkest colour)", 0.01, 1.0, standard.limit, 0.01, key="limit", bind="query-params"
        )
    return replace(standard, black=black, white=max(white, black + 0.01), limit=limit, origin="intensity, set by hand")
