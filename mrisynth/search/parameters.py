"""The parameters of a space, fixed and searched: read from its file, checked against `TrialConfig`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mrisynth.search.dimensions import CircleError, Condition, Dimension, in_order, parse_conditions
from mrisynth.search.domain_reader import DomainReader
from mrisynth.search.domains import Constant, Domain, Range, Suggests, few_values, show
from mrisynth.search.space_file import Mistakes
from mrisynth.search.yaml_document import Place
from mrisynth.training.config import parameters
from mrisynth.training.parameters import closest
from mrisynth.words import nearest


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is fixed and what is searched.

    Args:
        dimensions: each after those that its conditions name; the domain of a fixed parameter is a `Constant`.
        defaults: dotted path -> default of what conditions name and the space itself leaves alone.
    """

    dimensions: tuple[Dimension, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def searched(self) -> tuple[Dimension, ...]:
        """The dimensions that a trial is asked for, in the order of asking."""
        return tuple(dimension for dimension in self.dimensions if dimension.searched)

    @property
    def fixed(self) -> dict[str, Any]:
        """Dotted path -> value of what is fixed."""
        return {d.path: d.domain.value for d in self.dimensions if isinstance(d.domain, Constant)}

    def suggest(self, trial: Suggests) -> dict[str, Any]:
        """Ask `trial` for every searched parameter that exists: dotted path -> value, the fixed ones among them."""
        chosen: dict[str, Any] = {}
        for dimension in self.dimensions:
            if dimension.exists({**self.defaults, **chosen}):
                chosen[dimension.path] = dimension.domain.suggest(trial, dimension.path)
        return chosen


def read_parameters(fixed: Any, search: Any, *, mistakes: Mistakes) -> Parameters:
    """The parameters under a space's `fixed` and `search`, every mistake in them noted."""
    entries: list[tuple[Place, Any]] = [
        *((("fixed", *place), value) for place, value in _leaves(_mapping("fixed", fixed, mistakes))),
        *((("search", path), spec) for path, spec in _mapping("search", search, mistakes).items()),
    ]
    places: dict[str, Place] = {}
    dimensions: dict[str, Dimension | None] = {}
    for place, value in entries:
        path = ".".join(map(str, place[1:]))
        if path in places:
            both = "both fixed and searched" if places[path][0] != place[0] else f"twice under '{place[0]}'"
            mistakes.add(place, f"{path} is {both}; remove one of them")
            continue
        places[path] = place
        dimensions[path] = _dimension(path, value, place=place, mistakes=mistakes)
    for path, dimension in dimensions.items():
        for condition in dimension.conditions if dimension else ():
            _check_condition(path, condition, dimensions=dimensions, place=places[path], mistakes=mistakes)
        if dimension and not mistakes.any_at(places[path]):
            _check_together(dimension, dimensions, place=places[path], mistakes=mistakes)
    if "generator" not in places and not _is_unreadable(search, places):
        mistakes.add(("search",), f"generator is missing; search or fix {parameters()['generator'].legal}")
    return _ordered([dimension for dimension in dimensions.values() if dimension], mistakes)


def _is_unreadable(search: Any, places: Iterable[str]) -> bool:
    """Whether the generator is only missing because of another mistake."""
    return not search or not isinstance(search, dict) or any(nearest(path, ["generator"]) for path in places)


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted paths as nested mappings: {"unet.filters": 8} to {"unet": {"filters": 8}}."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *blocks, leaf = path.split(".")
        branch = tree
        for block in blocks:
            branch = branch.setdefault(block, {})
        branch[leaf] = value
    return tree


def flattened(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as dotted paths, the reverse of `nested`."""
    return {".".join(place): value for place, value in _leaves(tree)}


def _leaves(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Where each value that is not a mapping stands, and the value."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _mapping(name: str, value: Any, mistakes: Mistakes) -> dict[str, Any]:
    if value is None or isinstance(value, dict):
        return value or {}
    mistakes.add((name,), f"'{name}' is {show(value)}; it must be a mapping of parameters, like 'epochs: ...'")
    return {}


def _dimension(path: str, value: Any, *, place: Place, mistakes: Mistakes) -> Dimension | None:
    """One parameter, or None if it makes no sense."""
    parameter = parameters().get(path)
    if parameter is None:
        mistakes.add(place, f"unknown parameter '{path}'; {_closest(path)}")
        return None
    reader = DomainReader(path, parameter, place=place, mistakes=mistakes)
    domain = reader.fixed(value) if place[0] == "fixed" else reader.searched(value)
    when = value.get("when", {}) if place[0] == "search" and isinstance(value, dict) else {}
    if not _well_formed(path, when, place=place, mistakes=mistakes) or domain is None:
        return None
    implied = parse_conditions(parameter.condition)
    return Dimension(path, domain, implied + tuple(c for c in parse_conditions(when) if c not in implied))


def _closest(path: str) -> str:
    """What was meant by an unknown path; a whole block is named by its parameters."""
    above = path.rpartition(".")[0]
    if above in parameters():
        return f"{above} has a value, and no parameters below; a range or a condition stands under 'search'"
    inside = [known for known in parameters() if known.startswith(f"{path}.")]
    return f"it is a block; write its parameters, like '{inside[0]}'" if inside else closest(path, parameters())


def _well_formed(path: str, when: Any, *, place: Place, mistakes: Mistakes) -> bool:
    """Whether a `when` maps paths to a value, some values, or {not: a value or values}."""
    at = (*place, "when")
    if not isinstance(when, dict):
        mistakes.add(
            at, f"the 'when' of {path} is {show(when)}; write {{parameter: value}}, like {{adversary: pooled}}"
        )
        return False
    for name, accepted in when.items():
        if name in ("and", "or", "not"):
            legal = "{a: 1, b: 2} holds where both do, {a: [1, 2]} where either does, {a: {not: 1}} where it does not"
            mistakes.add((*at, name), f"the 'when' of {path} has the word '{name}' for a parameter; write {legal}")
            return False
        values = accepted.get("not") if isinstance(accepted, dict) else accepted
        if (
            values in (None, [])
            or isinstance(values, dict)
            or (isinstance(accepted, dict) and set(accepted) != {"not"})
        ):
            legal = f"{{{name}: value}}, {{{name}: [some, values]}} or {{{name}: {{not: value}}}}"
            mistakes.add((*at, name), f"the 'when' of {path} has {name}: {show(accepted)}; write {legal}")
            return False
    return True


def _check_condition(
    path: str, condition: Condition, *, dimensions: Mapping[str, Dimension | None], place: Place, mistakes: Mistakes
) -> None:
    """Note a condition on what is not there, on a value that never occurs, or that can never hold."""
    implied = condition in parse_conditions(parameters()[path].condition)
    at = place if implied else (*place, "when", condition.path)
    if condition.path not in parameters():
        mistakes.add(at, f"unknown parameter '{condition.path}'; {_closest(condition.path)}")
    elif condition.path not in dimensions and not implied:
        mistakes.add(at, f"{condition.path} is neither fixed nor searched here, so {path} cannot depend on it")
    elif domain := _domain(condition.path, dimensions):
        never = [value for value in condition.values if not domain.contains(value)]
        if never and not implied:
            what = f"{condition.path} is never {' or '.join(map(show, never))} here; it is {domain}"
            mistakes.add(at, what + _meant_by(never, domain))
        elif not condition.can_hold(domain):
            mistakes.add(at, f"{path} is never used: it needs {condition}, but {condition.path} is {domain}")
        elif _is_by_chance(condition, domain):
            remedy = "make it depend on a parameter with a list of values, or with a step"
            mistakes.warn(at, f"{condition.path} is any number {domain}, and so never exactly what is named; {remedy}")


def _meant_by(never: Sequence[Any], domain: Domain) -> str:
    """The end of a sentence about values that a condition names and that never occur."""
    words = [value for value in never if isinstance(value, str)]
    for word in words:
        if word.startswith("not "):
            return f"; to exclude a value, write {{not: {word.removeprefix('not ')}}}"
        if near := nearest(word, [value for value in few_values(domain) or () if isinstance(value, str)]):
            return f"; did you mean '{near}'?"
    return ""


def _is_by_chance(condition: Condition, domain: Domain) -> bool:
    """Whether a condition names numbers of a range without steps: practically none of them is ever drawn."""
    return isinstance(domain, Range) and not domain.whole and not domain.step and not condition.negated


def _check_together(
    dimension: Dimension, dimensions: Mapping[str, Dimension | None], *, place: Place, mistakes: Mistakes
) -> None:
    """Note a parameter whose conditions hold one by one, but not together with those of the parameters they name."""
    needed: dict[str, list[Condition]] = {}
    waiting = list(dimension.conditions)
    while waiting:
        condition = waiting.pop(0)
        others = needed.setdefault(condition.path, [])
        if condition in others:
            continue
        others.append(condition)
        named = dimensions.get(condition.path)
        waiting += named.conditions if named else ()
    for path, conditions in needed.items():
        domain = _domain(path, dimensions)
        if domain and len(conditions) > 1 and not _hold_together(conditions, domain):
            both = " and ".join(map(str, conditions))
            mistakes.add(
                (*place, "when"), f"{dimension.path} is never used: it needs {both}, which exclude one another"
            )
            return


def _hold_together(conditions: Sequence[Condition], domain: Domain) -> bool:
    """Whether a domain has a value for which all conditions hold."""
    values = few_values(domain)
    if values is None:  # of a range only values that a condition names can be decisive
        named = [value for condition in conditions if not condition.negated for value in condition.values]
        if not named:
            return True
        values = [value for value in named if domain.contains(value)]
    return any(all(condition.accepts(value) for condition in conditions) for value in values)


def _domain(path: str, dimensions: Mapping[str, Dimension | None]) -> Domain | None:
    """What a parameter may be, its default included; None where that is not known because of another mistake."""
    if path not in dimensions:
        default = parameters()[path].default
        return None if default is None else Constant(default)
    dimension = dimensions[path]
    return dimension.domain if dimension else None


def _ordered(dimensions: list[Dimension], mistakes: Mistakes) -> Parameters:
    present = {dimension.path for dimension in dimensions}
    named = {condition.path for dimension in dimensions for condition in dimension.conditions}
    defaults = {path: parameters()[path].default for path in sorted(named - present) if path in parameters()}
    try:
        return Parameters(in_order(dimensions), defaults)
    except CircleError as error:
        mistakes.add(("search", _with_when(error.paths, dimensions), "when"), _circle_in_words(error.paths))
        return Parameters()


def _with_when(paths: Sequence[str], dimensions: Sequence[Dimension]) -> str:
    """The first of some parameters whose file gives it a `when`."""
    conditions = {dimension.path: dimension.conditions for dimension in dimensions}
    return next(path for path in paths if set(conditions[path]) - set(parse_conditions(parameters()[path].condition)))


def _circle_in_words(paths: Sequence[str]) -> str:
    if len(paths) == 1:
        return f"{paths[0]} depends on itself; take that condition away"
    links = [f"{one} depends on {other}" for one, other in zip(paths, (*paths[1:], paths[0]), strict=True)]
    return f"{', '.join(links[:-1])} and {links[-1]}; take one of these conditions away"
