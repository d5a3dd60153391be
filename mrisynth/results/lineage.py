"""Where a trial comes from: who trained it, when and where, on what, and the command that trains it again."""

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mrisynth.results.records import moment, read_mapping
from mrisynth.results.store import SweepDirectory, TrialDirectory


@dataclass(frozen=True, slots=True)
class Attempt:
    """One worker that had the trial.

    Attributes:
        host: where it ran; "?" where its note does not say.
        started: when it began.
        from_epoch: how many epochs there were already.
        error: why it failed, as far as it could note that itself; a worker that is killed notes nothing.
    """

    host: str
    started: datetime | None
    from_epoch: int
    error: str


def attempts(trial: TrialDirectory) -> list[Attempt]:
    """The workers that had a trial, in order of their begin; notes that cannot be read are left out."""
    try:
        notes = [read_mapping(path) for path in sorted(trial.attempts.glob("[!.]*.json"))]
    except OSError:
        return []
    found = [
        Attempt(
            host=f"{note.get('host', '?')}" + (f" ({note['address']})" if note.get("address") else ""),
            started=moment(note.get("started")),
            from_epoch=note["from_epoch"] if isinstance(note.get("from_epoch"), int) else 0,
            error=str(note.get("error", "")),
        )
        for note in notes
        if note
    ]
    return sorted(found, key=lambda attempt: attempt.started or datetime.min.replace(tzinfo=UTC))


def resume_points(trial: TrialDirectory) -> list[int]:
    """After which epochs a worker took the trial up again, each once."""
    return sorted({attempt.from_epoch for attempt in attempts(trial) if attempt.from_epoch})


def store_of(sweep: SweepDirectory) -> str | None:
    """The prepared cohort as the command named it that began the sweep; None where that is not known."""
    words = read_mapping(sweep.lineage).get("command")
    if not isinstance(words, list):
        return None
    given = [str(word) for word in words]
    for place, word in enumerate(given):
        if word == "--data" and place + 1 < len(given):
            return given[place + 1]
        if word.startswith("--data="):
            return word.removeprefix("--data=")
    return None


def repeat_command(sweep: SweepDirectory, number: int) -> str:
    """The command that trains a trial again, without Ray, into a folder of its own in the current one."""
    config: Path = sweep.trial(number).config.absolute()
    words = ["mrisynth", "train", str(config), "--data", store_of(sweep) or "STORE"]
    return shlex.join([*words, "--out", f"{sweep.name}-{number}-again"])
