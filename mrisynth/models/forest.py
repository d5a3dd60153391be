"""The paper's random forest for super-resolution (RFSR): each pixel's high-field intensity from its surroundings.

The features of a pixel are the 25 intensities of the 5 x 5 pixels around it minus its own; the trees predict the
high-field minus the low-field intensity, and the low-field one is added again. That is how the code behind the paper
does it, except for one thing: it casts the features to integers, which leaves nothing of standardised intensities.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from mrisynth.models import trees
from mrisynth.models.architecture import GeneratorConfig
from mrisynth.models.trees import Trees

Images = NDArray[np.float32]
Block = tuple[int, int, int]

_REACH = 2
_SPAN = 2 * _REACH + 1
# The centre is left out: it is 0 everywhere, so that no tree can split on it, whether it is offered or not.
_SHIFTS = [(row, column) for row in range(_SPAN) for column in range(_SPAN) if (row, column) != (_REACH, _REACH)]
_BATCH = 10  # trees that are grown before the forest can be saved, measured or stopped
_BLOCK = 8192  # pixels at a time: their features (0.8 MB) stay in a core's cache
# What boosting may do, found on noisy and on clean phantoms: slower learning and fewer features at a split overfit
# less. The learning rate of r rounds is 6 / r, so that few rounds learn too.
_LEAVES = 31
_LEARNING, _FASTEST_LEARNING = 6.0, 0.3
_FEATURES = 1 / 3


class ForestConfig(GeneratorConfig):
    """A random forest; trees, depth and patches are the paper's.

    `faithful` is the paper's forest: every tree sees a bootstrap sample of all training pixels and every feature at
    every split. `fast` boosts small trees on histograms of the features instead, which takes a hundredth of the time
    for the same test error.
    """

    name: Literal["forest"] = "forest"
    method: Literal["faithful", "fast"] = Field(
        "faithful", description="The paper's random forest, or boosted trees: as good, and much faster to train."
    )
    trees: int = Field(200, ge=1, le=2000, description="Number of trees; with `fast`, rounds of boosting.")
    depth: int = Field(15, ge=1, le=30, description="Largest depth of a tree.")
    # The paper does not say; 200 is what the code behind it has, of which it names the changed settings alone.
    min_samples_split: int = Field(
        200, ge=2, le=100_000, description="Fewest training pixels of a node that is split (fast: leaves have half)."
    )
    patches: int = Field(2000, ge=1, le=100_000, description="Training patches at most, a seeded subset.")
    pixels: float = Field(1.0, gt=0, le=1, description="Share of their pixels that is trained on, a seeded subset.")
    input: Literal["real", "degraded"] = Field(
        "real", description="Learn from low-field patches, or from high-field patches made coarser."
    )
    factor: int = Field(2, ge=2, le=8, description="With `input: degraded`: how many times coarser.")

    @property
    def batches(self) -> int:
        """In how many steps the forest is grown: the epochs of its trial."""
        return count_batches(self.method, self.trees)

    def build(self) -> "Forest":
        """The forest, not yet fitted: (n, 1, height, width) to the same shape, any height and width."""
        return Forest(self)


class Forest(nn.Module):
    """Trees over 5 x 5 pixels behind the face of a network; it has no parameters, and gradients do not reach it."""

    def __init__(self, config: ForestConfig) -> None:
        super().__init__()
        self.config = config
        self._trees: Trees | None = None

    @property
    def nodes(self) -> int:
        """Nodes of all trees, leaves included."""
        return len(self._fitted().feature)

    def fit(self, low: Images, high: Images, *, seed: int, threads: int | None = None) -> None:
        """Grow all trees, batch by batch; as `grow`."""
        for batch in range(self.config.batches):
            self.grow(low, high, batch=batch, seed=seed, threads=threads)

    def grow(self, low: Images, high: Images, *, batch: int, seed: int, threads: int | None = None) -> None:
        """Grow one batch of trees beside those of the batches before; boosted trees are all of one batch.

        Args:
            low, high: patches, (n, 1, height, width), standardised. With `input: degraded` only their number matters
                of `low`: the input is made of `high` (see `degrade`).
            batch: which one, from 0; trees of this and of later batches are forgotten.
            seed: the same seed grows the same trees, on any number of threads.
            threads: how many to use; by default as many as torch uses, which is one in a trial. More than there are
                idle cores make `fast` many times slower, because its threads wait for each other at every split.
        """
        generator = np.random.default_rng(seed)
        count = min(len(high), self.config.patches)
        chosen = np.sort(generator.choice(len(high), count, replace=False))
        targets = high[chosen, 0]
        inputs = degrade(targets, self.config.factor) if self.config.input == "degraded" else low[chosen, 0]
        rows = max(1, round(self.config.pixels * inputs.size))
        pixels = np.sort(generator.choice(inputs.size, rows, replace=False)) if rows < inputs.size else None
        residuals = (targets - inputs).reshape(-1)
        grow = _grow_forest if self.config.method == "faithful" else _grow_boosting
        grown = grow(
            _training_rows(inputs, pixels, np.float32 if self.config.method == "faithful" else np.float64),
            residuals if pixels is None else residuals[pixels],
            config=self.config,
            count=min(_BATCH, self.config.trees - batch * _BATCH),
            seed=int(np.random.default_rng([seed, batch]).integers(2**31)),
            threads=threads or torch.get_num_threads(),
        )
        self.keep(batch)
        self._trees = grown if self._trees is None else trees.mean_of_all(self._trees, grown)

    def keep(self, batches: int) -> None:
        """Forget the trees of all but the first batches.

        Raises:
            ValueError: there are fewer.
        """
        count = self.config.trees if batches == self.config.batches else batches * _BATCH
        if count == 0:
            self._trees = None
        else:
            self._trees = trees.first_of(self._fitted(), count)

    def forward(self, low: Tensor) -> Tensor:
        """(n, 1, height, width) to the same shape, float32, on torch's number of threads."""
        predict = self._fitted().predictor()
        images = low.detach().to("cpu", torch.float32).contiguous().numpy()[:, 0]
        generated = np.empty_like(images)

        def fill(block: Block) -> None:
            image, start, stop = block
            centre = images[image, start:stop]
            residual = predict(_features(_with_border(images[image], start, stop), centre))
            generated[image, start:stop] = centre + residual.reshape(centre.shape)

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(fill, _blocks(images.shape)))
        return torch.from_numpy(generated[:, None]).to(low.device)

    def save(self, path: Path) -> None:
        """Write the trees to one safetensors file, at once; its folder exists."""
        self._fitted().save(path)

    def load(self, path: Path) -> None:
        """Take the trees of a file that `save` wrote.

        Raises:
            NotFoundError: there is no such file.
            InvalidInputError: it is not a whole forest of ours.
        """
        self._trees = Trees.load(path, features=len(_SHIFTS))

    def _fitted(self) -> Trees:
        if self._trees is None:
            raise RuntimeError("the forest has no trees yet: fit or load it first")
        return self._trees


def degrade(high: Images, factor: int) -> Images:
    """High-field patches as a coarser scanner without noise would see them, on the same grid.

    Shrunk `factor` times with a triangle filter `2 * factor` pixels wide, which blurs (bilinear resizing with
    antialiasing, as Pillow does it and the code behind the paper did on 8 bits), and enlarged again bilinearly.
    Intensities stay on the high-field patches' scale.

    Args:
        high: (n, height, width).
        factor: how many times coarser; lengths that it does not divide are rounded up.
    """
    images = torch.from_numpy(high)[:, None]
    size = [-(-length // factor) for length in high.shape[1:]]
    small = F.interpolate(images, size, mode="bilinear", antialias=True)
    coarse: Images = F.interpolate(small, high.shape[1:], mode="bilinear")[:, 0].numpy()
    return coarse


def count_batches(method: str, trees: int) -> int:
    """In how many steps trees are grown: of a random forest ten at a time, boosted ones all at once."""
    return -(-trees // _BATCH) if method == "faithful" else 1


def _grow_forest(
    rows: NDArray[Any], target: Images, *, config: ForestConfig, count: int, seed: int, threads: int
) -> Trees:
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(
        count,
        max_depth=config.depth,
        min_samples_split=config.min_samples_split,
        random_state=seed,
        n_jobs=threads,
    )
    return trees.from_forest(model.fit(rows, target))


def _grow_boosting(
    rows: NDArray[Any], target: Images, *, config: ForestConfig, count: int, seed: int, threads: int
) -> Trees:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    model = HistGradientBoostingRegressor(
        max_iter=config.trees,
        learning_rate=min(_LEARNING / config.trees, _FASTEST_LEARNING),
        max_leaf_nodes=_LEAVES,
        max_features=_FEATURES,
        max_depth=config.depth,
        min_samples_leaf=-(-config.min_samples_split // 2),
        early_stopping=False,
        random_state=seed,
    )
    with threadpool_limits(threads, user_api="openmp"):
        return trees.from_boosting(model.fit(rows, target))


def _training_rows(images: Images, pixels: NDArray[np.int64] | None, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """The features of all pixels, or of some (sorted, counted through all images), (n, 24)."""
    rows = np.empty((images.size if pixels is None else len(pixels), len(_SHIFTS)), dtype)
    filled = 0
    offset = 0
    for image, start, stop in _blocks(images.shape):
        centre = images[image, start:stop]
        features = _features(_with_border(images[image], start, stop), centre)
        if pixels is not None:
            first, last = np.searchsorted(pixels, (offset, offset + centre.size))
            features = features[pixels[first:last] - offset]
        rows[filled : filled + len(features)] = features
        filled += len(features)
        offset += centre.size
    return rows


def _blocks(shape: tuple[int, ...]) -> Iterator[Block]:
    """(image, first row, row after the last) through images of shape (n, height, width), in order."""
    images, height, width = shape
    step = max(1, _BLOCK // width)
    for image in range(images):
        for start in range(0, height, step):
            yield image, start, min(start + step, height)


def _with_border(image: Images, start: int, stop: int) -> Images:
    """Some rows of an image with the pixels around them, 0 beyond the image; (rows + 4, width + 4)."""
    height = len(image)
    above, below = max(_REACH - start, 0), max(stop + _REACH - height, 0)
    inside = image[max(start - _REACH, 0) : stop + _REACH]
    return np.pad(inside, ((above, below), (_REACH, _REACH)))


def _features(bordered: Images, centre: Images) -> NDArray[np.float32]:
    """Each pixel's surroundings minus itself: (rows + 4, width + 4) and (rows, width) to (rows * width, 24)."""
    rows, width = centre.shape
    features = np.empty((rows, width, len(_SHIFTS)), np.float32)
    for index, (row, column) in enumerate(_SHIFTS):
        np.subtract(bordered[row : row + rows, column : column + width], centre, out=features[..., index])
    return features.reshape(-1, len(_SHIFTS))
