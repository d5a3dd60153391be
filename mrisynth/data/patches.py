"""Square patches of single slices: where they are taken, and how they are cut out of a volume.

Sampling and cutting need numpy alone; putting patches of an image together again is in `stitching`.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from mrisynth.config import Config
from mrisynth.errors import InvalidInputError

Blend = Literal["average", "crop", "hann", "gaussian"]

_ADDED_LATER = ("foreground",)
"""Fields of `PatchConfig` that came when there were stores with shards: in a key only where they are not at their
default, which gives the patches of before and must stay as it is."""


class PatchConfig(Config):
    """Which patches a model is trained on."""

    size: int = Field(64, ge=8, le=512, description="height and width of a patch, in voxels of the high-field grid")
    per_subject: int = Field(300, ge=1, le=100_000, description="random patches of each training subject")
    axes: Annotated[tuple[Literal[0, 1, 2], ...], Field(min_length=1)] = Field(
        (0, 1, 2), description="axes (depth, height, width) across which slices are cut; each gives an equal share"
    )
    # Specimens fill a part of their scan only. A patch of mere background shows a network nothing of tissue, and where
    # a batch holds many, batch normalisation learns the statistics of noise. 0 samples as the paper describes it.
    tissue: float = Field(0.1, ge=0, le=1, description="least part of a patch that must be tissue; 0 takes any patch")
    foreground: float = Field(
        0.0, ge=0, le=1, description="part of the patches whose centre is tissue for certain; 0 leaves that to chance"
    )
    seed: int = Field(0, ge=0, description="the same seed draws the same patches")

    @field_validator("axes")
    @classmethod
    def _no_axis_twice(cls, axes: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(axes)) != len(axes):
            raise ValueError(f"each axis may stand once, got {list(axes)}")
        return axes

    def content(self) -> dict[str, Any]:
        """What decides the patches, for their key: without the later fields that change nothing."""
        unused = {name for name in _ADDED_LATER if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(mode="json", exclude=unused)


class StitchConfig(Config):
    """How the generated patches of an image are put together."""

    stride: int = Field(20, ge=1, description="voxels from one patch to the next")
    crop: int = Field(4, ge=0, description="voxels dropped along each side of a patch, but not at the image's border")
    blend: Blend = Field(
        "average", description="weights where patches overlap: all alike, only the nearest patch, Hann or Gaussian bell"
    )

    def check_size(self, size: int) -> None:
        """Raise a ValueError if patches of `size` voxels would leave gaps between them at this stride and crop."""
        kept = size - 2 * self.crop
        if kept < 1:
            raise ValueError(f"crop {self.crop} leaves nothing of a patch of {size}: at most {(size - 1) // 2}")
        if self.stride > kept:
            raise ValueError(
                f"stride {self.stride} leaves gaps between patches of {size} cropped by {self.crop}: at most {kept}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class PatchLocations:
    """Where patches lie in a volume, one entry a patch; integers of shape (n,).

    Attributes:
        axis: the axis across which the slice is cut.
        index: which slice along that axis.
        row, column: the patch's first voxel along the two other axes, in their order. Negative where the volume is
            smaller than the patch: it then lies centred on the volume, and the rest is its mirror image.
    """

    axis: NDArray[np.int64]
    index: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.axis)


def sample_locations(
    mask: NDArray[Any], config: PatchConfig, *, count: int, generator: np.random.Generator
) -> PatchLocations:
    """Draw patches uniformly, with replacement, among all that hold enough tissue.

    Of every axis the first patches are those whose centre is tissue for certain (`config.foreground`); they are drawn
    as uniformly, among the places of which that is true.

    Args:
        mask: tissue of the volume, shape (depth, height, width), not zero inside; its values matter only where `config`
            asks for tissue.
        config: size of the patches, axes, and how much tissue.
        count: how many patches; the axes share them equally, the first axes take what is left over.
        generator: decides everything random.

    Raises:
        InvalidInputError: no patch along one of the axes holds that much tissue, or has tissue in its centre.
    """
    shares = (share_out(number, len(config.axes)) for number in (count, round(config.foreground * count)))
    parts = [
        _sample_axis(mask, config, axis=axis, count=share, centred=centred, generator=generator)
        for axis, share, centred in zip(config.axes, *shares, strict=True)
    ]
    return PatchLocations(*np.concatenate(parts, 1))


def share_out(count: int, parts: int) -> list[int]:
    """A number of patches in equal parts; the first ones take what is left over."""
    return [count // parts + (position < count % parts) for position in range(parts)]


def extract(volume: NDArray[Any], locations: PatchLocations, size: int) -> NDArray[Any]:
    """Cut patches out of a volume.

    Args:
        volume: shape (depth, height, width).
        locations: n places in it.
        size: height and width of a patch, in voxels.

    Returns:
        Shape (n, 1, size, size), in the volume's type.
    """
    patches = np.empty((len(locations), 1, size, size), volume.dtype)
    span = np.arange(size)
    for axis in range(3):
        chosen = locations.axis == axis
        slices = np.moveaxis(volume, axis, 0)
        rows = mirror(locations.row[chosen, None] + span, slices.shape[1])[:, :, None]
        columns = mirror(locations.column[chosen, None] + span, slices.shape[2])[:, None, :]
        patches[chosen, 0] = slices[locations.index[chosen, None, None], rows, columns]
    return patches


def first_voxels(length: int, size: int) -> NDArray[np.int64]:
    """Every place where a patch may begin along an axis: all inside, or, on a shorter axis, centred on it."""
    if length < size:
        return np.array([-((size - length) // 2)])
    return np.arange(length - size + 1)


def mirror(positions: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Positions along an axis of `length` voxels, those outside reflected about its first or last voxel."""
    period = max(2 * (length - 1), 1)
    wrapped = positions % period
    return np.minimum(wrapped, period - wrapped) if length > 1 else np.zeros_like(positions)


def _sample_axis(
    mask: NDArray[Any], config: PatchConfig, *, axis: int, count: int, centred: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw patches across one axis, the first `centred` of them around tissue: axis, index, row, column; (4, count)."""
    slices, size = np.moveaxis(mask, axis, 0), config.size
    rows, columns = (first_voxels(length, size) for length in slices.shape[1:])
    patch = f"{size} x {size} patch across axis {axis} of the {' x '.join(map(str, mask.shape))} volume"
    places = np.ones((len(slices), len(rows), len(columns)), np.bool_)
    if config.tissue > 0:
        places = _tissue_counts(slices, size) >= config.tissue * size**2
        _refuse_none(places, f"no {patch} holds {config.tissue:.0%} tissue; lower patches.tissue")
    drawn = [_draw(places, count - centred, generator)]
    if centred:
        # Of an even size the voxel behind the middle.
        middles = (mirror(first + size // 2, slices.shape[along]) for along, first in ((1, rows), (2, columns)))
        around = places & (slices[np.ix_(np.arange(len(slices)), *middles)] != 0)
        _refuse_none(around, f"no {patch} has tissue in its centre; set patches.foreground to 0, lower patches.tissue")
        drawn.insert(0, _draw(around, centred, generator))
    index, row, column = np.concatenate(drawn, 1)
    return np.stack([np.full(count, axis), index, rows[row], columns[column]])


def _draw(places: NDArray[np.bool_], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Some of the places that are true, with replacement: their indices along every axis, (axes, count)."""
    possible = np.flatnonzero(places)
    return np.stack(np.unravel_index(possible[generator.integers(len(possible), size=count)], places.shape))


def _refuse_none(places: NDArray[np.bool_], problem: str) -> None:
    """Raise an InvalidInputError where no place is true."""
    if not places.any():
        raise InvalidInputError(f"{problem} or patches.size, or leave the axis out of patches.axes")


def _tissue_counts(mask: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Tissue voxels in every possible patch of every slice, shape (slices, first rows, first columns)."""
    rows, columns = (_covered(length, size) for length in mask.shape[1:])
    return np.stack([_window_sums(plane[np.ix_(rows, columns)] != 0, size) for plane in mask])


def _covered(length: int, size: int) -> NDArray[np.int64]:
    """The voxels along an axis that patches can cover: all of it, with its mirror images where it is too short."""
    first = first_voxels(length, size)
    return mirror(np.arange(first[0], first[-1] + size), length)


def _window_sums(plane: NDArray[np.bool_], size: int) -> NDArray[np.int64]:
    """Sums over every size x size window of a plane, by its summed-area table."""
    table = np.pad(plane, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums: NDArray[np.int64] = table[size:, size:] - table[:-size, size:] - table[size:, :-size] + table[:-size, :-size]
    return sums
