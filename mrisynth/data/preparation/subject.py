"""One subject's preparation in the paper's order (bias, intensity, registration), published under a content key."""

import shutil
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mrisynth import __version__
from mrisynth.data.cohort import Pair
from mrisynth.data.preparation import alignment, bias, intensity, registration
from mrisynth.data.preparation.alignment import Alignment
from mrisynth.data.preparation.config import PreparationConfig
from mrisynth.data.preparation.methods import DeformableConfig, GivenConfig
from mrisynth.data.quality.flips import measure_flips
from mrisynth.data.quality.slices import cut_slices, write_slices
from mrisynth.data.scans.volumes import read_volume
from mrisynth.data.store import mirror
from mrisynth.data.store.arrays import write_arrays
from mrisynth.data.store.digests import digest_input
from mrisynth.data.store.records import SCHEMA_VERSION, is_prepared, lock, subject_folder
from mrisynth.errors import InvalidInputError
from mrisynth.files import digest, publish, write_json

STAGES = {"bias": bias.VERSION, "intensity": intensity.VERSION, "registration": registration.VERSION}
FELL_BACK = "the deformation made things worse, so that the affine transform alone was used"


@dataclass(frozen=True, slots=True)
class SubjectJob:
    """All that a worker needs to prepare one subject.

    Attributes:
        pair: its files.
        store: where the result goes.
        config: the settings as they hold for this pair.
        inputs: "low", "high" and, where there is one, "mask" and "low_to_high": the file's digest.
    """

    pair: Pair
    store: Path
    config: PreparationConfig
    inputs: dict[str, str]

    @property
    def key(self) -> str:
        """The content key: what goes in, every setting that changes what comes out, and the versions of the stages."""
        return digest({"inputs": self.inputs, "config": self.config.model_dump(mode="json"), "stages": STAGES})

    @property
    def folder(self) -> Path:
        """Where the prepared subject stands."""
        return subject_folder(self.store, self.key)


@dataclass(frozen=True, slots=True)
class PreparedScans:
    """Both scans on the high scan's grid.

    Attributes:
        low: registered, float32 in [0, 1000].
        high: float32 in [0, 1000].
        mask: tissue that both scans show, uint8, 0 or 1.
        transform: from points of the high scan to points of the low scan.
        quality: how well they lie on each other.
        slices: what quality control shows and the volumes do not hold (see `mrisynth.data.quality.slices`).
        flips: how well the low scan fits as it is and mirrored (see `mrisynth.data.quality.flips`).
        fell_back: the deformation made things worse, and the affine transform alone was used.
    """

    low: sitk.Image
    high: sitk.Image
    mask: sitk.Image
    transform: sitk.Transform
    quality: Alignment
    slices: dict[str, NDArray[Any]]
    flips: dict[str, float]
    fell_back: bool


def prepare_subject(job: SubjectJob) -> bool:
    """Prepare one subject unless it is there; whoever comes second waits for the first, or takes over if it died.

    Returns:
        Whether it was made now (otherwise it was there).

    Raises:
        InvalidInputError: a file cannot be used, or changed since its digest was taken.
    """
    with lock(job.store, job.key):
        if is_prepared(job.folder):
            return False
        remove_unfinished(job.store, job.key)
        started = time.monotonic()
        scans = align_scans(job)
        _check_unchanged(job)
        with publish(job.folder) as folder:
            arrays = _arrays(scans)
            write_arrays(folder / "volumes.arrow", arrays)
            record = _record(job, scans, arrays)
            record["volumes"] = {"bytes": (folder / "volumes.arrow").stat().st_size}
            write_json(folder / "record.json", {**record, "seconds": round(time.monotonic() - started, 2)})
            write_slices(folder, scans.slices)
        mirror.upload_subject(job.store, job.key)
    return True


def remove_unfinished(store: Path, key: str) -> None:
    """Remove what a dead builder left of a subject, or a damaged one; the caller holds the subject's lock."""
    folder = subject_folder(store, key)
    for leftover in [folder, *folder.parent.glob(f".{key}.*.tmp")]:
        shutil.rmtree(leftover, ignore_errors=True)


def align_scans(job: SubjectJob) -> PreparedScans:
    """Read both scans, correct, scale, register and resample them.

    Raises:
        InvalidInputError: a file cannot be used, or no tissue is found that both scans show.
    """
    config = job.config
    raw_low, raw_high = (read_volume(path).to_image() for path in (job.pair.low, job.pair.high))
    low, high = (intensity.scale(bias.correct(raw, config.bias), config.intensity) for raw in (raw_low, raw_high))
    tissue = _tissue(job.pair, high)
    transform, fell_back = _transform(job, low, high, tissue)
    registered = registration.resample(low, high, transform, interpolation=config.registration.interpolation)
    mask = sitk.And(tissue, registration.coverage(low, high, transform))
    if not sitk.GetArrayViewFromImage(mask).any():
        raise InvalidInputError(
            f"{job.pair.low} shows nothing of the tissue in {job.pair.high} after registration; "
            "check that both show the same specimen and that their headers are right"
        )
    before = registration.resample(low, high, sitk.Transform(3, sitk.sitkIdentity))
    quality = alignment.measure(before, registered, high, transform=transform, tissue=tissue, mask=mask)
    uncorrected = registration.resample(intensity.scale(raw_low, config.intensity), high, transform)
    slices = cut_slices(
        {
            "low_before_registration": before,
            "low_before_bias": uncorrected,
            "high_before_bias": intensity.scale(raw_high, config.intensity),
            "jacobian": alignment.jacobian(transform, high),
        },
        sitk.GetArrayViewFromImage(mask),
    )
    return PreparedScans(registered, high, mask, transform, quality, slices, measure_flips(low, high, mask), fell_back)


def _transform(job: SubjectJob, low: sitk.Image, high: sitk.Image, tissue: sitk.Image) -> tuple[sitk.Transform, bool]:
    """The transform that is given with the pair or that registration finds, and whether it is only the affine one."""
    config = job.config.registration
    if isinstance(config, GivenConfig):
        assert job.pair.low_to_high is not None, "the plan of the preparation saw to it"
        return registration.read_transform(job.pair.low_to_high), False
    affine, transform = registration.register_stages(low, high, config)
    asked = isinstance(config, DeformableConfig) and config.on_worse == "affine"
    if asked and _worse(low, high, tissue, transform=transform, affine=affine):
        return affine, True
    return transform, False


def _worse(
    low: sitk.Image, high: sitk.Image, tissue: sitk.Image, *, transform: sitk.Transform, affine: sitk.Transform
) -> bool:
    """Whether a deformation folds tissue, or correlates less in it than the affine transform alone."""
    fixed, inside = sitk.GetArrayViewFromImage(high), sitk.GetArrayViewFromImage(tissue)
    found = [
        alignment.correlation(sitk.GetArrayFromImage(registration.resample(low, high, one)), fixed, inside)
        for one in (transform, affine)
    ]
    return found[0] < found[1] or alignment.jacobian_range(transform, tissue)[0] <= 0


def _tissue(pair: Pair, high: sitk.Image) -> sitk.Image:
    """The mask that is given with the pair, on the high scan's grid, or the tissue that the high scan shows."""
    if pair.mask is None:
        return intensity.tissue_mask(high)
    given = sitk.Cast(read_volume(pair.mask).to_image() > 0, sitk.sitkUInt8)
    return sitk.Resample(given, high, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor, 0.0)


def _check_unchanged(job: SubjectJob) -> None:
    """Refuse to publish under the digest of a file that somebody changed meanwhile."""
    for name, expected in job.inputs.items():
        path = getattr(job.pair, name)
        if digest_input(path) != expected:
            raise InvalidInputError(f"{path} was changed while it was being prepared; prepare again")


def _arrays(scans: PreparedScans) -> dict[str, NDArray[Any]]:
    """The three volumes, (depth, height, width) each, as views."""
    images = {"low": scans.low, "high": scans.high, "mask": scans.mask}
    return {name: sitk.GetArrayViewFromImage(image) for name, image in images.items()}


def _record(job: SubjectJob, scans: PreparedScans, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """What record.json keeps of a subject."""
    return {
        "schema_version": SCHEMA_VERSION,
        "subject": job.pair.subject,
        "key": job.key,
        "inputs": {name: {"path": str(getattr(job.pair, name)), "sha256": sha} for name, sha in job.inputs.items()},
        "config": job.config.model_dump(mode="json"),
        "stages": STAGES,
        "versions": {"mrisynth": __version__, "SimpleITK": version("SimpleITK"), "numpy": np.__version__},
        "shape": list(arrays["high"].shape),
        "spacing": list(scans.high.GetSpacing()[::-1]),
        "origin": list(scans.high.GetOrigin()),
        "direction": list(scans.high.GetDirection()),
        "flips": scans.flips,
        "quality": scans.quality.model_dump(mode="json"),
        "flags": [*scans.quality.flags(), *([FELL_BACK] if scans.fell_back else [])],
        "statistics": {name: intensity.statistics(arrays[name]) for name in ("low", "high")},
        "histograms": {name: intensity.histogram(arrays[name]) for name in ("low", "high")},
    }
