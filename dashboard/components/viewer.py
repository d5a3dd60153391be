"""A slice of one trial: five pictures, one grey window, one signed scale."""

import streamlit as st
from components import slicing
from components.slicing import Chosen

from mrisynth.results.pictures import panel, png
from mrisynth.results.store import SweepDirectory


def show(sweep: SweepDirectory, trial: int, chosen: Chosen) -> None:
    """The panel of the chosen slice, computed from the arrays."""
    made = slicing.generated(sweep, trial, chosen.shown)
    if isinstance(made, str):
        st.info(f"Trial {trial}: {made}.", icon=":material/image:")
        return
    shown, window = chosen.shown, chosen.window
    picture = panel(
        shown.low[chosen.position],
        made.values(chosen.position),
        shown.high[chosen.position],
        window=window,
        spacing=shown.spacing,
        title=f"trial {trial}, {shown.subject}, slice {chosen.index}",
    )
    # Without a width in pixels and a format Streamlit shrinks wide pictures and turns all into JPEG.
    st.image(png(picture), width=picture.width, output_format="PNG")
    st.caption(
        f"Low, generated and high share one grey window: black is {window.black:.2f}, white is {window.white:.2f}, on "
        "intensities from 0 to 1. Both differences share one scale: white where the images are equal, red where the "
        f"generated one is darker, blue where it is brighter, up to ±{window.limit:.2f}."
    )
