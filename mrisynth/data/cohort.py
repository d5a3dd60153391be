"""Cohorts: which scans belong together, into which split each subject goes, and what is wrong with any of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from mrisynth.data.pairs import Pair, duplicates, read_csv
from mrisynth.data.scanfolder import find_pairs
from mrisynth.data.scans.inspection import Problem, check_exists, error, suggest, warning
from mrisynth.data.scans.volumes import Volume, examine, index_to_point
from mrisynth.data.workers import map_in_processes
from mrisynth.errors import InvalidInputError, NotFoundError

__all__ = ["Finding", "Pair", "assign_splits", "check_pairs", "read_pairs"]

_SHARES = {"test": 0.1, "validation": 0.2}
_LITTLE_OVERLAP = 0.5
_EXTENT_RATIO = 5.0
"""How many times the longest side of one scan may be the other's: more looks like a wrong unit."""
_PROBES = 12


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one subject's files.

    Args:
        subject: whose.
        file: the file's path; empty where it is about none alone.
        code: a short fixed word.
        severity: `error` or `warning`.
        message: what is wrong, without the file's name.
        remedy: what to do.
    """

    subject: str
    file: str
    code: str
    severity: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class _Checked:
    """The findings about a pair, and what its scans hold: path to digest of the voxels."""

    findings: list[Finding]
    contents: dict[str, str]


def read_pairs(path: Path) -> list[Pair]:
    """The pairs that a `pairs.csv` lists (its relative paths start at its folder), or that a BIDS-like folder holds.

    Only the list is judged here; `check_pairs` judges the scans.

    Args:
        path: a CSV file (comma, semicolon or tab) with columns `subject,low,high`, perhaps `split,mask,low_to_high`; a
            folder with such a `pairs.csv`; or a folder of subjects as `find_pairs` describes it.

    Raises:
        NotFoundError: there is no such file or folder.
        InvalidInputError: the list is not valid; all its mistakes, with their line numbers.
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist; {suggest(path)}")
    if path.is_dir() and (path / "pairs.csv").is_file():
        path = path / "pairs.csv"
    if path.is_dir():
        return [Pair(scans.subject, scans.low, scans.high, mask=scans.mask) for scans in find_pairs(path)]
    return read_csv(path)


def assign_splits(pairs: Sequence[Pair], seed: int) -> dict[str, str]:
    """Which split each subject belongs to: as given, or 70/20/10 by seed with at least one subject each.

    Args:
        pairs: one a subject. Three subjects or more are drawn into all splits, two into train and validation.
        seed: any number from 0; the order of `pairs` does not matter.

    Raises:
        InvalidInputError: splits are given for some subjects only, or leave train or validation empty, or there is but
            one subject.
    """
    given = {pair.subject: pair.split for pair in pairs if pair.split is not None}
    if given:
        return _given_splits(pairs, given)
    if len(pairs) < 2:
        raise InvalidInputError(f"{len(pairs)} subject cannot be split; give at least two, better three or more")
    subjects = sorted({pair.subject for pair in pairs})
    order = np.random.default_rng(seed).permutation(len(subjects))
    shuffled = iter(subjects[index] for index in order)
    splits: dict[str, str] = {}
    for split, share in _SHARES.items():
        count = 0 if split == "test" and len(subjects) < 3 else max(1, round(share * len(subjects)))
        splits |= {next(shuffled): split for _ in range(count)}
    splits |= dict.fromkeys(shuffled, "train")
    return {subject: splits[subject] for subject in subjects}


def check_pairs(pairs: Sequence[Pair], *, jobs: int | None = None) -> list[Finding]:
    """Read every scan of a cohort once and tell everything that is wrong, in the order of `pairs`.

    Args:
        pairs: one a subject.
        jobs: processes at most; by default as many as there are processors, and memory for.
    """
    checked = map_in_processes(_check_pair, pairs, jobs=jobs, memory=max(map(_memory, pairs), default=1))
    findings = [finding for one in checked for finding in one.findings]
    for name in duplicates(pair.subject for pair in pairs):
        findings.append(_finding(name, None, _repeated_subject([p.split for p in pairs if p.subject == name])))
    return findings + _repeated_scans(pairs, checked)


def _check_pair(pair: Pair) -> _Checked:
    """Everything about one pair that does not need the others."""
    findings, volumes = [_finding(pair.subject, path, _outside()) for path in pair.outside], {}
    for role in ("low", "high", "mask"):
        path = getattr(pair, role)
        if path is not None:
            volume, problems = examine(path)
            findings += [_finding(pair.subject, path, problem) for problem in problems]
            if volume is not None and not any(problem.severity == "error" for problem in problems):
                volumes[role] = volume
    if pair.low_to_high is not None:
        findings += [_finding(pair.subject, pair.low_to_high, p) for p in _check_transform(pair.low_to_high)]
    findings += [_finding(pair.subject, path, problem) for path, problem in _check_together(pair, volumes)]
    contents = {str(getattr(pair, role)): _content(volumes[role]) for role in ("low", "high") if role in volumes}
    return _Checked(findings, contents)


def _outside() -> Problem:
    remedy = "keep the scans below the list's folder, or name them by absolute paths"
    return warning("outside-folder", "leaves the folder of the list (by ../): a moved or copied list loses it", remedy)


def _repeated_subject(splits: list[str | None]) -> Problem:
    """A subject with several pairs, of which each may be in another split."""
    names = sorted({split for split in splits if split})
    where = f", in the splits {' and '.join(names)}" if len(names) > 1 else ""
    return error("duplicate-subject", f"is listed {len(splits)} times{where}", "keep one pair a subject")


def _check_together(pair: Pair, volumes: dict[str, Volume]) -> list[tuple[Path, Problem]]:
    """What two scans of a subject tell only side by side."""
    problems = []
    high = volumes.get("high")
    if high is None:
        return []
    if "mask" in volumes and pair.mask is not None and not _same_grid(volumes["mask"], high):
        problem = error(
            "mask-grid", "is not on the grid of the high-field scan", "draw or resample the mask on that scan"
        )
        problems.append((pair.mask, problem))
    low = volumes.get("low")
    if low is None:
        return problems
    if pair.low_to_high is None:
        problems += [(pair.low, problem) for problem in _check_overlap(low, high) + _check_extents(low, high)]
    if np.prod(low.spacing) < 0.99 * np.prod(high.spacing):
        sizes = " and ".join(" x ".join(f"{step:.4g}" for step in scan.spacing[::-1]) for scan in (low, high))
        message = f"has smaller voxels than the high-field scan ({sizes} mm)"
        remedy = "check that low and high are not swapped"
        problems.append((pair.low, warning("finer-low", message, remedy)))
    return problems


def _check_overlap(low: Volume, high: Volume) -> list[Problem]:
    """Grids that lie apart in physical space: no registration finds its way from there."""
    share = max(_share_inside(low, high), _share_inside(high, low))
    remedy = "check the origin and orientation in both headers, or give a transform in low_to_high"
    if share == 0:
        return [error("no-overlap", "does not overlap the high-field scan in physical space", remedy)]
    if share < _LITTLE_OVERLAP:
        message = f"overlaps the high-field scan by {share:.0%} only"
        return [warning("little-overlap", message, remedy)]
    return []


def _check_extents(low: Volume, high: Volume) -> list[Problem]:
    """Scans of one specimen of which one measures many times the other: most likely a wrong unit."""
    longest = [max(np.multiply(scan.array.shape, scan.spacing)) for scan in (low, high)]
    ratio = max(longest) / min(longest)
    if ratio <= _EXTENT_RATIO:
        return []
    message = f"measures {longest[0]:.4g} mm where the high-field scan measures {longest[1]:.4g} mm"
    return [warning("field-of-view", message, "check voxel size and unit in both headers")]


def _share_inside(volume: Volume, other: Volume) -> float:
    """The share of a volume's grid, probed at regular points, that lies within the other's grid."""
    axes = [np.linspace(0, length - 1, _PROBES) for length in volume.array.shape[::-1]]
    probes = np.stack([*np.meshgrid(*axes, indexing="ij"), np.ones([_PROBES] * 3)], axis=-1).reshape(-1, 4)
    index = probes @ (np.linalg.inv(index_to_point(other)) @ index_to_point(volume)).T
    last = np.array(other.array.shape[::-1]) - 0.5
    return float(((index[:, :3] >= -0.5) & (index[:, :3] <= last)).all(axis=1).mean())


def _same_grid(mask: Volume, high: Volume) -> bool:
    """Whether two volumes have the same voxels, to a tenth of a voxel."""
    if mask.array.shape != high.array.shape:
        return False
    last = np.array([*(np.array(high.array.shape[::-1]) - 1), 1])
    apart = [np.linalg.norm((index_to_point(mask) - index_to_point(high)) @ corner) for corner in (last, [0, 0, 0, 1])]
    return bool(max(apart) <= 0.1 * min(high.spacing))


def _check_transform(path: Path) -> list[Problem]:
    problems = check_exists(path)
    if problems:
        return problems
    try:
        sitk.ReadTransform(str(path))
    except RuntimeError:
        remedy = "write it with ITK, SimpleITK or ANTs (.tfm, .txt, .mat or .h5)"
        return [error("transform", "is not a transform that ITK can read", remedy)]
    return []


def _repeated_scans(pairs: Sequence[Pair], checked: Sequence[_Checked]) -> list[Finding]:
    """Scans with the same voxels under two names: a specimen twice, or one scan for both field strengths."""
    seen: dict[str, tuple[str, str]] = {}
    findings = []
    for pair, one in zip(pairs, checked, strict=True):
        for path in (str(pair.low), str(pair.high)):
            content = one.contents.get(path)
            if content is None:
                continue
            subject, other = seen.setdefault(content, (pair.subject, path))
            if (subject, other) != (pair.subject, path):
                problem = error(
                    "duplicate-scan", f"holds the same voxels as '{other}' of {subject}", "name each scan once"
                )
                findings.append(_finding(pair.subject, Path(path), problem))
        if pair.low == pair.high:
            problem = error("same-scan", "is given as both low and high", "name the two scans of the subject")
            findings.append(_finding(pair.subject, pair.low, problem))
    return findings


def _content(volume: Volume) -> str:
    return sha256(np.ascontiguousarray(volume.array).data).hexdigest()


def _finding(subject: str, path: Path | None, problem: Problem) -> Finding:
    file = "" if path is None else str(path)
    return Finding(subject, file, problem.code, problem.severity, problem.message, problem.remedy)


def _memory(pair: Pair) -> int:
    """What reading one pair may need, in bytes: a few copies of its scans, unpacked to float32."""
    return 2**28 + 12 * max(map(_size, (pair.low, pair.high)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0


def _given_splits(pairs: Sequence[Pair], given: dict[str, str]) -> dict[str, str]:
    without = sorted({pair.subject for pair in pairs} - set(given))
    if without:
        raise InvalidInputError(
            f"split is given for some subjects, not for others ({', '.join(without[:5])}); give it for all or none"
        )
    for split in ("train", "validation"):
        if split not in given.values():
            raise InvalidInputError(f"no subject has the split '{split}'; training needs both train and validation")
    return given
