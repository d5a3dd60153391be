"""Low-field partners for real scans that have none: half the resolution, another contrast, shading and noise.

A simulation to try things with; what a real low-field scanner loses is not known from the high-field scan.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydantic import Field

import mrisynth
from mrisynth.config import Config
from mrisynth.data.pairs import claim_folder, duplicates, write_pairs
from mrisynth.data.phantom.acquisition import LOW_EVERY, Array, add_rician_noise, bias_field, crop_kspace, digitize
from mrisynth.data.phantom.deformation import misalign
from mrisynth.data.scans.volumes import Volume, read_volume, write_image
from mrisynth.data.workers import map_in_processes
from mrisynth.errors import InvalidInputError

_FULL_SCALE_PERCENTILES = (0.1, 99.5)
_BORDER = 8
_GAMMA_SOFTENING = 0.02
_BYTES_A_FILE_BYTE = 60


class DegradeConfig(Config):
    """What the simulated low-field scan loses; 0 (for `gamma` and `brightness` 1) switches a part off."""

    taper: float = Field(0.3, ge=0, le=1, description="share of the kept k-space that the Tukey window smooths")
    gamma: float = Field(
        0.5, gt=0, le=2, description="exponent of the contrast curve; below 1 bright tissues come closer"
    )
    brightness: float = Field(0.68, gt=0, le=1, description="what full scale becomes under the contrast curve")
    bias: float = Field(0.09, ge=0, le=1, description="deviation of the logarithm of the shading")
    noise: float = Field(0.035, ge=0, le=1, description="Rician noise, of full scale")
    degrees: float = Field(0.0, ge=0, le=30, description="largest rotation about each axis")
    scale: float = Field(0.0, ge=0, le=0.2, description="largest change of size along each axis, as a share")
    shift: float = Field(0.0, ge=0, le=20, description="largest shift along each axis, in mm")
    warp: float = Field(0.0, ge=0, le=10, description="largest smooth deformation, in high-field voxels")

    @property
    def misaligned(self) -> bool:
        """Whether the low-field scan shows the anatomy elsewhere."""
        return max(self.degrees, self.scale, self.shift, self.warp) > 0


def degrade_scans(
    inputs: list[Path], out: Path, *, seed: int = 0, config: DegradeConfig | None = None, jobs: int | None = None
) -> Path:
    """Write `<subject>_low.nii.gz` for each scan, and a `pairs.csv` that names the scans themselves as the high ones.

    A misaligned scan's true transform (points of the high-field scan to those of the low-field scan, mm) goes to
    `truth/<subject>.h5`, to judge a registration by; `pairs.csv` does not name it.

    Args:
        inputs: high-field scans, files or DICOM folders; a subject is named like its file without ending, with `-` for
            what no name may hold.
        out: folder; made if missing, what this command wrote there before is replaced.
        seed: any number from 0; a scan's partner depends on the seed and the subject's name, not on the other scans.
        config: what is lost.
        jobs: processes at most.

    Returns:
        the `pairs.csv`, written last.

    Raises:
        InvalidInputError: a scan cannot be read, two have the same name, or the folder holds another cohort.
    """
    config = config or DegradeConfig()
    names = [subject_name(path) for path in inputs]
    for name in duplicates(names):
        twice = [str(path) for path in inputs if subject_name(path) == name]
        raise InvalidInputError(f"{' and '.join(twice)} would both be subject '{name}'; rename one of them")
    record = {"seed": seed, "inputs": [str(path.absolute()) for path in inputs], "config": config.model_dump()}
    claim_folder(out, "degrade.json", record | {"mrisynth": mrisynth.__version__})
    largest = max((path.stat().st_size for path in inputs if path.is_file()), default=0)
    degrade = partial(_degrade, out=out, seed=seed, config=config)
    map_in_processes(degrade, inputs, jobs=jobs, memory=2**29 + _BYTES_A_FILE_BYTE * largest)
    return write_pairs(out, [(n, f"{n}_low.nii.gz", str(p.absolute())) for n, p in zip(names, inputs, strict=True)])


def subject_name(path: Path) -> str:
    """A subject's name from its scan's: the file's name without its ending, `-` for characters that no name may hold.

    Raises:
        InvalidInputError: nothing is left.
    """
    stem = re.sub(
        r"\.(nii|nrrd|mha|mhd|nhdr|hdr|img|dcm|tiff?)?(\.gz)?$", "", path.absolute().name, flags=re.IGNORECASE
    )
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")
    if not name:
        raise InvalidInputError(f"{path} has no letter or digit in its name that could name a subject; rename it")
    return name


def _degrade(path: Path, *, out: Path, seed: int, config: DegradeConfig) -> None:
    """Write the partner of one scan."""
    name = subject_name(path)
    place_rng, scan_rng = np.random.default_rng([seed, *name.encode()]).spawn(2)
    high = read_volume(path)
    seen = _see(high, config)
    if config.misaligned:
        seen = _misplace(place_rng, Volume(seen, high.spacing, high.origin, high.direction), config, out, name)
    low = np.maximum(halve(seen, config.taper), 0)
    low = low * bias_field(scan_rng, low > 0.25 * np.percentile(low, 99), config.bias)
    image = sitk.GetImageFromArray(digitize(scan_rng, add_rician_noise(scan_rng, low, config.noise)))
    image.SetOrigin(high.origin)
    image.SetDirection(high.direction)
    image.SetSpacing([LOW_EVERY * step for step in reversed(high.spacing)])
    write_image(out / f"{name}_low.nii.gz", image)


def _see(high: Volume, config: DegradeConfig) -> Array:
    """The scan on a scale from 0 to 1, under the low field's contrast.

    With the defaults the curve turns the phantom's high-field tissues (vessel .10, white .40, grey .78) into its
    low-field ones (.20, .44, .60) to within .05. It is softened near 0, where a pure power would blow up noise.
    """
    dark, bright = np.percentile(high.array, _FULL_SCALE_PERCENTILES)
    scaled = np.clip((high.array - dark) / (bright - dark), 0, 1.2)
    foot, gamma = _GAMMA_SOFTENING, config.gamma
    curve = ((scaled + foot) ** gamma - foot**gamma) / ((1 + foot) ** gamma - foot**gamma)
    return np.asarray(config.brightness * curve, np.float32)


def _misplace(rng: np.random.Generator, volume: Volume, config: DegradeConfig, out: Path, name: str) -> Array:
    """The scan with its anatomy moved; the transform is written as truth."""
    image = volume.to_image()
    move = misalign(rng, image, degrees=config.degrees, scale=config.scale, shift=config.shift, warp=config.warp)
    (out / "truth").mkdir(exist_ok=True)
    sitk.WriteTransform(move.forward, str(out / "truth" / f"{name}.h5"))
    moved = sitk.Resample(image, move.backward, sitk.sitkBSpline, 0.0)
    return np.asarray(sitk.GetArrayFromImage(moved), np.float32)


def halve(array: Array, taper: float) -> Array:
    """Half the resolution on each axis by k-space crop, for any length, with borders that do not wrap around.

    Sample i of the result shows the place of index 2 i of the input.

    Args:
        array: (depth, height, width), any lengths.
        taper: see `crop_kspace`.

    Returns:
        each length halved, rounded up.
    """
    padding = [(_BORDER, _BORDER + length % 2) for length in array.shape]
    halved = crop_kspace(np.pad(array, padding, mode="reflect" if min(array.shape) > _BORDER + 1 else "edge"), taper)
    start = _BORDER // LOW_EVERY
    return halved[tuple(slice(start, start + -(-length // LOW_EVERY)) for length in array.shape)]
