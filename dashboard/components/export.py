"""Tables to take home."""

import io
import json

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import streamlit as st

from mrisynth.results.index import Index
from mrisynth.results.store import SweepDirectory

_OURS = ("stamp",)


def chosen(index: Index, trials: pd.Series) -> pa.Table:
    """The index's rows of some trials, in their order, with every column of the index but our own marks."""
    places = pc.index_in(pa.array(trials, pa.int64()), value_set=index.trials["trial"].combine_chunks())
    return index.trials.take(places).drop_columns([name for name in _OURS if name in index.trials.column_names])


def as_csv(table: pa.Table) -> bytes:
    """As CSV, in UTF-8; a text that a spreadsheet would run as a formula begins with an apostrophe."""
    stream = io.BytesIO()
    pyarrow.csv.write_csv(pa.table({name: _harmless(table[name]) for name in table.column_names}), stream)
    return stream.getvalue()


def as_parquet(table: pa.Table) -> bytes:
    """As Parquet, with the types of the index."""
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream)
    return stream.getvalue()


def buttons(sweep: SweepDirectory, index: Index, trials: pd.Series) -> None:
    """Download what the table shows; made when somebody asks for it."""
    with st.container(horizontal=True):
        for label, ending, kind, make in (
            ("CSV", "csv", "text/csv", as_csv),
            ("Parquet", "parquet", "application/vnd.apache.parquet", as_parquet),
        ):
            st.download_button(
                f"Export {len(trials)} trials as {label}",
                lambda make=make: make(chosen(index, trials)),
                f"{sweep.name}.{ending}",
                kind,
                icon=":material/download:",
                on_click="ignore",
            )


def yaml(sweep: SweepDirectory, index: Index, trial: int) -> str:
    """A trial's configuration as it stands in its folder, or from the index where the folder is gone."""
    try:
        return sweep.trial(trial).config.read_text(encoding="utf-8", errors="replace")
    except OSError:
        config = index.trials.filter(pc.equal(index.trials["trial"], trial))["config"].to_pylist()
        return json.dumps(json.loads(config[0] or "{}"), indent=2) if config else ""  # JSON is YAML


def _harmless(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    return pc.replace_substring_regex(column, pattern="^([=+@\\t\\r-])", replacement="'\\1")
