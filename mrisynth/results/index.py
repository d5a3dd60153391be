"""The index: three tables and a manifest that stand for thousands of trial folders.

Built from what the trials left on disk, finished or not; written whole by the driver; read by everyone else.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError
from mrisynth.files import read_json, refuse_newer, write_json, write_with
from mrisynth.results.records import TrialRecord, read_mapping, read_trial, stamp
from mrisynth.results.store import SweepDirectory, read_yaml, timestamp

SCHEMA_VERSION = 1
_TABLES = ("trials", "history", "subjects")
_WRITTEN = b"written"
# A driver replaces the files of an index one by one, in milliseconds; a reader that meets it in between looks again.
_LOOKS, _PAUSE = 10, 0.02

_TRIAL_FIELDS = {
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
    "generator_parameters": pa.int64(),
    "adversary_parameters": pa.int64(),
    "started": pa.timestamp("ms", tz="UTC"),
    "ended": pa.timestamp("ms", tz="UTC"),
    "rung": pa.int64(),
    "config": pa.string(),
}
_HISTORY = pa.schema(
    {"trial": pa.int64(), "epoch": pa.int64(), "key": pa.dictionary(pa.int32(), pa.string()), "value": pa.float64()}
)
_SUBJECTS = pa.schema({"trial": pa.int64(), "subject": pa.string(), "metric": pa.string(), "value": pa.float64()})


@dataclass(frozen=True, slots=True)
class Index:
    """What is known about a sweep's trials.

    Args:
        manifest: the sweep's description, objectives, metrics, baselines, budget.
        trials: one row a trial; columns `value.<metric>` and `param.<dotted path>` beside the fixed ones.
        history: one row a number: (trial, epoch, key, value), key "train.l1", "train_eval.l1" (in evaluation mode;
            absent from older records), "validation.l1" or "scores.psnr".
        subjects: one row a score: (trial, subject, metric, value).
    """

    manifest: dict[str, Any]
    trials: pa.Table
    history: pa.Table
    subjects: pa.Table

    @property
    def objectives(self) -> dict[str, str]:
        """Metric to "maximize" or "minimize", the first one leading."""
        objectives: dict[str, str] = self.manifest["objectives"]
        return objectives

    @property
    def metrics(self) -> list[str]:
        """The metrics that have a column."""
        return [name.removeprefix("value.") for name in self.trials.column_names if name.startswith("value.")]

    @property
    def parameters(self) -> list[str]:
        """The dotted paths that have a column."""
        return [name.removeprefix("param.") for name in self.trials.column_names if name.startswith("param.")]

    def direction(self, metric: str) -> str:
        """Whether more ("maximize") or less ("minimize") of a metric is better."""
        described = self.manifest["metrics"].get(metric, {}).get("direction")
        return str(self.objectives.get(metric) or described or "maximize")


class Indexer:
    """Builds the index of a sweep again and again, reading only the trials that changed since.

    Args:
        sweep: the sweep.
        metrics: name to {"unit", "direction", "range", "description"}.
        config_schema: the JSON Schema of a trial's configuration.
        searched: the dotted paths that the search varies.
            What is not given is taken from the manifest that stands already, if any.
    """

    def __init__(
        self,
        sweep: SweepDirectory,
        *,
        metrics: Mapping[str, Mapping[str, Any]] | None = None,
        config_schema: Mapping[str, Any] | None = None,
        searched: Iterable[str] | None = None,
    ) -> None:
        self._sweep = sweep
        standing = read_mapping(sweep.index / "manifest.json")
        self._described = {
            "metrics": dict(metrics) if metrics is not None else standing.get("metrics", {}),
            "config_schema": dict(config_schema) if config_schema is not None else standing.get("config_schema", {}),
            "searched": list(searched) if searched is not None else standing.get("searched", []),
        }
        self._known: dict[int, tuple[object, TrialRecord]] = {}

    def build(self) -> Index:
        """The index of what stands on disk now."""
        records = [self._record(number) for number in (each.number for each in self._sweep.trial_directories())]
        return Index(
            manifest=_manifest(self._sweep, self._described),
            trials=_trials(records),
            history=_history(records),
            subjects=_subjects(records),
        )

    def _record(self, number: int) -> TrialRecord:
        directory = self._sweep.trial(number)
        now = stamp(directory)
        if number not in self._known or self._known[number][0] != now:
            self._known[number] = (now, read_trial(directory))
        return self._known[number][1]


def build_index(sweep: SweepDirectory, **described: Any) -> Index:
    """The index of what stands on disk now; see `Indexer` for what may be described."""
    return Indexer(sweep, **described).build()


def write_index(sweep: SweepDirectory, index: Index) -> None:
    """Write an index: each file whole, the manifest last."""
    sweep.index.mkdir(parents=True, exist_ok=True)
    written = index.manifest["written"]
    for name in _TABLES:
        table = getattr(index, name).replace_schema_metadata({_WRITTEN: written.encode()})
        write_with(sweep.index / f"{name}.parquet", partial(pq.write_table, table))
    write_json(sweep.index / "manifest.json", index.manifest)


def read_index(sweep: SweepDirectory) -> Index:
    """The index that the driver wrote last.

    Raises:
        NotFoundError: none was written yet.
        InvalidInputError: it is broken; rebuilding repairs it.
    """
    for _ in range(_LOOKS):
        index, together = _read(sweep)
        if together:
            break
        time.sleep(_PAUSE)
    return index


def open_index(sweep: SweepDirectory) -> Index:
    """The index that the driver wrote, or one built now where there is none or it is broken."""
    try:
        return read_index(sweep)
    except MrisynthError:
        return build_index(sweep)


def _read(sweep: SweepDirectory) -> tuple[Index, bool]:
    """The index, and whether all its files were written together."""
    manifest = _checked_manifest(sweep.index / "manifest.json")
    tables = [_read_table(sweep.index / f"{name}.parquet") for name in _TABLES]
    written = manifest["written"].encode()
    together = all((table.schema.metadata or {}).get(_WRITTEN) == written for table in tables)
    return Index(manifest, *tables), together


def _checked_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = read_json(path)
    except ValueError:
        raise InvalidInputError(f"{path} is not valid JSON") from None
    expected = {"sweep": str, "objectives": dict, "metrics": dict, "baselines": dict, "budget": dict, "written": str}
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(k), v) for k, v in expected.items()):
        raise InvalidInputError(f"{path} is not the manifest of an index")
    if not isinstance(version := manifest.get("schema_version"), int):
        raise InvalidInputError(f"{path} is not the manifest of an index: its schema_version is {version}")
    refuse_newer(path, version, SCHEMA_VERSION)
    return manifest


def _read_table(path: Path) -> pa.Table:
    try:
        return pq.ParquetFile(path).read()  # `read_table` imports all of pyarrow.dataset, which takes longer
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path} is not a table of an index: {error}") from None


def _manifest(sweep: SweepDirectory, described: Mapping[str, Any]) -> dict[str, Any]:
    try:
        asked = read_yaml(sweep.sweep_yaml)
    except MrisynthError:
        asked = {}
    baselines = read_mapping(sweep.baselines)
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": sweep.name,
        "description": asked.get("description") or "",
        "data_key": asked.get("data_key"),
        "objectives": asked.get("objectives") or {},
        "baselines": {name: baselines[name] for name in ("identity", "matched") if name in baselines},
        "budget": asked.get("budget") or {},
        **described,
        "written": timestamp(),
    }


def _trials(records: list[TrialRecord]) -> pa.Table:
    columns: dict[str, pa.Array] = {
        name: pa.array([record.fields.get(name) for record in records], type) for name, type in _TRIAL_FIELDS.items()
    }
    for metric in _names(record.values for record in records):
        columns[f"value.{metric}"] = pa.array([record.values.get(metric) for record in records], pa.float64())
    for path in _names(record.parameters for record in records):
        columns[f"param.{path}"] = _parameter([record.parameters.get(path) for record in records])
    return pa.table(columns)


def _parameter(values: list[Any]) -> pa.Array:
    """Numbers where all are numbers; else words, with lists as JSON."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    words = [value if isinstance(value, str) or value is None else json.dumps(value) for value in values]
    return pa.array(words, pa.string())


def _history(records: list[TrialRecord]) -> pa.Table:
    rows = [(record.number, *row) for record in records for row in record.history]
    return _table(rows, _HISTORY)


def _subjects(records: list[TrialRecord]) -> pa.Table:
    rows = [(record.number, *row) for record in records for row in record.subjects]
    return _table(rows, _SUBJECTS)


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def _names(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys, in the order in which they were first seen."""
    return list(dict.fromkeys(chain.from_iterable(mappings)))
