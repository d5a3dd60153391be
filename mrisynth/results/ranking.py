"""In which order models come, and how alike two orders are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def ranks(values: Sequence[float], *, direction: str) -> NDArray[np.float64]:
    """The place of each value, 1 for the best; equal values share the mean of their places.

    Args:
        values: one number a model.
        direction: "maximize" where more is better, else "minimize".
    """
    array = np.asarray(values, dtype=np.float64) * (-1 if direction == "maximize" else 1)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    places: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return places


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation of two rankings (Pearson's of their ranks); None where one of them is all ties."""
    a, b = first - first.mean(), second - second.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else None


def kendall(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Kendall's rank correlation tau-b, which allows for ties; None where one of the rankings is all ties.

    M. G. Kendall, *The treatment of ties in ranking problems*, Biometrika 33 (1945).
    """
    upper = np.triu_indices(len(first), 1)
    a, b = (np.sign(np.subtract.outer(each, each))[upper] for each in (first, second))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else None
