"""Whole volumes of a trained trial, for viewers: dense patches over whole scans cost more than the training itself, so
they are made only on request.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrisynth.data.store.prepared import PreparedCohort, PreparedSubject
from mrisynth.data.store.records import FULL_SCALE
from mrisynth.files import write_json
from mrisynth.results.store import SweepDirectory, TrialDirectory
from mrisynth.results.volumes import Grid, write_volume
from mrisynth.training.evaluation import generate
from mrisynth.training.rescoring import Trained

_TOGETHER = 16  # slices at a time: a whole volume's patches at once would not fit


def write_volumes(
    trained: Trained,
    cohort: PreparedCohort,
    directory: TrialDirectory,
    *,
    sweep: SweepDirectory | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Generate every validation subject's whole volume, stitched as the trial is, and write it beside the trial.

    Args:
        trained: the trial's generator.
        cohort: the data that it was trained on.
        directory: the trial's folder.
        sweep: the trial's sweep, into which the subjects' scans go too, once; None where it belongs to none.
        progress: called with a subject's name before it is generated.

    Returns:
        The generated volumes' files.
    """
    description = directory.volumes / "volumes.json"
    description.unlink(missing_ok=True)  # until all are there, none is shown: they may be of another epoch
    paths = []
    for subject in cohort.of_split("validation"):
        progress(subject.name)
        paths.append(directory.volumes / f"{subject.name}.nii.gz")
        write_volume(paths[-1], _generate(trained, cohort, subject), _grid(subject))
        if sweep is not None:
            _write_scans(sweep, subject)
    names = [subject.name for subject in cohort.of_split("validation")]
    write_json(description, {"schema_version": 1, "epoch": trained.epoch, "subjects": names})
    return paths


def _generate(trained: Trained, cohort: PreparedCohort, subject: PreparedSubject) -> NDArray[np.float32]:
    """(depth, height, width), float32, intensity on [0, 1]; cut across the axis along which trials are scored."""
    low = subject.volumes()[0]
    return np.concatenate(
        [
            generate(
                trained.generator,
                low[begin : begin + _TOGETHER] / np.float32(FULL_SCALE),
                low_standard=subject.standard("low"),
                high_standard=cohort.high_standard(),
                config=trained.config,
                device=trained.device,
            )
            for begin in range(0, len(low), _TOGETHER)
        ]
    )


def _write_scans(sweep: SweepDirectory, subject: PreparedSubject) -> None:
    """The subject's prepared scans, which all trials of a sweep share; only where they do not stand yet."""
    folder = sweep.volumes / subject.name
    for name, volume in zip(("low", "high"), subject.volumes()[:2], strict=True):
        if not (path := folder / f"{name}.nii.gz").exists():
            write_volume(path, volume / np.float32(FULL_SCALE), _grid(subject))


def _grid(subject: PreparedSubject) -> Grid:
    geometry = {name: subject.record[name] for name in ("origin", "direction") if name in subject.record}
    return Grid(subject.spacing, **geometry)
