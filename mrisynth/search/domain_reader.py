"""From what stands behind a parameter in a space file to its domain, every mistake noted."""

from dataclasses import replace
from typing import Any

from mrisynth.search.domains import Choice, Constant, Domain, Range, same, show
from mrisynth.search.space_file import Mistakes, did_you_mean
from mrisynth.search.yaml_document import Place
from mrisynth.training.parameters import Parameter
from mrisynth.words import nearest

_KINDS = ("float", "int", "choice")
_RANGE_KEYS = ("float", "int", "log", "step", "when")
_CHOICE_KEYS = ("choice", "when")


class _RefusedError(Exception):
    """The values make no sense; why is noted."""


class DomainReader:
    """Reads what one parameter of a space may be.

    Args:
        path: the parameter's dotted path.
        parameter: what the config says of it.
        place: where its values stand in the file.
        mistakes: collects what is wrong.
    """

    def __init__(self, path: str, parameter: Parameter, *, place: Place, mistakes: Mistakes) -> None:
        self.path = path
        self.parameter = parameter
        self.place = place
        self.mistakes = mistakes

    def fixed(self, value: Any) -> Domain | None:
        """The domain of a fixed value, or None if it is not legal."""
        if isinstance(value, list) and self.parameter.type != "list":
            self._note(
                f"is {show(value)} under 'fixed', where it has one value; write a list of choices under 'search'"
            )
            return None
        return Constant(self.parameter.normal(value)) if self._legal(value, self.place) else None

    def searched(self, spec: Any) -> Domain | None:
        """The domain in a list, or in a mapping with `float`, `int` or `choice`; None if it makes no sense."""
        try:
            if isinstance(spec, list):
                self._warn_of_two_numbers(spec)
            domain = self._choice(spec, self.place) if isinstance(spec, list) else self._spelled_out(spec)
        except _RefusedError:
            return None
        if isinstance(domain, Choice) and len(domain.values) == 1 and not (isinstance(spec, dict) and "when" in spec):
            remedy = f"write {self.path}: {show(domain.values[0])} under 'fixed'"
            self.mistakes.warn(self.place, f"{self.path} has one choice, so that nothing is searched; {remedy}")
        return domain

    def _spelled_out(self, spec: Any) -> Domain:
        if spec is None:
            raise self._refused("has no values; write a list like [a, b], or a range like {int: [low, high]}")
        if not isinstance(spec, dict):
            raise self._refused(f"is {show(spec)}; a single value is not searched: write it under 'fixed'")
        kind = self._kind(spec)
        domain = self._choice(spec["choice"], (*self.place, "choice")) if kind == "choice" else self._range(spec, kind)
        known = _CHOICE_KEYS if kind == "choice" else _RANGE_KEYS
        for key in spec:
            if key not in known:
                self._note(f"has an unknown key '{key}'{did_you_mean(key, known)}", key)
        return domain

    def _kind(self, spec: dict[str, Any]) -> str:
        """Which of `float`, `int` and `choice` a mapping has."""
        kinds = [key for key in _KINDS if key in spec]
        if len(kinds) == 1:
            return kinds[0]
        if kinds:
            raise self._refused(f"has both {' and '.join(kinds)}; keep one of them")
        unknown = [key for key in spec if key not in ("log", "step", "when")]
        for key in unknown:
            if meant := nearest(key, _KINDS):
                raise self._refused(f"has an unknown key '{key}'; did you mean '{meant}'?", key)
        given = f"has {', '.join(unknown)}, and " if unknown else ""
        raise self._refused(f"{given}needs one of float: [low, high], int: [low, high] and choice: [a, b, ...]")

    def _choice(self, values: Any, place: Place) -> Domain:
        if not isinstance(values, list) or not values:
            raise self._refused("has no values to choose from; write a list like [a, b]")
        if self.parameter.type == "list" and not any(isinstance(value, list) for value in values):
            remedy = f"; write [{show(values)}], a list of lists" if self.parameter.why_illegal(values) is None else ""
            raise self._refused(f"is a choice between lists, but {show(values[0])} is none{remedy}")
        legal: list[Any] = []
        for position, value in enumerate(values):
            at = (*place, position)
            if not self._legal(value, at):
                continue
            if any(same(value, known) for known in legal):
                self.mistakes.add(at, f"{self.path} has {show(value)} twice; remove one of them")
            legal.append(self.parameter.normal(value))
        if not legal:
            raise _RefusedError
        return Choice(tuple(legal))

    def _range(self, spec: dict[str, Any], kind: str) -> Domain:
        bounds = self._bounds(spec[kind], kind)
        low, high = map(self.parameter.normal, bounds)
        if low >= high:
            what = f"is a range from {show(bounds[0])} to {show(bounds[1])}"
            remedy = f"swap them: [{show(bounds[1])}, {show(bounds[0])}]" if low > high else "fix it instead"
            raise self._refused(f"{what}; low must be less than high: {remedy}", kind)
        log = spec.get("log", False)
        if not isinstance(log, bool):
            raise self._refused(f"has log: {show(log)}; it must be true or false", "log")
        if log and low <= 0:
            what = f"is a log range that begins at {show(bounds[0])}"
            raise self._refused(f"{what}; low must be greater than 0, like {show(bounds[1] / 1000)}", "log")
        return self._stepped(Range(low, high, log), spec.get("step"))

    def _bounds(self, bounds: Any, kind: str) -> list[Any]:
        """The two ends of a range of a parameter that may be one, each legal by itself."""
        parameter = self.parameter
        if parameter.choices is not None or parameter.type not in ("int", "float"):
            raise self._refused(f"cannot be a range; it must be {parameter.legal}: write a list of choices", kind)
        if kind != parameter.type:
            raise self._refused(f"must be {parameter.legal}: write '{parameter.type}:', not '{kind}:'", kind)
        if not isinstance(bounds, list) or len(bounds) != 2:
            raise self._refused(f"is {kind}: {show(bounds)}; {_two_bounds(bounds, kind)}", kind)
        places: list[Place] = [(*self.place, kind, end) for end in (0, 1)]
        legal = [self._legal(bound, place) for bound, place in zip(bounds, places, strict=True)]
        if None in bounds and all(legal):
            raise self._refused("has null, which is no number, for an end of its range; write a number", kind)
        if not all(legal):
            raise _RefusedError
        return bounds

    def _stepped(self, plain: Range, step: Any) -> Domain:
        """A range with its step, if it has one."""
        if self.parameter.odd and (plain.log or not isinstance(step, int) or step % 2):
            remedy = "write a list of choices" if plain.log else "write step: 2"
            raise self._refused(f"is a range with even numbers in it, but it must be odd: {remedy}")
        if step is None:
            return plain
        numeric = isinstance(step, int if plain.whole else (int, float)) and not isinstance(step, bool)
        if plain.log or not numeric or step <= 0:
            noun = "integer" if plain.whole else "number"
            legal = "only a range without log has one" if plain.log else f"it must be a positive {noun}"
            raise self._refused(f"has step: {show(step)}; {legal}", "step")
        stepped = replace(plain, step=self.parameter.normal(step))
        if not stepped.contains(plain.high):
            low, high = show(plain.low), show(plain.high)
            last = plain.low + (plain.high - plain.low) // step * step
            remedy = f"write [{low}, {show(round(last, 12))}]" if last > plain.low else "write a smaller step"
            raise self._refused(f"has step: {show(step)}, which does not lead from {low} to {high}; {remedy}", "step")
        return stepped

    def _legal(self, value: Any, place: Place) -> bool:
        reason = self.parameter.why_illegal(value)
        if reason:
            quoted = isinstance(value, str) and show(value) != value and self.parameter.type in ("int", "float")
            remedy = "; write it without quotes" if quoted else ""
            self.mistakes.add(place, f"{self.path} is {show(value)}; {reason}{remedy}")
        return reason is None

    def _warn_of_two_numbers(self, values: list[Any]) -> None:
        if self.parameter.type == "float" and len(values) == 2 and not any(map(self.parameter.why_illegal, values)):
            low, high = sorted(values)
            log = ", log: true" if low > 0 and high >= 10 * low else ""
            meant = f"did you mean the range {{float: [{low}, {high}]{log}}}?"
            self.mistakes.warn(
                self.place,
                f"{self.path} is a choice between two numbers; {meant} If not, write {{choice: [{low}, {high}]}}",
            )

    def _note(self, sentence: str, *inside: str) -> None:
        self.mistakes.add((*self.place, *inside), f"{self.path} {sentence}")

    def _refused(self, sentence: str, *inside: str) -> _RefusedError:
        self._note(sentence, *inside)
        return _RefusedError()


def _two_bounds(given: Any, kind: str) -> str:
    """How the bounds of a range are written, and what may have been wrong with those that were given."""
    right = f"a range has two bounds: {kind}: [low, high]"
    if isinstance(given, str) and given.startswith("("):
        return f"{right}, in brackets"
    return f"{right}; decimals have a point, not a comma" if isinstance(given, list) and len(given) == 4 else right
