"""Preparing a cohort: every subject once, whoever asks, in parallel, with nothing half-done in sight."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from mrisynth.data.cohort import Finding, Pair, check_pairs
from mrisynth.data.jobs import Needs, Started, Workers
from mrisynth.data.preparation import greedy
from mrisynth.data.preparation.config import PreparationConfig, load_config
from mrisynth.data.preparation.methods import GivenConfig, GreedyConfig
from mrisynth.data.preparation.progress import Progress, Tracker
from mrisynth.data.preparation.subject import SubjectJob, prepare_subject
from mrisynth.data.store import mirror
from mrisynth.data.store.digests import digest_inputs
from mrisynth.data.store.records import (
    SCHEMA_VERSION,
    SPLITS,
    check_version,
    explain_disk_error,
    is_prepared,
    lock,
    read_cohort,
    read_record,
)
from mrisynth.data.store.verification import explain_rebuilds
from mrisynth.data.workers import estimate_memory
from mrisynth.errors import InvalidInputError, MrisynthError
from mrisynth.files import digest, write_json

__all__ = ["PreparationConfig", "PrepareReport", "Progress", "Skipped", "load_config", "prepare"]


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
        reasons: subject -> why it was made anew, for those that had been prepared before.
    """

    built: list[str]
    reused: list[str]
    skipped: list[Skipped]
    flags: dict[str, list[str]]
    warnings: list[Finding]
    data_key: str
    reasons: dict[str, str]


def prepare(
    pairs: Sequence[Pair],
    store: Path,
    *,
    config: PreparationConfig = PreparationConfig(),  # noqa: B008
    splits: dict[str, str],
    seed: int,
    workers: Workers = Workers(),  # noqa: B008
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
        workers: how many subjects at a time, and where; by default processes of this machine, as many as cores and
            memory allow.
        skip_invalid: leave out subjects whose files cannot be used, and say so, instead of refusing all.
        progress: called as each subject starts and ends.

    Raises:
        InvalidInputError: files cannot be used (every problem is named), or a split would be empty.
        MrisynthError: subjects failed while they were prepared, or the disk is full; the others are finished and stay.
            A worker that died (its job ran once more, alone) or a full disk makes no subject invalid, and is never
            skipped.
    """
    try:
        return _prepare(
            pairs, store, config, splits=splits, seed=seed, workers=workers, skip=skip_invalid, progress=progress
        )
    except OSError as error:
        if sentence := explain_disk_error(error, store):
            raise MrisynthError(f"{sentence} (what is finished stays)") from None
        raise


def _prepare(
    pairs: Sequence[Pair],
    store: Path,
    config: PreparationConfig,
    *,
    splits: dict[str, str],
    seed: int,
    workers: Workers,
    skip: bool,
    progress: Callable[[Progress], None] | None,
) -> PrepareReport:
    """What `prepare` does, disks apart."""
    mirror.refresh_to_prepare(store)
    new = not (store / "store.json").exists()
    findings = _check(pairs, {}, config, workers.limit) if new else []
    skipped = _refused(findings, skip)  # before anything is written
    _open_store(store)
    plan = _plan(pairs, store, config)
    if not new:
        findings = _check(pairs, plan, config, workers.limit)
        skipped = _refused(findings, skip)
    skipped |= _refused(_vanished(pairs, plan, skipped), skip)
    jobs_left = [job for subject, job in plan.items() if subject not in skipped]
    _check_splits([job.pair.subject for job in jobs_left], splits)
    reasons = explain_rebuilds(jobs_left, store)
    tracker = Tracker(progress, len(pairs), reasons)
    for subject in skipped:
        tracker.tell(subject, "skipped")
    try:
        failed = _build(jobs_left, workers, tracker)
    finally:
        _sweep(store)  # where it was stopped, its workers died in the middle of others
    if failed and not skip:
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
        reasons={subject: reasons[subject] for subject in tracker.subjects("built") if reasons[subject]},
    )


def _open_store(store: Path) -> None:
    """Make the store if it is missing, and remove what dead builders left in it."""
    with lock(store, "store"):
        if not (store / "store.json").exists():
            write_json(store / "store.json", {"schema_version": SCHEMA_VERSION})
            mirror.upload_list(store, "store.json")
    check_version(store)
    _sweep(store)


def _sweep(store: Path) -> None:
    """Remove what dead processes left half-written, unless somebody is at it: folders of subjects, and lists."""
    leftovers = [(path, path.name.split(".")[1]) for path in (store / "subjects").glob(".*.tmp")]
    leftovers += [(path, name) for name in ("store", "cohort", "digests") for path in store.glob(f".{name}.json.*")]
    for leftover, name in leftovers:
        try:
            with lock(store, name).acquire(timeout=0):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)
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


def _build(jobs: Sequence[SubjectJob], workers: Workers, tracker: Tracker) -> dict[str, str]:
    """Prepare what is not prepared; subject -> reason for those that cannot be.

    Raises:
        MrisynthError: the machine failed: a process died at every try, or the disk is full (then the others are not
            waited for: they would fail as well).
    """
    failed: dict[str, str] = {}
    broken: dict[str, str] = {}
    missing = []
    for job in jobs:
        if is_prepared(job.folder):
            tracker.tell(job.pair.subject, "reused")
        else:
            missing.append(job)
    needs = [_needs(job) for job in missing]
    with closing(workers.run(prepare_subject, missing, limit=workers.limit, needs=needs)) as events:
        for event in events:
            subject = missing[event.index].pair.subject
            if isinstance(event, Started):
                tracker.tell(subject, "started")
            elif event.error is None:
                tracker.tell(subject, "built" if event.result else "reused")
            else:
                tracker.tell(subject, "failed")
                (broken if event.died else failed)[subject] = event.error
                if event.machine:
                    raise MrisynthError(
                        f"the preparation of {missing[event.index].store} stopped at {subject}: {event.error} (what is "
                        f"finished stays, {subject} may be as good as the others)"
                    )
    if broken:
        raise MrisynthError(
            "could not be prepared, for a reason that may not lie in the scans (each was tried again; the others are "
            f"finished and stay):\n{_list(broken | failed)}"
        )
    return failed


def _needs(job: SubjectJob) -> Needs:
    """What preparing a subject asks of a machine."""
    scans = job.pair.low, job.pair.high
    beside = greedy.BYTES_A_VOXEL if isinstance(job.config.registration, GreedyConfig) else 0
    return Needs(estimate_memory(scans, beside=beside), (job.store, *_files(job.pair).values()))


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
        old = read_cohort(store) if path.exists() else {}
        cohort["test_reads"] = old.get("test_reads", 0) if _test(old) & _test(cohort) else 0
        if cohort != old:
            write_json(path, cohort)
            mirror.upload_list(store, "cohort.json")
    return str(cohort["data_key"])


def _test(cohort: dict[str, Any]) -> set[str]:
    """The names of a cohort's test subjects: as long as one of them stays, the reads of the test split count on."""
    return {entry["subject"] for entry in cohort.get("subjects", []) if entry["split"] == "test"}


def _flags(jobs: Iterable[SubjectJob]) -> dict[str, list[str]]:
    """subject -> what its record flags, for those with flags."""
    flags = {job.pair.subject: read_record(job.folder).get("flags", []) for job in jobs}
    return {subject: found for subject, found in flags.items() if found}
