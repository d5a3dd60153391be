"""What a space can be asked with instead of an Optuna trial, where there is no study: random draws, or given values."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any


class RandomTrial:
    """Draws every parameter independently and uniformly (log-uniformly where the range says so)."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number in [low, high]."""
        if step is not None:
            return min(high, low + step * self._random.randint(0, round((high - low) / step)))
        if log:
            return min(high, max(low, math.exp(self._random.uniform(math.log(low), math.log(high)))))
        return self._random.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number in [low, high]."""
        if log:
            drawn = math.exp(self._random.uniform(math.log(low - 0.5), math.log(high + 0.5)))
            return min(high, max(low, round(drawn)))
        return self._random.randrange(low, high + 1, step)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`."""
        return self._random.choice(choices)


class GivenTrial:
    """Answers with given parameters, as a study stores them."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """The given number."""
        return float(self._params[name])

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """The given whole number."""
        return int(self._params[name])

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The given choice."""
        return self._params[name]
