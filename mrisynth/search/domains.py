"""The values a parameter may take, and how a trial is asked for one of them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Suggests(Protocol):
    """What a domain needs of a trial; every `optuna.trial.BaseTrial` has it."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number in [low, high]."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number in [low, high]."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`."""


@dataclass(frozen=True, slots=True)
class Constant:
    """One value, which no trial is asked for."""

    value: Any

    def suggest(self, trial: Suggests, name: str) -> Any:
        """The value."""
        return self.value

    def contains(self, value: Any) -> bool:
        """Whether `value` is the value."""
        return same(value, self.value)

    def __str__(self) -> str:
        return f"fixed to {show(self.value)}"

    def to_dict(self) -> dict[str, Any]:
        """The value, as a choice of one."""
        return {"choice": [self.value]}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values; lists among them are known to Optuna as canonical JSON."""

    values: tuple[Any, ...]

    def suggest(self, trial: Suggests, name: str) -> Any:
        """Ask `trial` for one of the values."""
        encoded = trial.suggest_categorical(name, [encode(value) for value in self.values])
        return next(value for value in self.values if same(value, encoded))

    def contains(self, value: Any) -> bool:
        """Whether `value` is one of the values."""
        return any(same(value, known) for known in self.values)

    def __str__(self) -> str:
        return f"{'one of' if len(self.values) > 1 else 'only'} {', '.join(map(show, self.values))}"

    def to_dict(self) -> dict[str, Any]:
        """The choice as in a space file."""
        return {"choice": list(self.values)}


@dataclass(frozen=True, slots=True)
class Range:
    """A number between two bounds, both included: whole if the bounds are, else any."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def suggest(self, trial: Suggests, name: str) -> float:
        """Ask `trial` for a number in the range."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    @property
    def whole(self) -> bool:
        """Whether the range is of whole numbers."""
        return isinstance(self.low, int)

    def contains(self, value: Any) -> bool:
        """Whether `value` is in the range, and on its grid if it has a step."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return self.low <= value <= self.high and abs(steps - round(steps)) < 1e-6

    def __str__(self) -> str:
        step = f" in steps of {self.step:g}" if self.step else ""
        return f"from {self.low:g} to {self.high:g}{step}{' (log)' if self.log else ''}"

    def to_dict(self) -> dict[str, Any]:
        """The range as in a space file."""
        kept = {"log": True} if self.log else {"step": self.step} if self.step else {}
        return {"int" if self.whole else "float": [self.low, self.high], **kept}


Domain = Constant | Choice | Range


def few_values(domain: Domain) -> Iterable[Any] | None:
    """Every value of a domain, or None for a range."""
    if isinstance(domain, Range):
        return None
    return domain.values if isinstance(domain, Choice) else (domain.value,)


def all_values(domain: Domain) -> Sequence[Any] | None:
    """Every value of a domain, a range's on its steps and whole numbers in ones; None where it takes any number."""
    if not isinstance(domain, Range):
        return tuple(few_values(domain) or ())
    if domain.whole:
        return range(int(domain.low), int(domain.high) + 1, int(domain.step or 1))
    if domain.step is None:
        return None
    count = round((domain.high - domain.low) / domain.step) + 1
    return tuple(min(domain.low + index * domain.step, domain.high) for index in range(count))


def encode(value: Any) -> Any:
    """A value as Optuna's categorical distribution takes it: a list becomes canonical JSON."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | tuple) else value


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, where a list equals its encoding but `true` is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(encode(one) == encode(other))


def show(value: Any) -> str:
    """A value as a space file writes it: words as they are, in quotes where they are empty or look like a number."""
    if not isinstance(value, str) or not value or _looks_like_a_number(value):
        return json.dumps(value, default=str)
    return value


def _looks_like_a_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
