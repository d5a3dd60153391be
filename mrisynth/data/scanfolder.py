"""A BIDS-like folder of scans, read by the names of its files."""

import re
from dataclasses import dataclass
from pathlib import Path

from mrisynth.errors import InvalidInputError

_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
_FIELD = re.compile(r"(\d+(?:[.p]\d+)?)t")
_LOW, _HIGH = ("low", "lowfield"), ("high", "highfield")


@dataclass(frozen=True, slots=True)
class SubjectScans:
    """What the folder of one subject holds."""

    subject: str
    low: Path
    high: Path
    mask: Path | None


def find_pairs(root: Path) -> list[SubjectScans]:
    """The pairs in a folder of subject folders.

    A folder `sub-<name>` is a subject, named like it. Its scans may lie in it or deeper (`ses-7T/anat/`). The words of
    a scan's path below it, parted by `_`, `-` and `/`, tell what it is: `low` or `lowfield`, `high` or `highfield`, or
    field strengths such as `7T` and `9.4T` (`9p4T`), of which the lower is low; `mask` is the tissue mask. Other files
    are left alone.

        sub-01/sub-01_acq-low_T2w.nii.gz   sub-01/sub-01_acq-high_T2w.nii.gz
        sub-02/ses-7T/anat/sub-02_ses-7T_T2w.nii.gz   sub-02/ses-9p4T/anat/sub-02_ses-9p4T_T2w.nii.gz

    Args:
        root: the folder.

    Raises:
        InvalidInputError: there is no subject, or some have not exactly one low and one high scan; all are named.
    """
    folders = sorted(folder for folder in root.glob("sub-*") if folder.is_dir())
    if not folders:
        raise InvalidInputError(
            f"{root} holds neither a pairs.csv nor folders sub-<subject>; write a pairs.csv with subject,low,high"
        )
    found, mistakes = [], []
    for folder in folders:
        scans, mistake = _read_subject(folder)
        found += [scans] if scans else []
        mistakes += [f"{folder.name} {mistake}"] if mistake else []
    if mistakes:
        raise InvalidInputError(f"{root}: " + "\n".join(mistakes) + "\nrename the scans, or list them in a pairs.csv")
    return found


def _read_subject(folder: Path) -> tuple[SubjectScans | None, str]:
    """The scans of a subject, or what is wrong."""
    words = {path: _words(path, folder) for path in sorted(folder.rglob("*")) if path.name.lower().endswith(_ENDINGS)}
    masks = [path for path, tags in words.items() if "mask" in tags]
    scans = {path: tags for path, tags in words.items() if path not in masks}
    low = [path for path, tags in scans.items() if tags & set(_LOW)]
    high = [path for path, tags in scans.items() if tags & set(_HIGH)]
    if not low and not high:
        fields = {path: strength for path, tags in scans.items() if (strength := _strength(tags)) is not None}
        strengths = sorted(set(fields.values()))
        if len(strengths) == 2:
            low, high = ([path for path, t in fields.items() if t == strength] for strength in strengths)
    if len(low) == 1 and len(high) == 1 and len(masks) <= 1:
        return SubjectScans(folder.name, low[0], high[0], masks[0] if masks else None), ""
    return None, (
        f"has {len(low)} low-field scans, {len(high)} high-field scans and {len(masks)} masks in "
        f"{len(words)} files; it needs 1, 1 and at most 1, by 'low', 'high', 'mask' or field strengths in their names"
    )


def _words(path: Path, folder: Path) -> set[str]:
    name = path.relative_to(folder).as_posix().lower()
    ending = next(ending for ending in _ENDINGS if name.endswith(ending))
    return set(re.split(r"[_/-]", name.removesuffix(ending)))


def _strength(words: set[str]) -> float | None:
    """The field strength that one of the words tells, in tesla."""
    matches = [match for word in words if (match := _FIELD.fullmatch(word))]
    return float(matches[0][1].replace("p", ".")) if matches else None
