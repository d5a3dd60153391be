"""What one trial left on disk, whatever state it is in: running, cut off, finished, or damaged."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mrisynth.errors import MrisynthError
from mrisynth.files import read_json
from mrisynth.results.store import TrialDirectory, read_records, read_yaml

OUTCOMES = ("completed", "pruned", "continued", "rejected", "lost", "running", "queued")
"""How a trial stands; "continued" was pruned, and another trial went on with it."""

_ENDED = ("completed", "pruned", "rejected", "lost")


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial as the index holds it.

    Args:
        number: the trial's number.
        fields: the fixed columns of the index's trials.
        values: metric to score, of the end or of the last rung.
        parameters: dotted path to value, as in the configuration.
        history: (epoch, key, value), by epoch.
        subjects: (subject, metric, value).
    """

    number: int
    fields: dict[str, Any]
    values: dict[str, float]
    parameters: dict[str, Any]
    history: list[tuple[int, str, float]]
    subjects: list[tuple[str, str, float]]


def read_trial(directory: TrialDirectory) -> TrialRecord:
    """Read a trial's folder; what is missing or broken stays empty."""
    config = _config(directory.config)
    summary, outcome = read_mapping(directory.summary), read_mapping(directory.outcome)
    epochs = _epochs(directory.history)
    scored = [record["scores"] for record in epochs if isinstance(record.get("scores"), dict)]
    values = _numbers(summary.get("values")) or _numbers(scored[-1] if scored else outcome.get("values"))
    return TrialRecord(
        number=directory.number,
        fields=_fields(directory, config, summary, outcome, epochs),
        values=values,
        parameters=dict(flatten(config)),
        history=list(_curves(epochs)),
        subjects=list(_subject_scores(summary)),
    )


def read_mapping(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or an empty one where there is none or something else."""
    try:
        value = read_json(path)
    except (MrisynthError, ValueError, OSError):
        return {}
    return value if isinstance(value, dict) else {}


def stamp(directory: TrialDirectory) -> tuple[object, ...]:
    """A value that changes when a trial's folder does; cheap enough for thousands of trials."""
    watched = (directory.config, directory.origin, directory.history, directory.summary, directory.outcome)
    return tuple(map(_stamp, (*watched, directory.attempts)))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _fields(
    directory: TrialDirectory,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    outcome: Mapping[str, Any],
    epochs: list[dict[str, Any]],
) -> dict[str, Any]:
    origin, started = read_mapping(directory.origin), _started(directory.attempts)
    ended = outcome.get("outcome") in _ENDED
    adversary = _text(config.get("adversary"))
    return {
        "trial": directory.number,
        "name": _text(origin.get("name")),
        "retry_of": _integer(origin.get("retry_of")),
        "outcome": outcome["outcome"] if ended else "running" if epochs or started else "queued",
        "reason": _text(outcome.get("reason")),
        "message": _text(outcome.get("message")),
        "warning": _warning(epochs),
        "family": _text(summary.get("family")) or _family(config, adversary),
        "generator": _text(config.get("generator")),
        "adversary": adversary,
        "epochs": max(_integer(summary.get("epochs")) or 0, epochs[-1]["epoch"] if epochs else 0),
        "epochs_planned": _integer(summary.get("epochs_planned")) or _integer(config.get("epochs")),
        "seconds": _seconds(summary, epochs, after=_integer(origin.get("from_epoch")) or 0),
        "gpu": _number(origin.get("gpu")),
        "generator_parameters": _integer(summary.get("generator_parameters")),
        "adversary_parameters": _integer(summary.get("adversary_parameters")),
        "started": started,
        "ended": moment(outcome.get("time")) if ended else None,
        "rung": _integer(outcome.get("rung")),
        "host": _text(epochs[-1].get("host")) if epochs else None,
        "config": json.dumps(config, sort_keys=True, separators=(",", ":")) if config else None,
    }


def _config(path: Path) -> dict[str, Any]:
    try:
        config = read_yaml(path)
        json.dumps(config, allow_nan=False)
    except (MrisynthError, OSError, ValueError, TypeError):
        return {}
    return config


def _epochs(path: Path) -> list[dict[str, Any]]:
    """The records of a history by epoch; an epoch that was repeated after a crash counts once, as done last."""
    try:
        records = read_records(path)
    except OSError:
        return []
    latest = {epoch: record for record in records if (epoch := _integer(record.get("epoch"))) is not None}
    return [latest[epoch] for epoch in sorted(latest)]


def _curves(epochs: list[dict[str, Any]]) -> Iterator[tuple[int, str, float]]:
    for record in epochs:
        for part in ("train", "train_eval", "validation", "scores"):
            for name, value in _numbers(record.get(part)).items():
                yield record["epoch"], f"{part}.{name}", value


def _subject_scores(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    subjects = summary.get("subjects")
    for subject, scores in subjects.items() if isinstance(subjects, dict) else ():
        for metric, value in _numbers(scores).items():
            yield subject, metric, value


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A nested configuration as dotted paths and values."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _started(attempts: Path) -> datetime | None:
    """When the first attempt began."""
    try:
        files = sorted(attempts.glob("[!.]*.json"))
    except OSError:
        return None
    moments = [found for file in files if (found := moment(read_mapping(file).get("started")))]
    return min(moments, default=None)


def _warning(epochs: list[dict[str, Any]]) -> str | None:
    """The last warning that a record gives."""
    given = (record.get("warnings") for record in reversed(epochs))
    return next((str(warnings[-1]) for warnings in given if isinstance(warnings, list) and warnings), None)


def _seconds(summary: Mapping[str, Any], epochs: list[dict[str, Any]], *, after: int) -> float | None:
    """How long the trial was trained; what a retry took over, the epochs up to `after`, was not trained by it."""
    spent = _numbers({record["epoch"]: record.get("seconds") for record in epochs if record["epoch"] > after})
    whole = "seconds" in summary and not after
    return _number(summary.get("seconds")) if whole else sum(spent.values()) if spent else None


def _family(config: Mapping[str, Any], adversary: str | None) -> str | None:
    if not config:
        return None
    if config.get("generator") == "forest":
        return "forest"
    return "cnn" if adversary in (None, "none") else "gan"


def moment(value: Any) -> datetime | None:
    """A moment as files of ours hold it, ISO 8601, in UTC where it names no zone; None where it is something else."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _numbers(mapping: Any) -> dict[Any, float]:
    """The finite numbers of a mapping."""
    items = mapping.items() if isinstance(mapping, dict) else ()
    return {key: number for key, value in items if (number := _number(value)) is not None}


def _number(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
