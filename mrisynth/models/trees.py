"""Sums of regression trees as plain arrays: grown and walked by scikit-learn, stored without pickle.

scikit-learn's own objects can only be stored as pickles, which run code when they are read, and take ten times the
space. Its walk through a tree is compiled, so a tree is made into its `Tree` again before it is used.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.files import write_with

_SCHEMA_VERSION = 1
_KEY = "mrisynth"
_LEAF = -1


@dataclass(frozen=True, eq=False)
class Trees:
    """Trees whose sum predicts one number from a row of features: `base + weight * (sum of the leaves reached)`.

    The nodes of all trees stand one after the other, each tree in preorder: a node's left child comes right after it.

    Attributes:
        feature: (nodes,), int8, the feature that a node compares; -1 at a leaf.
        number: (nodes,), float32, the threshold (a row goes left where its feature is not above it), or a leaf's value.
        right: (nodes,), int32, the right child, counted from the tree's first node; 0 at a leaf.
        first: (trees,), int64, each tree's first node.
        features: how many features a row has.
        base, weight: see above.
    """

    feature: NDArray[np.int8]
    number: NDArray[np.float32]
    right: NDArray[np.int32]
    first: NDArray[np.int64]
    features: int
    base: float
    weight: float

    def predictor(self) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
        """A function from rows (n, features) to their sums (n,); it may run in several threads at once.

        It is fastest on rows that fit a core's cache, about 10,000 at a time.
        """
        walkers = self._walkers

        def predict(rows: NDArray[np.float32]) -> NDArray[np.float64]:
            total = np.zeros(len(rows))
            for tree, values in walkers:
                total += values.take(tree.apply(rows))
            return total * self.weight + self.base

        return predict

    @cached_property
    def _walkers(self) -> list[tuple[Any, NDArray[np.float32]]]:
        """Each tree as scikit-learn walks it, and its nodes' values."""
        ends = [*self.first[1:].tolist(), len(self.feature)]
        return [self._walker(slice(first, end)) for first, end in zip(self.first.tolist(), ends, strict=True)]

    def _walker(self, nodes: slice) -> tuple[Any, NDArray[np.float32]]:
        from sklearn.tree._tree import Tree

        tree = Tree(self.features, np.ones(1, np.intp), 1)
        feature, right, number = self.feature[nodes], self.right[nodes], self.number[nodes]
        inner = feature != _LEAF
        # Only these four fields matter to `apply`; the type is asked for because it differs between versions.
        state = np.zeros(len(feature), tree.__getstate__()["nodes"].dtype)
        state["left_child"] = np.where(inner, np.arange(1, len(feature) + 1), -1)
        state["right_child"] = np.where(inner, right, -1)
        state["feature"] = np.where(inner, feature, -2)
        state["threshold"] = number
        values = np.zeros((len(feature), 1, 1))
        tree.__setstate__({"max_depth": 0, "node_count": len(feature), "nodes": state, "values": values})
        return tree, number

    def save(self, path: Path) -> None:
        """Write one safetensors file, at once; its folder exists."""
        from safetensors.numpy import save_file

        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        header = {name: value for name, value in values.items() if name not in tensors}
        metadata = {_KEY: json.dumps({"schema_version": _SCHEMA_VERSION, **header}, allow_nan=False)}
        write_with(path, lambda temporary: save_file(tensors, temporary, metadata))

    @classmethod
    def load(cls, path: Path, *, features: int) -> "Trees":
        """Read what `save` wrote of trees for rows of so many features.

        Raises:
            NotFoundError: there is no such file.
            InvalidInputError: it is not a whole file of ours; nothing in it can make a prediction crash.
        """
        import safetensors

        try:
            with safetensors.safe_open(path, framework="numpy") as stored:
                header = json.loads((stored.metadata() or {})[_KEY])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            if header.pop("schema_version") != _SCHEMA_VERSION:
                raise ValueError(f"its schema_version is not {_SCHEMA_VERSION}")
            trees = cls(**tensors, **header)
            trees._check()
            if trees.features != features:
                raise ValueError(f"it looks at {trees.features} features, not {features}")
        except FileNotFoundError:
            raise NotFoundError(f"{path} does not exist") from None
        except (AttributeError, KeyError, OSError, TypeError, ValueError, safetensors.SafetensorError) as error:
            why = " ".join(str(error).split())
            raise InvalidInputError(f"{path} is not a whole forest of mrisynth ({why}); train it again") from None
        return trees

    def _check(self) -> None:
        """Refuse what would lead a walk out of its tree: the compiled walk itself checks nothing."""
        types = {"feature": np.int8, "number": np.float32, "right": np.int32, "first": np.int64}
        for name, kind in types.items():
            array = getattr(self, name)
            if array.ndim != 1 or array.dtype != kind:
                raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
        nodes = len(self.feature)
        if len(self.number) != nodes or len(self.right) != nodes:
            raise ValueError("its arrays differ in length")
        sizes = np.diff(self.first, append=nodes)
        if not len(sizes) or self.first[0] != 0 or sizes.min() < 1:
            raise ValueError("its trees do not follow each other")
        if self.feature.min() < _LEAF or self.feature.max() >= self.features:
            raise ValueError(f"it compares features beyond {self.features}")
        place = np.arange(nodes) - np.repeat(self.first, sizes)
        inner = self.feature != _LEAF
        # Children that always come later lead to a leaf in the end, and a right child not the last has a left one.
        if np.any(inner & ((self.right <= place + 1) | (self.right >= np.repeat(sizes, sizes)))):
            raise ValueError("a node's child lies outside its tree")
        if not np.isfinite(self.number).all() or not np.isfinite([self.base, self.weight]).all():
            raise ValueError("it holds numbers that are not finite")


def mean_of_all(one: Trees, other: Trees) -> Trees:
    """Two random forests as one, which predicts the mean over the trees of both."""
    return _mean(
        {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in ("feature", "number", "right")},
        first=np.concatenate([one.first, other.first + len(one.feature)]),
        features=one.features,
    )


def first_of(forest: Trees, count: int) -> Trees:
    """The first trees of a random forest; the forest itself where these are all.

    Raises:
        ValueError: it has fewer.
    """
    if len(forest.first) < count:
        raise ValueError(f"it has {len(forest.first)} trees, not {count}")
    if len(forest.first) == count:
        return forest
    end = forest.first[count]
    kept = {name: getattr(forest, name)[:end] for name in ("feature", "number", "right")}
    return _mean(kept, first=forest.first[:count], features=forest.features)


def _mean(arrays: dict[str, NDArray[Any]], *, first: NDArray[np.int64], features: int) -> Trees:
    return Trees(**arrays, first=first, features=features, base=0.0, weight=1.0 / len(first))


def from_forest(model: Any) -> Trees:
    """The trees of a fitted `RandomForestRegressor`, which predicts their mean."""
    parts = [estimator.tree_.__getstate__() for estimator in model.estimators_]
    return _join(
        [
            _arrays(
                part["nodes"]["left_child"],
                part["nodes"]["right_child"],
                feature=part["nodes"]["feature"],
                threshold=part["nodes"]["threshold"],
                value=part["values"][:, 0, 0],
            )
            for part in parts
        ],
        features=model.n_features_in_,
        base=0.0,
        weight=1.0 / len(parts),
    )


def from_boosting(model: Any) -> Trees:
    """The trees of a fitted `HistGradientBoostingRegressor` of the squared error, which predicts their sum."""
    parts = [predictor.nodes for (predictor,) in model._predictors]
    return _join(
        [
            _arrays(
                np.where(part["is_leaf"], _LEAF, part["left"].astype(np.int64)),
                part["right"],
                feature=part["feature_idx"],
                threshold=part["num_threshold"],
                value=part["value"],
            )
            for part in parts
        ],
        features=model.n_features_in_,
        base=float(model._baseline_prediction.item()),
        weight=1.0,
    )


def _arrays(
    left: NDArray[Any], right: NDArray[Any], *, feature: NDArray[Any], threshold: NDArray[Any], value: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """One tree; features are float32, so that thresholds rounded down to float32 part them in the same way."""
    inner = left != _LEAF
    assert np.array_equal(left[inner], np.flatnonzero(inner) + 1), "scikit-learn builds its trees in preorder"
    rounded = threshold.astype(np.float32)
    rounded = np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return {
        "feature": np.where(inner, feature, _LEAF).astype(np.int8),
        "number": np.where(inner, rounded, value).astype(np.float32),
        "right": np.where(inner, right, 0).astype(np.int32),
    }


def _join(parts: list[dict[str, NDArray[Any]]], *, features: int, base: float, weight: float) -> Trees:
    first = np.cumsum([0, *(len(part["feature"]) for part in parts[:-1])], dtype=np.int64)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Trees(**joined, first=first, features=features, base=base, weight=weight)
