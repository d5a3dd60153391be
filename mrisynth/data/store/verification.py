"""Whether a store still holds what was published in it, and what each part was made of.

Everything is read and hashed again: subjects and artefacts (shards, slices). Nothing is changed but the notes on that,
unless damaged parts are to be set aside in STORE/damaged, from where `prepare` (subjects) or the next trial (artefacts)
makes them anew.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile, ZipFile

from filelock import Timeout

from mrisynth.data.preparation.subject import STAGES, SubjectJob
from mrisynth.data.quality.decisions import read_decisions
from mrisynth.data.store.arrays import check_arrays
from mrisynth.data.store.artefacts import read_manifest
from mrisynth.data.store.checks import find_damaged
from mrisynth.data.store.digests import read_digests
from mrisynth.data.store.prepared import PreparedSubject
from mrisynth.data.store.records import (
    REMEDY,
    check_version,
    is_prepared,
    lock,
    name_of,
    quoted,
    read_cohort,
    read_record,
    subject_folder,
)
from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError
from mrisynth.files import digest

State = Literal["whole", "not recorded", "missing", "damaged", "left over", "foreign"]

BROKEN: tuple[State, ...] = ("missing", "damaged")
_ARTEFACTS = ("shards", "slices")
_LISTS = {"store.json", "cohort.json", "digests.json", "decisions.json"}
_KNOWN = {*_LISTS, "subjects", "locks", "damaged", "quality", "checked", *_ARTEFACTS}


@dataclass(frozen=True, slots=True)
class Part:
    """A file or a folder of a store, and how it was found.

    Attributes:
        path: seen from the store.
        state: whole; not recorded (no checksum was kept when it was made); missing; damaged; left over (ours, but
            nothing refers to it); foreign (not ours).
        bytes: its size; 0 where it is missing.
        message: what was found, where there is something to say.
        remedy: what to do about it.
    """

    path: str
    state: State
    bytes: int
    message: str = ""
    remedy: str = ""


def verify_store(
    store: Path, *, set_aside: bool = False, progress: Callable[[int, int], None] | None = None
) -> list[Part]:
    """Read and hash everything in a store, and tell how each part was found.

    Args:
        store: a prepared store.
        set_aside: move damaged subjects and artefacts to STORE/damaged, so that they are made anew.
        progress: called with the parts that are done, and with how many there are.

    Raises:
        NotFoundError: it is no store.
        InvalidInputError: it is of another version, or its store.json is damaged.
    """
    check_version(store)
    found, keys = check_lists(store)
    names = {key: name for name, key in keys.items()}
    folders = {key: subject_folder(store, key) for key in [*names, *_folders(store / "subjects")]}
    artefacts = [store / kind / name for kind in _ARTEFACTS for name in _folders(store / kind)]
    total = len(folders) + len(artefacts)
    for done, (key, folder) in enumerate(folders.items(), start=1):
        found += _settle(store, folder, check_subject(folder, names.get(key)), set_aside=set_aside, name=key)
        if progress:
            progress(done, total)
    for done, folder in enumerate(artefacts, start=len(folders) + 1):
        lock_name = f"{folder.parent.name}-{folder.name}"
        found += _settle(store, folder, check_artefact(folder, set(names)), set_aside=set_aside, name=lock_name)
        if progress:
            progress(done, total)
    found += [*_leftovers(store), *_strangers(store)]
    return [
        Part(str(Path(part.path).relative_to(store)), part.state, part.bytes, part.message, part.remedy)
        for part in found
    ]


def explain_rebuilds(jobs: Iterable[SubjectJob], store: Path) -> dict[str, str]:
    """Subject -> why it is made anew; empty for subjects that are whole, or that were never prepared.

    Raises:
        InvalidInputError: the store's cohort.json is damaged.
    """
    try:
        before = {entry["subject"]: entry["key"] for entry in read_cohort(store)["subjects"]}
    except NotFoundError:
        before = {}
    reasons = {}
    for job in jobs:
        wanted = {"inputs": job.inputs, "config": job.config.model_dump(mode="json"), "stages": STAGES}
        name = job.pair.subject
        whole = is_prepared(job.folder)
        reasons[name] = "" if whole else explain_rebuild(store, before.get(name), job.key, wanted)
    return reasons


def explain_rebuild(store: Path, before: str | None, key: str, wanted: Mapping[str, Any]) -> str:
    """Why a subject that is not whole in a store is made anew: one line, empty where it was never prepared.

    Args:
        store: the store.
        before: the key that the subject had in the cohort as it was prepared last; None where it had none.
        key: the key that it has now.
        wanted: its "inputs" (name -> digest), "config" and "stages" now.
    """
    if any((store / "damaged").glob(f"subjects-{key}*")) and not subject_folder(store, key).exists():
        return "its files were damaged, and set aside by `mrisynth data verify`"
    if subject_folder(store, key).exists():
        return "its files are damaged"
    if before is None:
        return ""
    if before == key:
        return "its files are gone"
    try:
        old = read_record(subject_folder(store, before))
        changes = _changes(_ingredients(old), wanted)
    except (MrisynthError, KeyError, TypeError, AttributeError):
        return "what it was made of before is not known any more"
    return ", ".join(changes) or "how a key is made changed"


def explain_key(subject: PreparedSubject) -> dict[str, Any]:
    """What a subject's key was made of: its input files, settings and stages.

    Returns:
        "subject", "key"; "inputs": a list of {"name", "path", "sha256", "bytes" (as the file is now, or None), "now"
        (its size, or that it is gone)}; "settings": dotted name -> value; "stages": stage -> version.

    Raises:
        InvalidInputError: the record does not tell.
    """
    record = subject.record
    try:
        made_of = _ingredients(record)
        paths = {name: Path(entry["path"]) for name, entry in record["inputs"].items()}
    except (KeyError, TypeError, AttributeError):
        raise InvalidInputError(f"{subject.path / 'record.json'} does not tell what was prepared; {REMEDY}") from None
    inputs = []
    for name, path in paths.items():
        size = _size(path) if path.exists() else None
        now = "gone" if size is None else f"{size:,} bytes now"
        inputs.append({"name": name, "path": str(path), "sha256": made_of["inputs"][name], "bytes": size, "now": now})
    settings = flatten(made_of["config"])
    return {
        "subject": subject.name,
        "key": subject.key,
        "inputs": inputs,
        "settings": settings,
        "stages": made_of["stages"],
    }


def _ingredients(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a subject's key is made of, from its record."""
    inputs = {name: entry["sha256"] for name, entry in record["inputs"].items()}
    return {"inputs": inputs, "config": record["config"], "stages": record["stages"]}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between what a subject was made of and what it is to be made of."""
    before, after = flatten(old), flatten(new)
    texts = []
    for name in [*after, *(name for name in before if name not in after)]:
        if before.get(name) == after.get(name):
            continue
        group, _, rest = name.partition(".")
        if group == "inputs":
            what = "is new" if name not in before else "is no longer given" if name not in after else "changed"
            texts.append(f"the file of {rest} {what}")
        elif group == "stages":
            texts.append(f"the stage {rest} changed (version {before.get(name)} -> {after.get(name)})")
        else:
            texts.append(f"{rest} changed ({before.get(name, 'absent')} -> {after.get(name, 'absent')})")
    return texts


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= flatten(inner, f"{prefix}{name}.") if isinstance(inner, Mapping) else {f"{prefix}{name}": inner}
    return flat


def check_lists(store: Path) -> tuple[list[Part], dict[str, str]]:
    """The files that stand beside the subjects; and subject -> key of the cohort."""
    parts = [Part(str(store / "store.json"), "whole", _size(store / "store.json"))]
    keys: dict[str, str] = {}
    path = store / "cohort.json"
    prepare = f"run `mrisynth data prepare PAIRS {name_of(store)}`"
    try:
        cohort = read_cohort(store)
        keys = {entry["subject"]: entry["key"] for entry in cohort["subjects"]}
        parts.append(Part(str(path), "whole", _size(path)))
    except NotFoundError:
        parts.append(Part(str(path), "missing", 0, "the preparation has not finished", prepare))
    except MrisynthError as error:
        parts.append(Part(str(path), "damaged", _size(path), str(error), f"delete it and {prepare}"))
    for name, read in {"digests.json": read_digests, "decisions.json": read_decisions}.items():
        path = store / name
        if path.exists():
            try:
                read(store)
                parts.append(Part(str(path), "whole", _size(path)))
            except MrisynthError as error:
                parts.append(Part(str(path), "damaged", _size(path), str(error), "as said"))
    return parts, keys


def check_subject(folder: Path, subject: str | None) -> Part:
    """A subject's folder; `subject` is whose it is in the cohort, None where nobody there refers to it."""
    whose = f" ({subject})" if subject else ""
    if not folder.is_dir():
        return Part(str(folder), "missing", 0, f"it is gone{whose}", "prepare again: only it is made anew")
    try:
        record = read_record(folder)
        problem = _find_problem(folder, record)
        whole = None if problem else check_arrays(folder / "volumes.arrow")
    except MrisynthError as error:
        problem, whole = str(error), None
    size = _size(folder)
    if problem or whole is False:
        message = problem or "volumes.arrow does not hold what was written into it"
        return Part(str(folder), "damaged", size, f"{message}{whose}", "")
    if subject is None:
        return Part(str(folder), "left over", size, "no subject of the cohort refers to it", "delete it to free space")
    if whole is None:
        return Part(str(folder), "not recorded", size, f"no checksum was kept when it was made{whose}", "")
    return Part(str(folder), "whole", size)


def _find_problem(folder: Path, record: Mapping[str, Any]) -> str:
    """What is wrong with a record and the names and sizes beside it; empty where nothing is."""
    volumes = record.get("volumes")
    if not isinstance(volumes, dict) or volumes.get("bytes") != _size(folder / "volumes.arrow"):
        return "volumes.arrow is missing or has not the size that the record says"
    # Stores made by hand or by others may lack the ingredients; where they are, they have to give the key.
    try:
        if {"inputs", "config", "stages"} <= set(record) and digest(_ingredients(record)) != folder.name:
            return "record.json names files or settings that do not give this key"
    except (KeyError, TypeError, AttributeError, ValueError):
        return "record.json does not tell what was prepared"
    slices = folder / "slices.npz"
    try:
        # A zip file carries a checksum of each of its members.
        if slices.exists() and ZipFile(slices).testzip() is not None:
            return "slices.npz does not hold what was written into it"
    except (BadZipFile, OSError, EOFError, zlib.error, NotImplementedError):
        return "slices.npz is damaged"
    return ""


def check_artefact(folder: Path, keys: set[str]) -> Part:
    """A folder of shards or slices."""
    size = _size(folder)
    try:
        manifest = read_manifest(folder)
    except MrisynthError:
        return Part(str(folder), "damaged", size, "manifest.json is missing or damaged")
    if wrong := find_damaged(folder, manifest["files"], store=folder.parent.parent):
        return Part(str(folder), "damaged", size, f"{', '.join(wrong)}: not what was published there")
    if not {entry["key"] for entry in manifest.get("subjects", [])} <= keys:
        message = "made of subjects that are not in the cohort any more"
        return Part(str(folder), "left over", size, message, "delete it to free space")
    return Part(str(folder), "whole", size)


def _settle(store: Path, folder: Path, part: Part, *, set_aside: bool, name: str) -> list[Part]:
    """The part with its remedy, after a damaged one was set aside if it was to be."""
    if part.state != "damaged":
        return [part]
    again = "prepare again" if folder.parent.name == "subjects" else "the next trial that needs it makes it again"
    if not set_aside:
        remedy = f"run `mrisynth data verify {quoted(store)} --set-aside`; then {again}"
        return [Part(part.path, part.state, part.bytes, part.message, remedy)]
    with lock(store, name):
        target = store / "damaged" / f"{folder.parent.name}-{folder.name}"
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{folder.parent.name}-{folder.name}.{number}")
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)
    return [Part(part.path, part.state, part.bytes, part.message, f"set aside as {target}; {again}")]


def _folders(parent: Path) -> list[str]:
    """The names of the folders that were published in one."""
    return sorted(path.name for path in parent.glob("[!.]*") if path.is_dir())


def _leftovers(store: Path) -> Iterator[Part]:
    """What dead builders left, and what was set aside before."""
    for kind in ("subjects", *_ARTEFACTS):
        for path in sorted((store / kind).glob(".*.tmp")):
            key = path.name.split(".")[1]
            try:
                with lock(store, key if kind == "subjects" else f"{kind}-{key}").acquire(timeout=0):
                    yield Part(str(path), "left over", _size(path), "its builder died", "prepare again, or delete it")
            except Timeout:
                continue  # somebody is building it now
    for path in sorted((store / "damaged").glob("*")):
        yield Part(str(path), "left over", _size(path), "set aside as damaged", "delete it to free space")


def _strangers(store: Path) -> Iterator[Part]:
    """What stands in the store and is not of it."""
    places = [path for path in sorted(store.iterdir()) if path.name not in _KNOWN]
    for kind in ("subjects", *_ARTEFACTS):
        places += [path for path in sorted((store / kind).glob("*")) if not path.is_dir()]
        for folder in (store / kind / name for name in _folders(store / kind)):
            places += [path for path in sorted(folder.iterdir()) if not _belongs(kind, path)]
    for path in places:
        yield Part(str(path), "foreign", _size(path), "not of this store", "move it away if you do not need it")


def _belongs(kind: str, path: Path) -> bool:
    """Whether a file in a published folder is one of those that are published there."""
    if kind == "subjects":
        return path.name in {"volumes.arrow", "record.json", "slices.npz"}
    return path.name == "manifest.json" or path.suffix == ".arrow"


def _size(path: Path) -> int:
    """The bytes of a file, or of all files in a folder; 0 where it is missing."""
    if path.is_dir():
        return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
    return path.stat().st_size if path.exists() else 0
