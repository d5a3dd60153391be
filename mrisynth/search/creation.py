"""The folder of a new sweep: what was asked, by which code, on which data; it appears whole or not at all."""

import platform
import re
import secrets
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mrisynth import __version__
from mrisynth.data import slices as slices_of
from mrisynth.data.store.mirror import location_of
from mrisynth.data.store.prepared import PreparedCohort
from mrisynth.errors import UsageError
from mrisynth.files import publish, read_json, write_bytes, write_json
from mrisynth.results.store import SCHEMA_VERSION, SweepDirectory, timestamp, write_shown, write_yaml
from mrisynth.search.changes import what_was_asked
from mrisynth.search.space import Space
from mrisynth.search.storage.database import JOURNAL
from mrisynth.training.evaluation import baselines, shown

_LIBRARIES = ("ray", "optuna", "torch", "numpy", "SimpleITK", "pyarrow")


def create_sweep(
    space: Space, cohort: PreparedCohort, *, results: Path, name: str, seed: int, storage: str = JOURNAL
) -> SweepDirectory:
    """Make the folder of a new sweep.

    Args:
        space: what is searched, with what was set on top.
        cohort: the prepared data.
        results: the folder of all sweeps; made if it is not there.
        name: the sweep's name, a new folder in `results`.
        seed: what the sampler draws by.
        storage: what holds the study, as `parse_storage` gives it.

    Raises:
        UsageError: the name is not a folder's, or is taken.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"the name {name!r} is not usable; take letters, digits, '.', '_' and '-'")
    sweep = SweepDirectory(results / name)
    _refuse_taken(sweep)
    asked = _asked(space, cohort, name=name, seed=seed, storage=storage)
    lineage = {**_lineage(cohort), "asked": what_was_asked(space.text, asked)}
    with publish(sweep.root) as folder:
        _write_cohort(SweepDirectory(folder), cohort)
        write_bytes(folder / sweep.space_yaml.name, space.text.encode())
        write_json(folder / sweep.lineage.name, lineage)
        write_yaml(folder / sweep.sweep_yaml.name, asked)
    if read_json(sweep.lineage)["id"] != lineage["id"]:  # somebody else was quicker
        _refuse_taken(sweep)
    return sweep


def data_differences(sweep: SweepDirectory, cohort: PreparedCohort) -> list[str]:
    """In which subjects the data are other than when the sweep began, one sentence each; none where nothing changed."""
    lineage = read_json(sweep.lineage)
    if lineage["data_key"] == cohort.data_key:
        return []
    before, now = lineage["subjects"], _subjects(cohort)
    sentences = [f"{name} is gone" for name in before if name not in now]
    sentences += [f"{name} is new" for name in now if name not in before]
    for name in before.keys() & now.keys():
        if before[name]["split"] != now[name]["split"]:
            sentences.append(f"{name} was in {before[name]['split']} and is in {now[name]['split']}")
        elif before[name]["key"] != now[name]["key"]:
            sentences.append(f"{name} was prepared differently")
    return sorted(sentences) or ["the splits were drawn with another seed"]


def _refuse_taken(sweep: SweepDirectory) -> None:
    if sweep.root.exists():
        raise UsageError(
            f"{sweep.root} exists already; take another name, or go on with it: mrisynth resume {sweep.root}"
        )


def _asked(space: Space, cohort: PreparedCohort, *, name: str, seed: int, storage: str) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "description": space.description,
        "space": space.file.name,
        "store": location_of(cohort.store),
        "data_key": cohort.data_key,
        "seed": seed,
        "budget": space.budget.model_dump(),
        "planned": None if space.search else len(space.published),
        "objectives": dict(space.objectives),
        "constraints": space.limits,
        "storage": storage,
        "resources": space.resources.model_dump(),
        "set": space.overrides,
    }


def _lineage(cohort: PreparedCohort) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "id": secrets.token_hex(8),
        "created": timestamp(),
        "command": sys.argv,
        "commit": _commit(),
        "versions": {"mrisynth": __version__, "python": platform.python_version(), **_versions()},
        "data_key": cohort.data_key,
        "subjects": _subjects(cohort),
    }


def _write_cohort(sweep: SweepDirectory, cohort: PreparedCohort) -> None:
    """What the data look like: the slices on which trials are scored, their baselines, the subjects' quality."""
    slices = slices_of.ensure(cohort)
    for subject in slices:
        write_shown(sweep.slices / subject.subject, shown(subject))
    scored = {
        name: {"values": evaluation.values, "subjects": evaluation.subjects}
        for name, evaluation in baselines(slices).items()
    }
    write_json(sweep.baselines, {"schema_version": 1, **scored})
    write_json(sweep.cohort / "subjects.json", {"schema_version": 1, "subjects": _qualities(cohort)})


def _qualities(cohort: PreparedCohort) -> list[dict[str, Any]]:
    return [
        {
            "subject": subject.name,
            "split": subject.split,
            "shape": subject.shape,
            "spacing": subject.spacing,
            "quality": subject.record.get("quality", {}),
            "flags": subject.record.get("flags", []),
        }
        for subject in cohort.subjects
    ]


def _subjects(cohort: PreparedCohort) -> dict[str, dict[str, str]]:
    return {subject.name: {"key": subject.key, "split": subject.split} for subject in cohort.subjects}


def _versions() -> dict[str, str]:
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def _commit() -> str | None:
    """The commit of the code, where it runs from a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
