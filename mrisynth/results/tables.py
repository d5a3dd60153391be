"""The index's tables: put together from what each trial adds to them, and taken apart into that again."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from mrisynth.results.records import TrialRecord, flatten

_FIELDS = {
    "trial": pa.int64(),
    "name": pa.string(),
    "retry_of": pa.int64(),
    "outcome": pa.string(),
    "reason": pa.string(),
    "message": pa.string(),
    "warning": pa.string(),
    "family": pa.string(),
    "generator": pa.string(),
    "adversary": pa.string(),
    "epochs": pa.int64(),
    "epochs_planned": pa.int64(),
    "seconds": pa.float64(),
    "gpu": pa.float64(),
    "generator_parameters": pa.int64(),
    "adversary_parameters": pa.int64(),
    "started": pa.timestamp("ms", tz="UTC"),
    "ended": pa.timestamp("ms", tz="UTC"),
    "rung": pa.int64(),
    "host": pa.string(),
    "config": pa.string(),
    "stamp": pa.string(),
}
# In the table itself the keys are a dictionary: one for all trials, which is made last.
_HISTORY = pa.schema({"trial": pa.int64(), "epoch": pa.int64(), "key": pa.string(), "value": pa.float64()})
_SUBJECTS = pa.schema({"trial": pa.int64(), "subject": pa.string(), "metric": pa.string(), "value": pa.float64()})
VALUE, PARAMETER = "value.", "param."
"""What the columns of scores and of parameters begin with."""


@dataclass(frozen=True, slots=True)
class TrialRows:
    """What one trial adds to the tables.

    Attributes:
        fields: the fixed columns of its row, `stamp` among them: a value that changes when its folder does.
        values: metric to score.
        parameters: dotted path to value.
        history: its rows (trial, epoch, key, value).
        subjects: its rows (trial, subject, metric, value).
    """

    fields: Mapping[str, Any]
    values: Mapping[str, float]
    parameters: Mapping[str, Any]
    history: pa.RecordBatch
    subjects: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class Tables:
    """The three tables of an index; see `index.Index`."""

    trials: pa.Table
    history: pa.Table
    subjects: pa.Table


def rows_of(record: TrialRecord, stamp: str) -> TrialRows:
    """What a trial adds, as it was read from its folder."""
    return TrialRows(
        fields={**record.fields, "stamp": stamp},
        values=record.values,
        parameters=record.parameters,
        history=_batch([(record.number, *row) for row in record.history], _HISTORY),
        subjects=_batch([(record.number, *row) for row in record.subjects], _SUBJECTS),
    )


def join(rows: list[TrialRows]) -> Tables:
    """The tables of an index.

    Args:
        rows: of all trials, by number.
    """
    history = pa.Table.from_batches([each.history for each in rows], _HISTORY).combine_chunks()
    subjects = pa.Table.from_batches([each.subjects for each in rows], _SUBJECTS).combine_chunks()
    return Tables(_trials(rows), _with_keys(history, history["key"].dictionary_encode()), subjects)


def split(tables: Tables) -> Iterator[TrialRows]:
    """What each trial added to tables that `join` once made; joined again they are the same."""
    names = tables.trials.column_names
    metrics = [name for name in names if name.startswith(VALUE)]
    paths = [name.removeprefix(PARAMETER) for name in names if name.startswith(PARAMETER)]
    rows = tables.trials.select([*_FIELDS, *metrics]).to_pylist()
    numbers = [row["trial"] for row in rows]
    history = _batches(_with_keys(tables.history, tables.history["key"].cast(pa.string())), numbers)
    subjects = _batches(tables.subjects, numbers)
    for row, curves, scores in zip(rows, history, subjects, strict=True):
        config = dict(flatten(json.loads(row["config"] or "{}")))
        yield TrialRows(
            fields={name: row[name] for name in _FIELDS},
            values={name.removeprefix(VALUE): row[name] for name in metrics if row[name] is not None},
            parameters={path: config[path] for path in paths if path in config},
            history=curves,
            subjects=scores,
        )


def can_split(tables: Tables) -> bool:
    """Whether the tables have every column of today's; those of an older version may not."""
    return set(_FIELDS) <= set(tables.trials.column_names)


def with_today_columns(trials: pa.Table) -> pa.Table:
    """A table of trials as today's would be: what an older version did not write is empty."""
    for name, kind in _FIELDS.items():
        if name not in trials.column_names:
            trials = trials.append_column(name, pa.nulls(trials.num_rows, kind))
    return trials


def _trials(rows: list[TrialRows]) -> pa.Table:
    columns: dict[str, pa.Array] = {
        name: pa.array([each.fields.get(name) for each in rows], type) for name, type in _FIELDS.items()
    }
    columns["outcome"] = pa.array(_outcomes(rows), _FIELDS["outcome"])
    for metric in _names(each.values for each in rows):
        columns[VALUE + metric] = pa.array([each.values.get(metric) for each in rows], pa.float64())
    for path in _names(each.parameters for each in rows):
        columns[PARAMETER + path] = _parameter([each.parameters.get(path) for each in rows])
    return pa.table(columns)


def _outcomes(rows: list[TrialRows]) -> list[Any]:
    """How each trial ended; one that was stopped and that another goes on with was continued."""
    continued = {each.fields.get("retry_of") for each in rows}
    return [
        "continued" if fields["outcome"] == "pruned" and fields["trial"] in continued else fields["outcome"]
        for fields in (each.fields for each in rows)
    ]


def _parameter(values: list[Any]) -> pa.Array:
    """Numbers where all are numbers; else words, with lists as JSON."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    words = [value if isinstance(value, str) or value is None else json.dumps(value) for value in values]
    return pa.array(words, pa.string())


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _batches(table: pa.Table, numbers: list[int]) -> Iterator[pa.RecordBatch]:
    """The rows of each trial, which stand together and by number; views of the table."""
    schema = table.schema.remove_metadata()
    whole = table.replace_schema_metadata(None).combine_chunks().to_batches()
    batch = whole[0] if whole else _batch([], schema)
    trials = np.asarray(batch["trial"])
    begins, ends = np.searchsorted(trials, numbers, "left"), np.searchsorted(trials, numbers, "right")
    return (batch.slice(begin, end - begin) for begin, end in zip(begins, ends, strict=True))


def _with_keys(history: pa.Table, keys: pa.ChunkedArray) -> pa.Table:
    return history.set_column(history.column_names.index("key"), "key", keys)


def _names(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys, in the order in which they were first seen."""
    return list(dict.fromkeys(chain.from_iterable(mappings)))
