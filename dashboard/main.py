"""The dashboard: `streamlit run dashboard/main.py -- RESULTS`, or with RESULTS in MRISYNTH_RESULTS."""

from pathlib import Path

import streamlit as st
from components import access, reading, selection
from components.words import plain

from mrisynth.errors import MrisynthError

PAGES = [
    st.Page("views/sweeps.py", title="Sweeps", icon=":material/list:", default=True),
    st.Page("views/overview.py", title="Overview", icon=":material/monitoring:", url_path="overview"),
    st.Page("views/trials.py", title="Trials", icon=":material/table_rows:", url_path="trials"),
    st.Page("views/trial.py", title="Trial", icon=":material/imagesmode:", url_path="trial"),
    st.Page("views/compare.py", title="Compare", icon=":material/compare:", url_path="compare"),
    st.Page("views/gallery.py", title="Gallery", icon=":material/grid_view:", url_path="gallery"),
    st.Page("views/volume.py", title="Volume", icon=":material/view_in_ar:", url_path="volume"),
    st.Page("views/analysis.py", title="Analysis", icon=":material/insights:", url_path="analysis"),
    st.Page("views/cohort.py", title="Cohort", icon=":material/groups:", url_path="cohort"),
    st.Page("views/health.py", title="Health", icon=":material/vital_signs:", url_path="health"),
]

# The icon is a file of ours: a named one would be fetched from Google.
st.set_page_config(page_title="mrisynth", page_icon=str(Path(__file__).parent / "icon.svg"), layout="wide")
page = st.navigation(PAGES)
try:
    if access.admit():
        folder = reading.results_folder()
        with st.sidebar:
            selection.choose(reading.sweeps(folder))
            st.caption("Results folder")
            st.text(str(folder))  # `st.code` would load 1.5 MB of JavaScript that colours code, on every page
        page.run()
except MrisynthError as error:
    sentence = str(error)
    st.error(plain(f"{sentence[:1].upper()}{sentence[1:]}."), icon=":material/error:")
