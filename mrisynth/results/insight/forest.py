"""A small forest of extremely randomised trees, in numpy: the readers of results do not need scikit-learn.

P. Geurts, D. Ernst, L. Wehenkel, *Extremely randomized trees*, Machine Learning 63 (2006). Features are given as codes
(bins of a number, or categories), so that a split is a set of codes: all trees grow level by level at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
CODES = 32
"""How many codes a feature may have at most."""


@dataclass(frozen=True, slots=True)
class Forest:
    """Grown trees.

    Args:
        features: by level, the feature that each node splits by: (trees, nodes of the level).
        masks: by level, the codes that go right, as bits: (trees, nodes of the level).
        leaves: the mean target of each leaf, (trees, leaves).
    """

    features: list[Codes]
    masks: list[Codes]
    leaves: Floats

    def predict(self, codes: Codes) -> Floats:
        """The mean of the trees for each of n samples; codes (n, features)."""
        trees, count = len(self.leaves), len(codes)
        node = np.zeros((trees, count), np.int64)
        tree, sample = np.arange(trees)[:, None], np.arange(count)[None, :]
        for features, masks in zip(self.features, self.masks, strict=True):
            code = codes[sample, features[tree, node]]
            node = 2 * node + ((masks[tree, node] >> code) & 1)
        predicted: Floats = self.leaves[tree, node].mean(axis=0)
        return predicted


def grow(
    codes: Codes,
    target: Floats,
    *,
    ordered: NDArray[np.bool_],
    rng: np.random.Generator,
    trees: int = 16,
    depth: int = 7,
    least: int = 3,
) -> Forest:
    """Grow a forest that predicts a number from codes.

    Args:
        codes: (n, features), each in [0, 32).
        target: (n,).
        ordered: by feature, whether its codes are in order: then a split cuts them in two, else it is any set of them.
        rng: decides the splits that are tried, one for each feature (at most 12) at each node.
        trees, depth: how many trees, and how many levels of splits each.
        least: how many samples each side of a split must have.
    """
    node = np.zeros((trees, len(codes)), np.int64)
    features, masks = [], []
    for level in range(depth):
        nodes = 2**level
        place = node + nodes * np.arange(trees)[:, None]
        chosen, mask = _best_splits(codes, target, place.ravel(), ordered=ordered, rng=rng, shape=(trees, nodes))
        mask = np.where(_splits(codes, chosen, mask, place, least=least), mask, 0)
        features.append(chosen.reshape(trees, nodes))
        masks.append(mask.reshape(trees, nodes))
        node = 2 * node + _right(codes, chosen, mask, place)
    place = (node + 2**depth * np.arange(trees)[:, None]).ravel()
    size = trees * 2**depth
    sums = np.bincount(place, np.tile(target, trees), size)
    counts = np.bincount(place, minlength=size)
    leaves = np.where(counts > 0, sums / np.maximum(counts, 1), target.mean())
    return Forest(features, masks, leaves.reshape(trees, 2**depth))


def _best_splits(
    codes: Codes,
    target: Floats,
    place: Codes,
    *,
    ordered: NDArray[np.bool_],
    rng: np.random.Generator,
    shape: tuple[int, int],
) -> tuple[Codes, Codes]:
    """For each node the best of the random splits tried: by how much it lessens the squared error."""
    trees, size = shape[0], shape[0] * shape[1]
    many, goal = codes.shape[1], np.tile(target, trees)
    whole, total = np.bincount(place, minlength=size), np.bincount(place, goal, size)
    best, feature, mask = np.full(size, -1.0), np.zeros(size, np.int64), np.zeros(size, np.int64)
    tried = np.argsort(rng.random((size, many)), axis=1)[:, : min(many, 12)]
    sample = np.tile(np.arange(len(codes)), trees)
    for candidate in tried.T:
        bits = _random_masks(codes, candidate, place, sample, ordered=ordered, rng=rng)
        right = ((bits[place] >> codes[sample, candidate[place]]) & 1).astype(np.float64)
        count, sums = np.bincount(place, right, size), np.bincount(place, right * goal, size)
        left, rest = whole - count, total - sums
        score = sums**2 / np.maximum(count, 1) + rest**2 / np.maximum(left, 1)
        score[(count < 1) | (left < 1)] = -1.0
        better = score > best
        best = np.where(better, score, best)
        feature, mask = np.where(better, candidate, feature), np.where(better, bits, mask)
    return feature, mask


def _random_masks(
    codes: Codes,
    candidate: Codes,
    place: Codes,
    sample: Codes,
    *,
    ordered: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Codes:
    """For each node a cut above the code of one of its samples, or a random set of codes."""
    pick = np.zeros(len(candidate), np.int64)
    order = rng.permutation(len(place))
    pick[place[order]] = sample[order]  # the last one written stays: a random sample of the node
    cut = codes[pick, candidate]
    whole = np.int64(2**CODES - 1)
    above = whole & ~((np.int64(2) << cut) - 1)
    return np.where(ordered[candidate], above, rng.integers(0, 2**CODES, len(candidate)))


def _right(codes: Codes, feature: Codes, mask: Codes, place: Codes) -> Codes:
    """Whether each sample goes right in each tree: (trees, n) of 0 and 1."""
    sample = np.arange(codes.shape[0])[None, :]
    right: Codes = (mask[place] >> codes[sample, feature[place]]) & 1
    return right


def _splits(codes: Codes, feature: Codes, mask: Codes, place: Codes, *, least: int) -> NDArray[np.bool_]:
    """Which nodes have enough samples on both sides of their split."""
    right = _right(codes, feature, mask, place).ravel().astype(np.float64)
    whole = np.bincount(place.ravel(), minlength=len(mask))
    count = np.bincount(place.ravel(), right, len(mask))
    enough: NDArray[np.bool_] = (count >= least) & (whole - count >= least)
    return enough
