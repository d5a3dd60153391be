"""Everything that a search learned, as one answer: the shape of `mrisynth insight --json`."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from mrisynth.errors import NotFoundError
from mrisynth.results.index import Index
from mrisynth.results.insight.edges import Edge, edges
from mrisynth.results.insight.importance import Importances, importance
from mrisynth.results.insight.judged import families
from mrisynth.results.insight.progress import progress
from mrisynth.results.insight.stability import seed_stability, subject_stability
from mrisynth.results.insight.survival import family_spreads, rung_survival
from mrisynth.results.leaderboard import first_objective

SCHEMA_VERSION = 1


def insight(index: Index, *, by: str | None = None, family: str | None = None) -> dict[str, Any]:
    """What the search learned about a metric.

    Args:
        index: the sweep's index.
        by: the metric (default: the first objective).
        family: importance and edges of this family only (default: of all trials, and of each of several families).

    Returns:
        importance, edges, families, rungs, progress, seeds, subjects: the values of this package as plain mappings.

    Raises:
        NotFoundError: the sweep does not know the metric or the family; the message names those there are.
    """
    metric = by or first_objective(index)
    _check("metric", metric, {*index.metrics, *index.objectives})
    present = families(index)
    if family is not None:
        _check("family", family, set(present))
    groups: list[str | None] = [family] if family is not None else [None, *(present if len(present) > 1 else [])]
    importances = [importance(index, metric, family=group) for group in groups]
    found = progress(index, tuple(index.objectives) if by is None else (metric,))
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": index.manifest["sweep"],
        "by": metric,
        "direction": index.direction(metric),
        "importance": [asdict(each) for each in importances],
        "edges": [_edge(group, edge) for group, edge in edges_by_group(index, metric, groups)],
        "families": [asdict(each) for each in family_spreads(index, metric)],
        "rungs": [asdict(each) for each in rung_survival(index)],
        "progress": {
            "objectives": list(found.objectives),
            "reference": dict(found.reference),
            "hours": found.hours.tolist(),
            "trials": found.trials.tolist(),
            "reached": found.reached.tolist(),
        },
        "seeds": asdict(seed_stability(index, metric)),
        "subjects": asdict(subject_stability(index, metric)),
    }


def edges_by_group(index: Index, metric: str, groups: list[str | None]) -> Iterator[tuple[str | None, Edge]]:
    """The edges of all trials, and those of a family that are not among them."""
    said: set[tuple[str, str]] = set()
    for group in groups:
        for edge in edges(index, metric, family=group):
            if (edge.path, edge.end) not in said:
                said.add((edge.path, edge.end))
                yield group, edge


def importance_sentence(found: Importances, *, many: int = 3) -> str:
    """The parameters that stand out, or why none does, in one sentence."""
    where = f"Among {found.family} trials" if found.family else "Over all trials"
    if found.refusal:
        return found.refusal
    clear = [each for each in found.parameters if each.above_noise]
    based = f"{found.metric}, {found.counted}"
    if not clear:
        return f"{where}, no searched parameter stands out from chance ({based})."
    named = ", ".join(f"{each.path} ({each.share:.0%}, {each.low:.0%} to {each.high:.0%})" for each in clear[:many])
    return f"{where}, what matters most is {named}; shares of the variance of the order ({based})."


def _edge(group: str | None, edge: Edge) -> dict[str, Any]:
    return {"family": group, **asdict(edge), "sentence": edge.sentence}


def _check(what: str, name: str, known: set[str] | Mapping[str, Any]) -> None:
    if name not in known:
        raise NotFoundError(f"unknown {what} {name!r}; there are: {', '.join(sorted(known)) or 'none yet'}")
