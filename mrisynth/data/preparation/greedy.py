"""Registration by greedy (github.com/pyushkevich/greedy), which the user installs; run as a program of its own.

Never imported: its licence differs from ours, and a crash of it must not take us along.
"""

import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mrisynth.data.preparation.methods import GreedyConfig
from mrisynth.errors import InvalidInputError

BYTES_A_VOXEL = 220
"""What the program takes, for each voxel of both scans: 780 MiB were measured at 160x192x128, bound 928."""

_CALL = "import sys; from picsl_greedy import Greedy3D; Greedy3D().execute(sys.argv[1])"
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def find_greedy() -> list[str]:
    """How to call greedy here, without its arguments: the program on the PATH, or the Python package.

    Raises:
        InvalidInputError: neither is installed.
    """
    if program := shutil.which("greedy"):
        return [program]
    if find_spec("picsl_greedy") is not None:
        return [sys.executable, "-c", _CALL]
    raise InvalidInputError(
        "registration.method is 'greedy', which is not installed here; run `pip install picsl_greedy`, put the program "
        "greedy on the PATH, or choose another method"
    )


def register_by_greedy(
    low: sitk.Image, high: sitk.Image, affine: sitk.AffineTransform, config: GreedyConfig
) -> sitk.DisplacementFieldTransform:
    """The whole transform from points of the high scan to points of the low scan, the affine one included, as a field.

    Args:
        low: the low-field scan, float32 in [0, 1000].
        high: the high-field scan, float32 in [0, 1000].
        affine: where greedy starts, from points of the high scan to points of the low scan.
        config: the settings.

    Raises:
        InvalidInputError: greedy is not installed, or failed; with its last line.
    """
    greedy = find_greedy()
    with tempfile.TemporaryDirectory(prefix="mrisynth-greedy-") as name:
        folder = Path(name)
        sitk.WriteImage(high, str(folder / "high.nii"))
        sitk.WriteImage(low, str(folder / "low.nii"))
        np.savetxt(folder / "affine.mat", matrix_of(affine))
        steps = "x".join(map(str, config.iterations))
        _run(
            greedy,
            f"-d 3 -threads 1 -i high.nii low.nii -it affine.mat -o warp.nii -n {steps} "
            f"-m NCC {'x'.join([str(config.radius)] * 3)} -s {config.update_sigma}vox {config.total_sigma}vox",
            folder,
        )
        _run(greedy, "-d 3 -threads 1 -rf high.nii -r warp.nii affine.mat -rc whole.nii", folder)
        return sitk.DisplacementFieldTransform(sitk.ReadImage(str(folder / "whole.nii"), sitk.sitkVectorFloat64))


def matrix_of(affine: sitk.AffineTransform) -> NDArray[np.float64]:
    """The (4, 4) matrix of an affine transform in mm between points as NIfTI names them (RAS), as greedy reads it."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(affine.GetMatrix(), (3, 3))
    centre = np.array(affine.GetCenter())
    matrix[:3, 3] = np.array(affine.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return np.asarray(_LPS_TO_RAS @ matrix @ _LPS_TO_RAS)


def _run(greedy: list[str], arguments: str, folder: Path) -> None:
    """Call greedy in a folder; the Python package takes its arguments as one."""
    parts = [arguments] if greedy[-1] == _CALL else arguments.split()
    done = subprocess.run([*greedy, *parts], cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"it ended with code {done.returncode}"]
        raise InvalidInputError(f"greedy failed on this pair ({lines[-1]}); try another registration.method")
