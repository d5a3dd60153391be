"""Whether a remote store still holds what was published in it: every file is fetched, hashed and let go again.

The mirror on this node is neither trusted nor changed. What is damaged can be moved to damaged/ in the remote store,
beginning with the file that publishes it.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from mrisynth.data.store import mirror
from mrisynth.data.store.records import check_version, lock
from mrisynth.data.store.remote import Remote
from mrisynth.data.store.verification import Part, check_artefact, check_lists, check_subject

_PUBLISHED_BY = {"subjects": "record.json", "shards": "manifest.json", "slices": "manifest.json"}
_OURS = {*mirror.LISTS, mirror.TEST_READS}


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder of the remote store.

    Attributes:
        name: as in "shards/<key>".
        files: name -> bytes.
    """

    name: str
    files: dict[str, int]

    @property
    def kind(self) -> str:
        return self.name.split("/")[0]

    @property
    def key(self) -> str:
        return self.name.split("/")[1]

    @property
    def publisher(self) -> str:
        return f"{self.name}/{_PUBLISHED_BY[self.kind]}"


def verify_remote(
    store: Path, *, set_aside: bool = False, progress: Callable[[int, int], None] | None = None
) -> list[Part]:
    """Fetch and hash everything in a remote store, one folder at a time, and tell how each part was found.

    Args:
        store: its mirror; room for the largest folder is needed beside it.
        set_aside: move damaged subjects and artefacts to damaged/ there, so that they are made anew.
        progress: called with the parts that are done, and with how many there are.

    Raises:
        NotFoundError: there is no such bucket, or no store.
        InvalidInputError: it is of another version, or its store.json is damaged.
        MrisynthError: the service cannot be reached.
    """
    remote = mirror.remote_of(store)
    assert remote is not None, "the caller asks for mirrors only"
    remote.check_bucket()
    files = remote.list("")
    place = store / "verify"
    place.mkdir(exist_ok=True)
    # So named and locked that the cache removes what a killed verification leaves.
    with lock(store, "verify-all"), tempfile.TemporaryDirectory(prefix=".all.", suffix=".tmp", dir=place) as name:
        copy = Path(name)
        shutil.copyfile(store / "remote.json", copy / "remote.json")  # so that messages name the URL
        for file in (file for file in mirror.LISTS if file in files):
            remote.fetch(file, copy / file)
        check_version(copy)
        parts, keys = check_lists(copy)
        names = {key: subject for subject, key in keys.items()}
        folders = _group(files, [f"subjects/{key}" for key in names])
        for done, folder in enumerate(folders, start=1):
            part = _check(remote, copy, folder, names)
            parts.append(_set_aside(remote, folder, part) if set_aside and part.state == "damaged" else part)
            if progress:
                progress(done, len(folders))
        known = {file for folder in folders for file in folder.files}
        parts += [_other(file, size) for file, size in files.items() if file not in known and not _is_ours(file)]
        return [replace(part, path=part.path.removeprefix(f"{copy}/")) for part in parts]


def _group(files: dict[str, int], wanted: list[str]) -> list[_Folder]:
    """The folders of subjects and artefacts, those of the cohort even where nothing of them is there."""
    grouped: dict[str, dict[str, int]] = {name: {} for name in wanted}
    for name, size in files.items():
        parts = PurePosixPath(name).parts
        if len(parts) == 3 and parts[0] in _PUBLISHED_BY:
            grouped.setdefault("/".join(parts[:2]), {})[name] = size
    return [_Folder(name, found) for name, found in sorted(grouped.items())]


def _check(remote: Remote, copy: Path, folder: _Folder, names: dict[str, str]) -> Part:
    """Fetch a folder, see how it is, and remove what was fetched."""
    size = sum(folder.files.values())
    if folder.files and folder.publisher not in folder.files:
        if folder.key in names and folder.kind == "subjects":
            return Part(folder.name, "damaged", size, f"record.json is gone ({names[folder.key]})", _remedy(folder))
        return Part(
            folder.name, "left over", size, "its upload has not finished", "delete it, if nobody uploads it now"
        )
    place = copy / folder.name
    try:
        for name in folder.files:
            place.mkdir(parents=True, exist_ok=True)
            remote.fetch(name, copy / name)
        subject = folder.kind == "subjects"
        part = check_subject(place, names.get(folder.key)) if subject else check_artefact(place, set(names))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return replace(part, remedy=_remedy(folder)) if part.state == "damaged" else part


def _remedy(folder: _Folder) -> str:
    return f"verify with --set-aside; then {_again(folder)}"


def _again(folder: _Folder) -> str:
    return "prepare again" if folder.kind == "subjects" else "the next trial that needs it makes it again"


def _set_aside(remote: Remote, folder: _Folder, part: Part) -> Part:
    """Move a folder to damaged/ in the remote store."""
    taken = {PurePosixPath(name).parts[1] for name in remote.list("damaged")}
    target = base = f"{folder.kind}-{folder.key}"
    number = 1
    while target in taken:
        number += 1
        target = f"{base}.{number}"
    # What publishes it goes first: nobody finds the folder half moved.
    for name in sorted(folder.files, key=lambda name: name != folder.publisher):
        remote.move(name, f"damaged/{target}/{PurePosixPath(name).name}")
    return replace(part, remedy=f"set aside as damaged/{target}; {_again(folder)}")


def _other(name: str, size: int) -> Part:
    if name.startswith("damaged/"):
        return Part(name, "left over", size, "set aside as damaged", "delete it to free space")
    return Part(name, "foreign", size, "not of this store", "move it away if you do not need it")


def _is_ours(name: str) -> bool:
    return name.split("/", maxsplit=1)[0] in _OURS
