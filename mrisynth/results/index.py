"""The index: three tables and a manifest that stand for thousands of trial folders.

Built from what the trials left on disk, finished or not; written whole by the driver; read by everyone else.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrisynth import __version__
from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError
from mrisynth.files import digest, read_json, refuse_newer, write_json, write_with
from mrisynth.results.constraints import Bound, bounds
from mrisynth.results.records import read_mapping, read_trial, stamp
from mrisynth.results.store import SweepDirectory, TrialDirectory, read_yaml, timestamp
from mrisynth.results.tables import (
    PARAMETER,
    VALUE,
    Tables,
    TrialRows,
    can_split,
    join,
    rows_of,
    split,
    with_today_columns,
)

SCHEMA_VERSION = 1
# Table to the columns that every version wrote.
_TABLES = {
    "trials": {"trial", "outcome"},
    "history": {"trial", "epoch", "key", "value"},
    "subjects": {"trial", "subject", "metric", "value"},
}
_WRITTEN = b"written"
# A driver replaces the files of an index one by one, in milliseconds; a reader that meets it in between looks again.
_LOOKS, _PAUSE = 10, 0.02


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
    def cores(self) -> float:
        """CPU cores that each trial occupies: by them seconds of trials become core-hours, as budgets count them."""
        return float((self.manifest.get("resources") or {}).get("cpu") or 1.0)

    @property
    def halving(self) -> tuple[tuple[float, ...], float]:
        """The rungs, as fractions of a trial's epochs, and the share that goes on from each; none without a pruner."""
        found = self.manifest.get("pruner") or {}
        return tuple(found.get("rungs") or ()), float(found.get("keep") or 1.0)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What the sweep wants of its trials besides; none in an index of an older version."""
        return bounds(self.manifest.get("constraints"))

    @property
    def metrics(self) -> list[str]:
        """The metrics that have a column."""
        return [name.removeprefix(VALUE) for name in self.trials.column_names if name.startswith(VALUE)]

    @property
    def parameters(self) -> list[str]:
        """The dotted paths that have a column."""
        return [name.removeprefix(PARAMETER) for name in self.trials.column_names if name.startswith(PARAMETER)]

    def direction(self, metric: str) -> str:
        """Whether more ("maximize") or less ("minimize") of a metric is better."""
        described = self.manifest["metrics"].get(metric, {}).get("direction")
        return str(self.objectives.get(metric) or described or "maximize")


class Indexer:
    """Builds the index of a sweep again and again, reading only the trials that changed since.

    What stands in an index that this version wrote is not read again either, as long as the trial's files are the same.

    Args:
        sweep: the sweep.
        metrics: name to {"unit", "direction", "range", "description"}.
        config_schema: the JSON Schema of a trial's configuration.
        searched: the dotted paths that the search varies.
        domains: the values that each of them may take, as a space file writes them: {"float": [1, 9], "log": true}.
        pruner: {"rungs": fractions of a trial's epochs, "keep": the share that goes on from each}; {} without one.
            What is not given is taken from the manifest that stands already, if any.
    """

    def __init__(
        self,
        sweep: SweepDirectory,
        *,
        metrics: Mapping[str, Mapping[str, Any]] | None = None,
        config_schema: Mapping[str, Any] | None = None,
        searched: Iterable[str] | None = None,
        domains: Mapping[str, Mapping[str, Any]] | None = None,
        pruner: Mapping[str, Any] | None = None,
    ) -> None:
        self._sweep = sweep
        standing = read_mapping(sweep.index / "manifest.json")
        self._described = {
            "metrics": dict(metrics) if metrics is not None else standing.get("metrics", {}),
            "config_schema": dict(config_schema) if config_schema is not None else standing.get("config_schema", {}),
            "searched": list(searched) if searched is not None else standing.get("searched", []),
            "domains": dict(domains) if domains is not None else standing.get("domains", {}),
            "pruner": dict(pruner) if pruner is not None else standing.get("pruner", {}),
        }
        self._known = _standing_rows(sweep)

    def build(self) -> Index:
        """The index of what stands on disk now."""
        tables = join([self._rows(directory) for directory in self._sweep.trial_directories()])
        return Index(_manifest(self._sweep, self._described), tables.trials, tables.history, tables.subjects)

    def _rows(self, directory: TrialDirectory) -> TrialRows:
        now, number = digest(stamp(directory)), directory.number
        if number not in self._known or self._known[number].fields["stamp"] != now:
            self._known[number] = rows_of(read_trial(directory), now)
        return self._known[number]


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
        NewerError: a newer mrisynth wrote it.
        InvalidInputError: it is broken; rebuilding repairs it.
    """
    for _ in range(_LOOKS):
        index, together = _read(sweep)
        if together:
            break
        time.sleep(_PAUSE)
    return replace(index, trials=with_today_columns(index.trials))


def open_index(sweep: SweepDirectory) -> Index:
    """The index that the driver wrote, or one built now where there is none or it is broken."""
    try:
        return read_index(sweep)
    except MrisynthError:
        return build_index(sweep)


def _standing_rows(sweep: SweepDirectory) -> dict[int, TrialRows]:
    """What the index that stands says of each trial: a driver that starts need not read thousands of folders again."""
    try:
        index, together = _read(sweep)
    except MrisynthError:
        return {}
    tables = Tables(index.trials, index.history, index.subjects)
    # Another version may have read the same folders otherwise.
    if not together or index.manifest.get("program") != __version__ or not can_split(tables):
        return {}
    return {rows.fields["trial"]: rows for rows in split(tables)}


def _read(sweep: SweepDirectory) -> tuple[Index, bool]:
    """The index, and whether all its files were written together."""
    manifest = _checked_manifest(sweep.index / "manifest.json")
    tables = [_read_table(sweep.index / f"{name}.parquet", columns) for name, columns in _TABLES.items()]
    written = manifest["written"].encode()
    together = all((table.schema.metadata or {}).get(_WRITTEN) == written for table in tables)
    return Index(manifest, *tables), together


def _checked_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = read_json(path)
    except ValueError:
        raise InvalidInputError(f"{path} is not valid JSON") from None
    expected = {"sweep": str, "objectives": dict, "metrics": dict, "baselines": dict, "budget": dict, "written": str}
    if not isinstance(manifest, dict):
        raise InvalidInputError(f"{path} is not the manifest of an index")
    if not isinstance(version := manifest.get("schema_version"), int):
        raise InvalidInputError(f"{path} is not the manifest of an index: its schema_version is {version}")
    refuse_newer(path, version, SCHEMA_VERSION)  # first: a newer one may have other keys
    if not all(isinstance(manifest.get(key), kind) for key, kind in expected.items()):
        raise InvalidInputError(f"{path} is not the manifest of an index")
    return manifest


def _read_table(path: Path, columns: set[str]) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read()  # `read_table` imports all of pyarrow.dataset, which takes longer
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path} is not a table of an index: {error}") from None
    if missing := columns - set(table.column_names):
        raise InvalidInputError(f"{path} is not a table of an index: it lacks {', '.join(sorted(missing))}")
    return table


def _manifest(sweep: SweepDirectory, described: Mapping[str, Any]) -> dict[str, Any]:
    try:
        asked = read_yaml(sweep.sweep_yaml)
    except MrisynthError:
        asked = {}
    baselines = {name: each for name, each in read_mapping(sweep.baselines).items() if _is_baseline(each)}
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": sweep.name,
        "description": asked.get("description") or "",
        "data_key": asked.get("data_key"),
        "objectives": asked.get("objectives") or {},
        "constraints": asked.get("constraints") or {},
        "baselines": {name: baselines[name] for name in ("identity", "matched") if name in baselines},
        "budget": asked.get("budget") or {},
        "planned": asked.get("planned"),
        "resources": asked.get("resources") or {},
        **described,
        "program": __version__,
        "written": timestamp(),
    }


def _is_baseline(value: Any) -> bool:
    """Whether it is {"values": {metric: value}, "subjects": {subject: {metric: value}}}, as baselines are written."""
    if not isinstance(value, dict) or not isinstance(value.get("values"), dict):
        return False
    subjects = value.get("subjects")
    return isinstance(subjects, dict) and all(isinstance(each, dict) for each in subjects.values())
