"""Preparing a cohort: every subject once, whoever asks, in parallel, with nothing half-done in sight."""

import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import SimpleITK as sitk
from filelock import Timeout

from mrisynth.data.cohort import Finding, Pair, check_pairs
from mrisynth.data.digests import digest_inputs, input_files
from mrisynth.data.jobs import Started, run_jobs
from mrisynth.data.preparation_config import PreparationConfig, load_config
from mrisynth.data.registration import GivenConfig
from mrisynth.data.store import SCHEMA_VERSION, SPLITS, check_version, is_prepared, lock
from mrisynth.data.subject import SubjectJob, prepare_subject
from mrisynth.data.workers import count_fitting
from mrisynth.errors import InvalidInputError, MrisynthError
from mrisynth.files import digest, read_json, write_json

__all__ = ["PreparationConfig", "PrepareReport", "Progress", "Skipped", "load_config", "prepare"]

Event = Literal["started", "built", "reused", "skipped", "failed"]

_BASE_BYTES = 250 * 2**20
_BYTES_A_VOXEL = 230
"""Peak memory of a worker: what Python and SimpleITK need, and per voxel of both scans (measured with a B-spline)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a preparation.

    Attributes:
        subject: whom it concerns.
        event: started; or how it ended.
        done: subjects that have ended, this one included.
        total: subjects in all.
        seconds: since the preparation began.
        remaining: expected seconds to the end; None before the first subject was built.
    """

    subject: str
    event: Event
    done: int
    total: int
    seconds: float
    remaining: float | None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A subject that was left out, and why (a sentence)."""

    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What a preparation did.

    Attributes:
        built: subjects that were made now.
        reused: subjects that were there already, or that another process made meanwhile.
        skipped: subjects that were left out.
        flags: subject -> sentences on what a person should look at.
        warnings: what the check of the inputs found that does not forbid their use.
        data_key: the content key of the prepared cohort.
    """

    built: list[str]
    reused: list[str]
    skipped: list[Skipped]
    flags: dict[str, list[str]]
    warnings: list[Finding]
    data_key: str


def prepare(
    pairs: Sequence[Pair],
    store: Path,
    *,
    config: PreparationConfig = PreparationConfig(),  # noqa: B008
    splits: dict[str, str],
    seed: int,
    jobs: int | None = None,
    skip_invalid: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> PrepareReport:
    """Prepare every subject of a cohort that is not prepared yet, and write down the cohort.

    May be stopped or killed at any time and run again: what is finished stays, nothing unfinished is ever visible.

    Args:
        pairs: the subjects and their files.
        store: a folder, made if it is missing; several cohorts and several processes may share it.
        config: the settings of the stages.
        splits: subject -> "train", "validation" or "test", for every subject.
        seed: what the splits were drawn by; kept with the cohort.
        jobs: subjects at a time; by default as many as cores and memory allow.
        skip_invalid: leave out subjects whose files cannot be used, and say so, instead of refusing all.
        progress: called as each subject starts and ends.

    Raises:
        InvalidInputError: files cannot be used (every problem is named), or a split would be empty.
        MrisynthError: subjects failed while they were prepared; the others are finished and stay.
    """
    new = not (store / "store.json").exists()
    findings = _check(pairs, {}, config, jobs) if new else []
    skipped = _refused(findings, skip_invalid)  # before anything is written
    _open_store(store)
    plan = _plan(pairs, store, config)
    if not new:
        findings = _check(pairs, plan, config, jobs)
        skipped = _refused(findings, skip_invalid)
    skipped |= _refused(_vanished(pairs, plan, skipped), skip_invalid)
    jobs_left = [job for subject, job in plan.items() if subject not in skipped]
    _check_splits([job.pair.subject for job in jobs_left], splits)
    tracker = _Tracker(progress, len(pairs))
    for subject in skipped:
        tracker.tell(subject, "skipped")
    failed = _build(jobs_left, jobs, tracker)
    if failed and not skip_invalid:
        raise MrisynthError(f"could not be prepared (the others are finished and stay):\n{_list(failed)}")
    jobs_left = [job for job in jobs_left if job.pair.subject not in failed]
    _check_splits([job.pair.subject for job in jobs_left], splits)
    skipped |= failed
    data_key = _write_cohort(jobs_left, skipped, store=store, config=config, splits=splits, seed=seed)
    return PrepareReport(
        built=tracker.subjects("built"),
        reused=tracker.subjects("reused"),
        skipped=[Skipped(subject, reason) for subject, reason in skipped.items()],
        flags=_flags(jobs_left),
        warnings=[finding for finding in findings if finding.severity != "error"],
        data_key=data_key,
    )


class _Tracker:
    """Counts subjects as they end, and tells whoever wants to know."""

    def __init__(self, progress: Callable[[Progress], None] | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._started = time.monotonic()
        self._events: dict[str, Event] = {}

    def tell(self, subject: str, event: Event) -> None:
        self._events[subject] = event
        if self._progress:
            done = sum(event != "started" for event in self._events.values())
            seconds = time.monotonic() - self._started
            self._progress(Progress(subject, event, done, self._total, seconds, self._remaining(seconds, done)))

    def subjects(self, event: Event) -> list[str]:
        return [subject for subject, last in self._events.items() if last == event]

    def _remaining(self, seconds: float, done: int) -> float | None:
        """As long for each subject that is left as it took for each that was built."""
        built = len(self.subjects("built"))
        return seconds / built * (self._total - done) if built else None


def _open_store(store: Path) -> None:
    """Make the store if it is missing, and remove what dead builders left in it."""
    with lock(store, "store"):
        if not (store / "store.json").exists():
            write_json(store / "store.json", {"schema_version": SCHEMA_VERSION})
    check_version(store)
    _sweep(store)


def _sweep(store: Path) -> None:
    """Remove the temporary folders of subjects that nobody is building."""
    for leftover in (store / "subjects").glob(".*.tmp"):
        key = leftover.name.split(".")[1]
        try:
            with lock(store, key).acquire(timeout=0):
                shutil.rmtree(leftover, ignore_errors=True)
        except Timeout:
            continue


def _plan(pairs: Sequence[Pair], store: Path, config: PreparationConfig) -> dict[str, SubjectJob]:
    """The job of every subject that has all its files."""
    files = {pair.subject: _files(pair) for pair in pairs}
    digests = digest_inputs((path for parts in files.values() for path in parts.values()), store)
    plan = {}
    for pair in pairs:
        inputs = {name: digests[path] for name, path in files[pair.subject].items() if path in digests}
        if len(inputs) == len(files[pair.subject]):
            plan[pair.subject] = SubjectJob(pair, store, config.for_pair(pair), inputs)
    return plan


def _files(pair: Pair) -> dict[str, Path]:
    """The files that a pair names."""
    named = {"low": pair.low, "high": pair.high, "mask": pair.mask, "low_to_high": pair.low_to_high}
    return {name: path for name, path in named.items() if path is not None}


def _check(
    pairs: Sequence[Pair], plan: dict[str, SubjectJob], config: PreparationConfig, jobs: int | None
) -> list[Finding]:
    """What is wrong with the subjects that are not prepared yet (those that are were checked before they were)."""
    names = Counter(pair.subject for pair in pairs)
    new = [
        pair
        for pair in pairs
        if names[pair.subject] > 1 or pair.subject not in plan or not is_prepared(plan[pair.subject].folder)
    ]
    findings = check_pairs(new, jobs=jobs) if new else []
    if isinstance(config.registration, GivenConfig):
        message, remedy = "has no transform, but registration.method is 'given'", "fill low_to_high in the pairs file"
        findings += [
            Finding(pair.subject, "", "no-transform", "error", message, remedy)
            for pair in pairs
            if pair.low_to_high is None
        ]
    return findings


def _vanished(pairs: Sequence[Pair], plan: dict[str, SubjectJob], skipped: dict[str, str]) -> list[Finding]:
    """Subjects that passed the check, but of which a file was gone when it was to be digested."""
    message, remedy = "a file of it vanished during the preparation", "put it back and prepare again"
    return [
        Finding(pair.subject, "", "vanished", "error", message, remedy)
        for pair in pairs
        if pair.subject not in plan and pair.subject not in skipped
    ]


def _refused(findings: Iterable[Finding], skip_invalid: bool) -> dict[str, str]:
    """subject -> all that forbids its use, in a sentence.

    Raises:
        InvalidInputError: there is such a subject, and none may be skipped.
    """
    refused: dict[str, list[str]] = {}
    for finding in findings:
        if finding.severity == "error":
            text = " ".join(part for part in (finding.file, finding.message) if part)
            refused.setdefault(finding.subject, []).append(f"{text}; {finding.remedy}")
    skipped = {subject: " / ".join(reasons) for subject, reasons in refused.items()}
    if skipped and not skip_invalid:
        raise InvalidInputError(f"nothing was prepared, because files cannot be used:\n{_list(skipped)}")
    return skipped


def _list(subjects: dict[str, str]) -> str:
    """One line a subject, with its reason."""
    return "\n".join(f"  {subject}: {reason}" for subject, reason in subjects.items())


def _check_splits(subjects: Iterable[str], splits: dict[str, str]) -> None:
    """Refuse splits that miss a subject, or leave nothing to train or to validate on."""
    counts: Counter[str] = Counter()
    for subject in subjects:
        if splits.get(subject) not in SPLITS:
            raise InvalidInputError(
                f"{subject} is in the split {splits.get(subject)!r}; each subject needs one of {', '.join(SPLITS)}"
            )
        counts[splits[subject]] += 1
    for split in ("train", "validation"):
        if not counts[split]:
            raise InvalidInputError(
                f"no usable subject is left in the {split} split; add subjects or change the splits"
            )


def _build(jobs: Sequence[SubjectJob], limit: int | None, tracker: _Tracker) -> dict[str, str]:
    """Prepare what is not prepared; subject -> reason for those that failed."""
    failed = {}
    missing = []
    for job in jobs:
        if is_prepared(job.folder):
            tracker.tell(job.pair.subject, "reused")
        else:
            missing.append(job)
    with closing(run_jobs(prepare_subject, missing, limit=limit or _limit(missing))) as events:
        for event in events:
            subject = missing[event.index].pair.subject
            if isinstance(event, Started):
                tracker.tell(subject, "started")
            elif event.error is None:
                tracker.tell(subject, "built" if event.result else "reused")
            else:
                failed[subject] = event.error
                tracker.tell(subject, "failed")
    return failed


def _limit(jobs: Sequence[SubjectJob]) -> int:
    """How many subjects at a time: as many as there are cores, and as fit into the memory that is free."""
    largest = max((_voxels(job.pair) for job in jobs), default=0)
    return count_fitting(_BASE_BYTES + _BYTES_A_VOXEL * largest)


def _voxels(pair: Pair) -> int:
    """The voxels of both scans, from their headers; a folder counts as files of 16-bit samples."""
    voxels = 0
    for path in (pair.low, pair.high):
        if path.is_dir():
            voxels += sum(part.stat().st_size for part in input_files(path)) // 2
        else:
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            voxels += math.prod(reader.GetSize()[:3])
    return voxels


def _write_cohort(
    jobs: Sequence[SubjectJob],
    skipped: dict[str, str],
    *,
    store: Path,
    config: PreparationConfig,
    splits: dict[str, str],
    seed: int,
) -> str:
    """Write down the cohort, unless it stands there already; returns its data key."""
    subjects = [{"subject": job.pair.subject, "key": job.key, "split": splits[job.pair.subject]} for job in jobs]
    cohort = {
        "schema_version": SCHEMA_VERSION,
        "data_key": digest({"subjects": subjects, "seed": seed}),
        "seed": seed,
        "subjects": subjects,
        "skipped": [{"subject": subject, "reason": reason} for subject, reason in skipped.items()],
        "config": config.model_dump(mode="json"),
    }
    path = store / "cohort.json"
    with lock(store, "cohort"):
        old = read_json(path) if path.exists() else {}
        cohort["test_reads"] = old.get("test_reads", 0) if _test(old) & _test(cohort) else 0
        if cohort != old:
            write_json(path, cohort)
    return str(cohort["data_key"])


def _test(cohort: dict[str, Any]) -> set[str]:
    """The names of a cohort's test subjects: as long as one of them stays, the reads of the test split count on."""
    return {entry["subject"] for entry in cohort.get("subjects", []) if entry["split"] == "test"}


def _flags(jobs: Iterable[SubjectJob]) -> dict[str, list[str]]:
    """subject -> what its record flags, for those with flags."""
    flags = {job.pair.subject: read_json(job.folder / "record.json")["flags"] for job in jobs}
    return {subject: found for subject, found in flags.items() if found}
