"""The slices of one trial: five pictures, one grey window, one signed scale."""

from dataclasses import replace

import streamlit as st
from components import reading
from components.words import plain

from mrisynth.errors import InvalidInputError, MrisynthError
from mrisynth.results.pictures import Window, panel, png, shared_window
from mrisynth.results.slices import Floats, ShownSlices
from mrisynth.results.store import SweepDirectory


def show(sweep: SweepDirectory, trial: int) -> None:
    """Choose a subject and a slice, and see the panel computed from the arrays."""
    subjects = reading.shown_subjects(sweep)
    if not subjects:
        st.info("The slices of this sweep's subjects have not been stored yet.", icon=":material/image_not_supported:")
        return
    left, right = st.columns([1, 2])
    subject = left.selectbox("Subject", subjects, key="subject", bind="query-params")
    try:
        shown = reading.load_shown(sweep, subject)
        generated = reading.load_generated(sweep, trial, subject)
    except InvalidInputError as error:
        st.warning(
            plain(
                f"A picture cannot be shown: {error}. Copy it again from where the sweep ran, or choose another one."
            ),
            icon=":material/broken_image:",
        )
        return
    except MrisynthError as error:
        st.info("This trial has no pictures: they are written at each rung and at the end.", icon=":material/image:")
        with st.expander("What is missing"):
            st.text(str(error))
        return
    if generated.shape != shown.low.shape:
        st.warning(f"The stored slices of {plain(subject)} do not fit this trial's.", icon=":material/warning:")
        return
    index = right.select_slider(
        f"Slice (of axis {shown.axis})",
        shown.indices,
        value=shown.indices[len(shown.indices) // 2],
        key="slice",
        bind="query-params",
        disabled=len(shown.indices) < 2,
    )
    _picture(shown, generated, index, f"trial {trial}, {subject}, slice {index}")


def _picture(shown: ShownSlices, generated: Floats, index: int, title: str) -> None:
    position, window = shown.indices.index(index), window_of(shown)
    picture = panel(
        shown.low[position],
        generated[position],
        shown.high[position],
        window=window,
        spacing=shown.spacing,
        title=title,
    )
    # Without a width in pixels and a format Streamlit shrinks wide pictures and turns all into JPEG.
    st.image(png(picture), width=picture.width, output_format="PNG")
    st.caption(
        f"Low, generated and high share one grey window: black is {window.black:.2f}, white is {window.white:.2f}, on "
        "intensities from 0 to 1. Both differences share one scale: white where the images are equal, red where the "
        f"generated one is darker, blue where it is brighter, up to ±{window.limit:.2f}."
    )


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
