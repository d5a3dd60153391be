"""Ranges that were too narrow: parameters whose best trials crowd at an end of what was searched."""

import math
from dataclasses import dataclass

import numpy as np

from mrisynth.results.index import Index
from mrisynth.results.insight.domains import Domain, Floats, column_values, searched_domains
from mrisynth.results.insight.judged import judge

LEAST = 20
"""Of fewer completed trials the best ones say nothing about a range."""
TOP = 10
"""How many of the best configurations are looked at."""
_OUTER, _CHANCE = 0.1, 0.01


@dataclass(frozen=True, slots=True)
class Edge:
    """A range at whose end the best trials lie.

    Args:
        path: the parameter.
        end: "upper" or "lower".
        bound: the range's bound at that end, in the parameter's unit.
        crowd: how many of the best configurations lie in the outermost tenth of the range (at the bound itself, where
            that holds no other value).
        top: of how many.
        from_value: where that tenth begins.
        domain: the range.
    """

    path: str
    end: str
    bound: float
    crowd: int
    top: int
    from_value: float
    domain: Domain

    @property
    def sentence(self) -> str:
        """What was found and what to do."""
        return f"{self.finding} Widen it."

    @property
    def finding(self) -> str:
        """What was found."""
        low, high = self.domain.low, self.domain.high
        scale = ", log" if self.domain.log else ""
        where = f"lie at {self.bound:.4g}" if self.from_value == self.bound else self._tenth
        return (
            f"The best lies at the {self.end} end of the range of {self.path} ({low:.4g} to {high:.4g}{scale}): "
            f"{self.crowd} of the {self.top} best configurations {where}."
        )

    @property
    def _tenth(self) -> str:
        return f"lie {'above' if self.end == 'upper' else 'below'} {self.from_value:.3g}, in its outermost tenth"


def edges(index: Index, metric: str, *, family: str | None = None) -> list[Edge]:
    """The ranges at whose end the best configurations crowd; none where fewer than 20 trials completed.

    The best 10 different configurations are looked at, in the logarithm where the range is searched so. They crowd
    where at least half of them, and more than chance would bring in 1 of 100 ranges, lie in the outermost tenth. (The
    chance is the binomial one of trials drawn evenly over the range.) Only ranges that the sweep declares are judged.

    Args:
        index: the sweep's index.
        metric: what "best" means.
        family: only the trials of this family (default: all).
    """
    judged = judge(index, metric, family=family)
    if int(judged.completed.sum()) < LEAST:
        return []
    domains = {path: domain for path, domain in searched_domains(index).items() if domain.declared}
    columns = {path: column_values(index, domain) for path, domain in domains.items()}
    best = judged.rows[np.lexsort((judged.rows, -judged.quality))]
    completed = set(judged.rows[judged.completed].tolist())
    top: dict[tuple[str, ...], int] = {}
    for row in (each for each in best.tolist() if each in completed):
        top.setdefault(tuple(str(column[row]) for column in columns.values()), row)  # other seeds of one count once
        if len(top) == TOP:
            break
    rows = list(top.values())
    found = [_edge(domain, columns[path][rows]) for path, domain in domains.items() if domain.numeric]
    return [edge for edge in found if edge]


def _edge(domain: Domain, values: Floats) -> Edge | None:
    values = values[~np.isnan(values)]
    if not len(values) or domain.low is None or domain.high is None or domain.low == domain.high:
        return None
    places = domain.place(values)
    for end, bound, near in (("lower", domain.low, places <= _OUTER), ("upper", domain.high, places >= 1 - _OUTER)):
        crowd, (share, from_value) = int(near.sum()), _outermost(domain, upper=end == "upper")
        if crowd >= TOP / 2 and _at_least(crowd, len(values), share) <= _CHANCE:
            return Edge(domain.path, end, bound, crowd, len(values), from_value, domain)
    return None


def _outermost(domain: Domain, *, upper: bool) -> tuple[float, float]:
    """The share of an even search that falls into the outermost tenth, and where that begins."""
    step = domain.step or (1.0 if domain.whole else None)
    if step is None or domain.low is None or domain.high is None:
        return _OUTER, domain.value(1 - _OUTER if upper else _OUTER)
    # Each value of a grid stands for its cell; the bound's own cell is always there.
    grid = np.arange(domain.low, domain.high + step / 2, step)
    borders = np.append(grid - step / 2, grid[-1] + step / 2)
    sizes = np.diff(np.log(np.maximum(borders, step / 4)) if domain.log else borders)
    places = domain.place(grid)
    near = places >= 1 - _OUTER if upper else places <= _OUTER
    return float(sizes[near].sum() / sizes.sum()), float(grid[near].min() if upper else grid[near].max())


def _at_least(count: int, of: int, chance: float) -> float:
    """The probability of at least `count` of `of`, each with this chance (the binomial tail)."""
    return sum(math.comb(of, k) * chance**k * (1 - chance) ** (of - k) for k in range(count, of + 1))
