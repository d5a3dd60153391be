"""What stands in a sweep's folder besides its results: its driver's signs of life, its files' versions, its damages."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mrisynth.errors import MrisynthError, NotFoundError
from mrisynth.files import read_json, refuse_newer
from mrisynth.results import forecast, index, notes, store
from mrisynth.results.index import Index
from mrisynth.results.notes import read_notes
from mrisynth.results.records import moment, read_mapping
from mrisynth.results.store import SweepDirectory, read_yaml
from mrisynth.words import name_trials


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of a driver, which its heartbeat or its lease is.

    Attributes:
        host, pid: where it runs, and as which process; "?" where the file does not say.
        time: when it was given.
    """

    host: str
    pid: str
    time: datetime | None

    def age(self, now: datetime | None = None) -> float | None:
        """For how long it has been given, in seconds."""
        return None if self.time is None else max(0.0, ((now or datetime.now(UTC)) - self.time).total_seconds())


def last_sign(sweep: SweepDirectory) -> Sign | None:
    """The driver's last sign of life; None where there never was one."""
    return _sign(read_mapping(sweep.heartbeat))


def lease(sweep: SweepDirectory) -> Sign | None:
    """Who took the sweep last, and when; None where nobody has."""
    return _sign(read_mapping(sweep.lease))


def free_space(folder: Path) -> int | None:
    """Free bytes on the disk of a folder; None where the system does not say."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def made_by(sweep: SweepDirectory) -> dict[str, str]:
    """Which code began the sweep: "mrisynth", "commit", "python" and libraries, those that are known."""
    kept = read_mapping(sweep.lineage)
    versions = kept.get("versions")
    found = dict(versions) if isinstance(versions, dict) else {}
    return {name: str(value) for name, value in {**found, "commit": kept.get("commit")}.items() if value}


def index_files(sweep: SweepDirectory) -> list[dict[str, Any]]:
    """The index as it stands: {"file", "bytes", "written"}, those files that there are."""
    names = ("manifest.json", "trials.parquet", "history.parquet", "subjects.parquet")
    found = []
    for path in (sweep.index / name for name in names):
        try:
            status = path.stat()
        except OSError:
            continue
        written = datetime.fromtimestamp(status.st_mtime, UTC)
        found.append({"file": f"index/{path.name}", "bytes": status.st_size, "written": written})
    return found


def schemas(sweep: SweepDirectory) -> list[dict[str, Any]]:
    """The forms of its files: {"file", "version", "known"}, known being the latest that this program reads."""
    try:
        asked = read_yaml(sweep.sweep_yaml)
    except MrisynthError:
        asked = {}
    found = [
        ("sweep.yaml", asked, store.SCHEMA_VERSION),
        ("index/manifest.json", read_mapping(sweep.index / "manifest.json"), index.SCHEMA_VERSION),
        ("notes.json", read_mapping(sweep.notes), notes.SCHEMA_VERSION),
        ("forecast.json", read_mapping(forecast.path_of(sweep)), forecast.SCHEMA_VERSION),
    ]
    return [
        {"file": name, "version": content.get("schema_version"), "known": known}
        for name, content, known in found
        if (sweep.root / name).is_file()
    ]


def damages(sweep: SweepDirectory, trials: Index) -> list[str]:
    """What in the folder besides the index could not be read, a sentence each.

    Args:
        sweep: the sweep.
        trials: its index, as it was read or built.
    """
    return [*unreadable(sweep), *_holes(trials)]


def unreadable(sweep: SweepDirectory) -> list[str]:
    """Which of the sweep's own small files could not be read, a sentence each."""
    return list(_unreadable(sweep))


def _unreadable(sweep: SweepDirectory) -> Iterator[str]:
    try:
        version = read_yaml(sweep.sweep_yaml).get("schema_version")
    except MrisynthError as error:
        yield f"{error}: what was asked of this sweep is not known"
        version = None
    try:
        refuse_newer(sweep.sweep_yaml, version, store.SCHEMA_VERSION)
    except MrisynthError as error:
        yield str(error)
    for path in (sweep.heartbeat, sweep.lineage, sweep.baselines, sweep.lease):
        try:
            whole = isinstance(read_json(path), dict)
        except NotFoundError:
            continue
        except (ValueError, OSError):
            whole = False
        if not whole:
            yield f"{path} holds no JSON object, and is passed over"
    try:
        read_notes(sweep)
    except MrisynthError as error:
        yield str(error)


def _holes(trials: Index) -> Iterator[str]:
    """Trials of which a file is missing or damaged, as far as their rows tell."""
    rows = trials.trials.select(["trial", "outcome", "generator", "epochs"]).to_pylist()
    nameless = [row["trial"] for row in rows if row["generator"] is None and row["outcome"] != "queued"]
    if nameless:
        yield f"the configuration of {name_trials(nameless)} is missing or damaged"
    scored = set(trials.subjects["trial"].to_pylist())
    empty = [row["trial"] for row in rows if row["outcome"] == "completed" and row["trial"] not in scored]
    if empty:
        yield f"{name_trials(empty)} completed, but the scores of the subjects are missing or damaged"


def _sign(kept: dict[str, Any]) -> Sign | None:
    if not kept:
        return None
    return Sign(str(kept.get("host", "?")), str(kept.get("pid", "?")), moment(kept.get("time")))
