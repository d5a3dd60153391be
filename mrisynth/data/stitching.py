"""Images cut into overlapping patches and put together again: the two are exact inverses, for every shape of image.

The patches of an image stand in rows and columns, and every blend is a product of weights along the two. So patches are
put together to strips, and strips to images: one addition for each row and each column of patches, however many images
there are, always in the same order (the same bits, on CUDA too), and the host never waits for the device.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrisynth.data.patches import Blend, StitchConfig, first_voxels, mirror

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class StitchPlan:
    """How images of one shape are cut into patches and put together; made by `plan_stitch`.

    Attributes:
        height, width: of the image, in voxels.
        size: height and width of a patch, in voxels.
        rows, columns: the first voxel of each row and each column of patches. Negative where the image is smaller than
            a patch: the patch then lies centred on the image, and the rest is its mirror image.
        crop, blend: see `StitchConfig`.
    """

    height: int
    width: int
    size: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    crop: int
    blend: Blend

    @property
    def patches(self) -> int:
        """Patches an image, k."""
        return len(self.rows) * len(self.columns)

    @property
    def seams(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Where patches meet: the first row, and the first column, after each line where a patch begins or ends.

        Of a patch counts the part that is kept of it. The image's own border is no such line.
        """
        return _axis_seams(self, self.rows, self.height), _axis_seams(self, self.columns, self.width)

    def cut(self, images: "torch.Tensor") -> "torch.Tensor":
        """Cut images into patches, all of them.

        Args:
            images: shape (n, height, width), on any device.

        Returns:
            Shape (n * k, 1, size, size): the patches of the first image row by row, then those of the next.
        """
        return next(self.batches(images, len(images) * self.patches))

    def batches(self, images: "torch.Tensor", batch_size: int) -> Iterator["torch.Tensor"]:
        """Cut images into patches, some at a time: of the others there are only views.

        Args:
            images: shape (n, height, width), on any device.
            batch_size: patches at a time.

        Yields:
            What `cut` gives, in pieces of shape (batch_size, 1, size, size); the last may be smaller.
        """
        import torch

        if images.shape[1:] != (self.height, self.width):
            raise ValueError(f"the plan is for images of {self.height} x {self.width}, not {tuple(images.shape[1:])}")
        for axis, (first, length) in enumerate(((self.rows, self.height), (self.columns, self.width)), start=1):
            if length < self.size:
                voxels = mirror(np.arange(first[0], first[0] + self.size), length)
                images = images.index_select(axis, torch.from_numpy(voxels).to(images.device))
        # Every window there is, as a view: (n, first rows, first columns, size, size).
        windows = images.unfold(1, self.size, 1).unfold(2, self.size, 1)
        places = _places(self, len(images), images.device)
        for image, row, column in zip(*(torch.split(place, batch_size) for place in places), strict=True):
            yield windows[image, row, column].unsqueeze(1)

    def stitch(self, patches: "torch.Tensor") -> "torch.Tensor":
        """Put patches together, in the order in which `cut` gives them.

        Half-precision patches are added up in float32.

        Args:
            patches: shape (n * k, 1, size, size), on any device.

        Returns:
            The images, shape (n, height, width), float32 or float64.
        """
        import torch

        if patches.shape[1:] != (1, self.size, self.size) or len(patches) % self.patches:
            raise ValueError(
                f"the plan is for {self.patches} patches of (1, {self.size}, {self.size}) an image, "
                f"not {tuple(patches.shape)}"
            )
        rows, columns = len(self.rows), len(self.columns)
        values = patches.view(-1, rows, columns, self.size, self.size)
        if values.dtype != torch.float64:
            values = values.float()
        row_weights, column_weights = (weights.to(values.dtype) for weights in _weights(self, patches.device))
        strips = values.new_zeros(len(values), rows, self.size, max(self.width, self.size))
        for number, part in enumerate(self._parts(self.columns)):
            strips[..., part].addcmul_(values[:, :, number], column_weights[number])
        images = values.new_zeros(len(values), max(self.height, self.size), strips.shape[-1])
        for number, part in enumerate(self._parts(self.rows)):
            images[:, part].addcmul_(strips[:, number], row_weights[number, :, None])
        top, left = max(-self.rows[0], 0), max(-self.columns[0], 0)
        return images[:, top : top + self.height, left : left + self.width]

    def _parts(self, first: tuple[int, ...]) -> list[slice]:
        """What each row or column of patches covers of an image that was padded to the size of a patch at least."""
        return [slice(start - first[0], start - first[0] + self.size) for start in first]


def plan_stitch(height: int, width: int, *, size: int, stride: int, crop: int, blend: Blend) -> StitchPlan:
    """Plan the patches of an image: one every `stride` voxels, the last ones flush with the image's border.

    Args:
        height, width: of the image, in voxels.
        size: height and width of a patch, in voxels.
        stride, crop, blend: see `StitchConfig`.

    Raises:
        ValueError: the patches would leave gaps between them.
    """
    StitchConfig(stride=stride, crop=crop, blend=blend).check_size(size)
    rows, columns = _first_voxels(height, size, stride), _first_voxels(width, size, stride)
    return StitchPlan(height, width, size, rows, columns, crop, blend)


@lru_cache(maxsize=64)
def _weights(plan: StitchPlan, device: "torch.device") -> tuple["torch.Tensor", "torch.Tensor"]:
    """The weights along the rows (rows, size) and along the columns (columns, size) of patches, on the device."""
    import torch

    axes = ((plan.rows, plan.height), (plan.columns, plan.width))
    # Not as inference tensors, even if a caller in inference mode comes first: the next may want gradients.
    with torch.inference_mode(mode=False):
        rows, columns = (torch.from_numpy(_axis_weights(plan, *axis)).to(device, torch.float32) for axis in axes)
    return rows, columns


@lru_cache(maxsize=64)
def _places(
    plan: StitchPlan, images: int, device: "torch.device"
) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
    """The image, first row and first column of every patch of so many images, each of shape (images * k,).

    Counted from where an image begins that was padded to the size of a patch at least.
    """
    import torch

    with torch.inference_mode(mode=False):  # as in `_weights`
        rows, columns = (torch.tensor(first) - first[0] for first in (plan.rows, plan.columns))
        image, row, column = torch.cartesian_prod(torch.arange(images), rows, columns).to(device).unbind(1)
    return image, row, column


def _first_voxels(length: int, size: int, stride: int) -> tuple[int, ...]:
    """Where patches begin along an axis: every `stride` voxels, and the last one flush with the end."""
    possible = first_voxels(length, size)
    return tuple(int(first) for first in (*possible[:-1:stride], possible[-1]))


def _axis_weights(plan: StitchPlan, first: tuple[int, ...], length: int) -> NDArray[np.float64]:
    """The weights of patches along one axis, shape (patches, size): 0 outside the image, of sum 1 where they meet."""
    positions = np.array(first)[:, None] + np.arange(plan.size)
    start, end = (limit[:, None] for limit in _kept(plan, first, length))
    weights = np.where((positions >= start) & (positions < end), _bell(plan.blend, positions, start, end), 0.0)
    voxels = mirror(positions, length)
    return weights / np.bincount(voxels.ravel(), weights.ravel())[voxels]


def _axis_seams(plan: StitchPlan, first: tuple[int, ...], length: int) -> tuple[int, ...]:
    """The first voxel after each line along one axis, ascending."""
    limits = np.unique(np.concatenate(_kept(plan, first, length)))
    return tuple(int(limit) for limit in limits if 0 < limit < length)


def _kept(plan: StitchPlan, first: tuple[int, ...], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The part [start, end) of each patch along one axis that is kept, inside the image: two of shape (patches,)."""
    start = np.array(first)
    end = start + plan.size
    # At the image's border there is no other patch to take over: the outer rim stays.
    cropped_start, cropped_end = start.copy(), end.copy()
    cropped_start[1:] += plan.crop
    cropped_end[:-1] -= plan.crop
    if plan.blend == "crop":
        # Each voxel from the patch whose centre is nearest: overlaps are cut in their middle.
        cropped_start[1:] = cropped_end[:-1] = -(-(start[1:] + end[:-1]) // 2)
    return np.maximum(cropped_start, 0), np.minimum(cropped_end, length)


def _bell(
    blend: Blend, positions: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.float64]:
    """A blend's weight before normalisation, over the part [start, end) of each patch that is kept."""
    place = (positions + 0.5 - start) / (end - start)
    if blend == "hann":
        return np.sin(np.pi * place) ** 2
    if blend == "gaussian":
        # A deviation of an eighth of the width, the usual choice for sliding windows (MONAI, nnU-Net).
        return np.exp(-0.5 * (8 * (place - 0.5)) ** 2)
    return np.ones_like(place)
