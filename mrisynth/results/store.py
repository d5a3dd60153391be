"""Where everything of a sweep stands on disk, its state and its events.

A trial writes only its own folder; the driver alone writes the rest; the dashboard writes only notes and requests in
`control/`.
"""

import difflib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.files import read_json, refuse_newer, write_json, write_with
from mrisynth.results.slices import ShownSlices, read_shown, read_slices, write_shown, write_slices

__all__ = [
    "SCHEMA_VERSION",
    "STALE_AFTER",
    "ShownSlices",
    "State",
    "SweepDirectory",
    "TrialDirectory",
    "append_event",
    "append_record",
    "list_sweeps",
    "open_sweep",
    "read_events",
    "read_records",
    "read_shown",
    "read_slices",
    "read_yaml",
    "running_nodes",
    "sweep_state",
    "timestamp",
    "write_heartbeat",
    "write_shown",
    "write_slices",
    "write_yaml",
]

# A driver writes its heartbeat every few seconds; after this long without one, in seconds, it is taken for dead.
STALE_AFTER = 60.0

SCHEMA_VERSION = 1
"""The latest form of a sweep's folder that this program reads; `sweep.yaml` names the folder's own."""

State = Literal["queued", "running", "stopped", "stale", "done", "failed"]
_WRITTEN_STATES = ("queued", "running", "stopped", "done", "failed")


@dataclass(frozen=True, slots=True)
class TrialDirectory:
    """The folder of one trial."""

    root: Path

    @property
    def number(self) -> int:
        """The trial's number in its study."""
        return int(self.root.name)

    @property
    def config(self) -> Path:
        """The trial's complete configuration."""
        return self.root / "config.yaml"

    @property
    def origin(self) -> Path:
        """What the driver called the trial, and which trial it repeats: {"name": ..., "retry_of": ...}."""
        return self.root / "origin.json"

    @property
    def history(self) -> Path:
        """One JSON line an epoch."""
        return self.root / "history.jsonl"

    @property
    def summary(self) -> Path:
        """The scores of the last rung, or of the end."""
        return self.root / "summary.json"

    @property
    def outcome(self) -> Path:
        """How the trial ended; written by the driver."""
        return self.root / "outcome.json"

    @property
    def log(self) -> Path:
        """What the worker printed."""
        return self.root / "log.txt"

    @property
    def checkpoint(self) -> Path:
        """The folder from which training continues."""
        return self.root / "checkpoint"

    @property
    def images(self) -> Path:
        """The generated slices, as arrays and as pictures."""
        return self.root / "images"

    @property
    def volumes(self) -> Path:
        """Whole generated volumes, where somebody asked for them."""
        return self.root / "volumes"

    @property
    def stitchings(self) -> Path:
        """The slices stitched in other ways too, where somebody asked for them."""
        return self.root / "stitchings"

    @property
    def attempts(self) -> Path:
        """One file for each time that a worker took the trial up."""
        return self.root / "attempts"


@dataclass(frozen=True, slots=True)
class SweepDirectory:
    """The folder of one sweep."""

    root: Path

    @property
    def name(self) -> str:
        """The sweep's name, which is its folder's."""
        return self.root.name

    @property
    def sweep_yaml(self) -> Path:
        """What was asked for; a folder with this file is a sweep."""
        return self.root / "sweep.yaml"

    @property
    def space_yaml(self) -> Path:
        """The space, as it was when the sweep began."""
        return self.root / "space.yaml"

    @property
    def lineage(self) -> Path:
        """By which code, on which data."""
        return self.root / "lineage.json"

    @property
    def study(self) -> Path:
        """The folder of Optuna's study."""
        return self.root / "study"

    @property
    def journal(self) -> Path:
        """Optuna's journal, unless the sweep names a database."""
        return self.study / "journal.log"

    @property
    def cohort(self) -> Path:
        """What the sweep's data look like: slices and baselines."""
        return self.root / "cohort"

    @property
    def slices(self) -> Path:
        """One folder of shown slices a subject."""
        return self.cohort / "slices"

    @property
    def volumes(self) -> Path:
        """The whole scans of the subjects of whom a trial generated whole volumes: one folder a subject."""
        return self.cohort / "volumes"

    @property
    def baselines(self) -> Path:
        """The scores of the low scan itself and of its histogram matched."""
        return self.cohort / "baselines.json"

    @property
    def trials(self) -> Path:
        """The trials' folders."""
        return self.root / "trials"

    @property
    def index(self) -> Path:
        """The tables that readers open instead of thousands of folders."""
        return self.root / "index"

    @property
    def events(self) -> Path:
        """One JSON line an event."""
        return self.root / "events.jsonl"

    @property
    def heartbeat(self) -> Path:
        """The driver's last sign of life."""
        return self.root / "heartbeat.json"

    @property
    def control(self) -> Path:
        """Requests to the driver."""
        return self.root / "control"

    @property
    def lease(self) -> Path:
        """The one driver that may write: its token, and where it runs."""
        return self.root / "lease.json"

    @property
    def notes(self) -> Path:
        """What people wrote about the trials."""
        return self.root / "notes.json"

    def trial(self, number: int) -> TrialDirectory:
        """The folder of trial `number`, whether it exists or not."""
        return TrialDirectory(self.trials / str(number))

    def trial_directories(self) -> list[TrialDirectory]:
        """The folders of all trials, by number; whatever else lies between them is passed over."""
        if not self.trials.is_dir():
            return []
        with os.scandir(self.trials) as entries:
            names = [entry.name for entry in entries if _is_number(entry.name) and entry.is_dir()]
        return [self.trial(number) for number in sorted(map(int, names))]


def open_sweep(path: Path) -> SweepDirectory:
    """The sweep in the folder `path`.

    Raises:
        NotFoundError: there is no sweep; the message names the nearest one beside it.
        InvalidInputError: a newer program made it.
    """
    sweep = SweepDirectory(path)
    if sweep.sweep_yaml.is_file():
        refuse_newer(sweep.sweep_yaml, read_yaml(sweep.sweep_yaml).get("schema_version"), SCHEMA_VERSION)
        return sweep
    beside = [other.name for other in list_sweeps(path.parent)] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise NotFoundError(f"there is no sweep in {path} (no sweep.yaml){hint}")


def list_sweeps(results: Path) -> list[SweepDirectory]:
    """The sweeps in a results folder, by name.

    Raises:
        NotFoundError: the folder does not exist or cannot be read.
    """
    try:
        folders = sorted(results.iterdir())
    except OSError as error:
        raise NotFoundError(
            f"the results folder {results} cannot be read: {error.strerror}; name the folder that holds your sweeps"
        ) from None
    return [sweep for sweep in map(SweepDirectory, folders) if sweep.sweep_yaml.is_file()]


def timestamp(when: datetime | None = None) -> str:
    """A moment as ISO 8601 in UTC, to the millisecond (default: now)."""
    return (when or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds")


def append_event(sweep: SweepDirectory, kind: str, **fields: Any) -> None:
    """Append one line to the sweep's events."""
    append_record(sweep.events, {"time": timestamp(), "kind": kind, **fields})


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append a JSON object as one line, in a single write; a torn line before it is closed first."""
    line = json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, (b"\n" if torn else b"") + line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_events(sweep: SweepDirectory, *, tail: int | None = None) -> list[dict[str, Any]]:
    """The sweep's events, oldest first; with `tail` only those in the file's last so many bytes."""
    return read_records(sweep.events, tail=tail)


def read_records(path: Path, *, tail: int | None = None) -> list[dict[str, Any]]:
    """The JSON objects in a file of lines.

    Args:
        path: the file; without one there are no records, and torn or foreign lines are passed over.
        tail: read only the whole lines among the last so many bytes.
    """
    try:
        with path.open("rb") as stream:
            skipped = max(0, stream.seek(0, os.SEEK_END) - tail) if tail is not None else 0
            stream.seek(max(0, skipped - 1))
            lines = stream.read().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return []
    # From the byte before the tail: a line that begins with the tail is whole, and what stands before it is dropped.
    parsed = (_parse(line) for line in lines[1 if skipped else 0 :] if line.strip())
    return [record for record in parsed if isinstance(record, dict)]


def write_heartbeat(
    sweep: SweepDirectory, *, state: State, ran: float = 0.0, nodes: Mapping[str, list[int]] | None = None
) -> None:
    """Say that the driver lives, what the sweep is doing, for how long all its drivers together have driven it, where.

    Args:
        sweep: the sweep.
        state: what it is doing.
        ran: for how long its drivers together have driven it, in seconds.
        nodes: node -> the trials that run there.
    """
    driver = {"pid": os.getpid(), "host": socket.gethostname()}
    beat = {"schema_version": 1, "state": state, "time": timestamp(), "ran": round(ran, 3), **driver}
    write_json(sweep.heartbeat, {**beat, "nodes": dict(nodes or {})})


def running_nodes(sweep: SweepDirectory) -> dict[str, list[int]]:
    """Node -> the trials that run there, as the driver's last sign of life says; none where none is running."""
    if sweep_state(sweep) != "running":
        return {}
    nodes = read_json(sweep.heartbeat).get("nodes", {})
    pairs = nodes.items() if isinstance(nodes, dict) else ()
    return {node: trials for node, trials in pairs if isinstance(trials, list)}


def sweep_state(sweep: SweepDirectory, *, now: datetime | None = None) -> State:
    """What the sweep is doing; "stale" when it says that it runs but its heartbeat ended."""
    try:
        heartbeat = read_json(sweep.heartbeat)
        state: State = heartbeat["state"]
        age = ((now or datetime.now(UTC)) - datetime.fromisoformat(heartbeat["time"])).total_seconds()
    except NotFoundError:
        return "queued"
    except (ValueError, KeyError, TypeError):
        return "stale"
    if state not in _WRITTEN_STATES:
        return "stale"
    return "stale" if state == "running" and age > STALE_AFTER else state


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, as plain values.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is not YAML, or not a mapping.
    """
    try:
        value = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise InvalidInputError(f"{path} must hold a mapping, not {type(value).__name__}")
    return value


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Replace the YAML file `path` by `value`, in the order of its keys."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_with(path, lambda temporary: yaml.dump(dict(value), temporary))


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _is_number(name: str) -> bool:
    """Whether a folder's name is a trial's number as we write it: ASCII digits, no leading zero."""
    return name.isascii() and name.isdigit() and str(int(name)) == name
