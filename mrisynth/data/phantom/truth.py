"""What is known of a phantom, kept beside it: the truth for registration, bias correction and synthesis."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mrisynth.data.phantom.acquisition import Array
from mrisynth.data.phantom.deformation import STRIDE
from mrisynth.files import write_with


@dataclass(frozen=True, slots=True)
class Truth:
    """The truth of one phantom subject; one `.npz` file, loaded without pickle.

    Args:
        high_points: (d, h, w, 3), physical points (x, y, z) in mm of the high-field voxels (4 i, 4 j, 4 k).
        low_points: (d, h, w, 3), where the low-field scan shows the anatomy of each of `high_points`, in mm. Their
            difference is the displacement from high to low that a registration of low to high should find.
        high_bias: (depth, height, width), the factor on the high-field scan, on its grid; about 1 in the tissue.
        low_bias: the factor on the low-field scan, on its grid.
        clean_high: (depth, height, width), the high-field scan without bias, noise and gain, 0 to about 1.
        mask: (depth, height, width), where the high-field scan shows tissue.
        low_mask: where the low-field scan shows tissue, on its grid.
    """

    high_points: NDArray[np.float32]
    low_points: NDArray[np.float32]
    high_bias: Array
    low_bias: Array
    clean_high: Array
    mask: NDArray[np.bool_]
    low_mask: NDArray[np.bool_]

    def save(self, path: Path) -> None:
        """Write the truth, whole or not at all; fields of factors and intensities as float16, exact to 0.05 %."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("high_bias", "low_bias", "clean_high"):
            arrays[name] = arrays[name].astype(np.float16)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_with(path, lambda temporary: np.savez(temporary, **arrays))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a truth; factors and intensities come as float32."""
        with np.load(path, allow_pickle=False) as archive:
            arrays = {field.name: archive[field.name] for field in fields(cls)}
        return cls(**{name: a.astype(np.float32) if a.dtype == np.float16 else a for name, a in arrays.items()})

    def registration_errors(self, transform: sitk.Transform) -> NDArray[np.float64]:
        """How far a registration misses, at every fourth voxel of the tissue, in mm.

        Args:
            transform: from points of the high-field scan to points of the low-field scan, as `sitk.Resample` takes it
                to resample the low-field scan onto the high-field grid.

        Returns:
            (points,), distances in mm; divide by the high-field spacing for voxels.
        """
        inside = self.mask[::STRIDE, ::STRIDE, ::STRIDE]
        points = self.high_points[inside].astype(float).tolist()
        found = np.array([transform.TransformPoint(point) for point in points])
        return np.asarray(np.linalg.norm(found - self.low_points[inside], axis=1))


def remaining_bias(bias: Array, estimate: Array, mask: NDArray[np.bool_]) -> float:
    """The shading that a bias correction leaves: variation (deviation over mean) of true over estimated bias in a mask.

    Args:
        bias: the true factor, any shape.
        estimate: the factor that was divided out, same shape.
        mask: where it counts, same shape.
    """
    left = bias[mask].astype(float) / estimate[mask]
    return float(left.std() / left.mean())


def coarse_points(image: sitk.Image) -> NDArray[np.float64]:
    """Physical points (x, y, z) in mm of every fourth voxel of a grid, (d, h, w, 3)."""
    index = np.stack(np.meshgrid(*(np.arange(0, n, STRIDE) for n in reversed(image.GetSize())), indexing="ij"), -1)
    matrix = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    return np.asarray(index[..., ::-1] @ matrix.T + image.GetOrigin())


def map_points(transform: sitk.Transform, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every point (..., 3) through a transform, mm to mm."""
    moved = [transform.TransformPoint(point) for point in points.reshape(-1, 3).tolist()]
    return np.reshape(moved, points.shape)
