"""What the search learned, as tables and sentences: importance, ranges too narrow, how stable the order is."""

from mrisynth.results.index import Index
from mrisynth.results.insight.importance import Importance, Importances, importance
from mrisynth.results.insight.judged import families
from mrisynth.results.insight.stability import seed_stability, subject_stability
from mrisynth.results.insight.summary import edges_by_group
from mrisynth.results.insight.survival import family_spreads
from mrisynth.results.leaderboard import first_objective
from mrisynth.results.report.tables import Cell, Column, Row, Table, plain
from mrisynth.results.report.words import decimals, metric_title, unit


def learned_tables(index: Index) -> list[Table]:
    """How much each parameter matters to each objective, by family, and how the families' scores lie."""
    if not index.manifest.get("searched"):
        return []
    groups = _groups(index)
    found = [
        _importance_table([importance(index, metric, family=group) for group in groups]) for metric in index.objectives
    ]
    return [table for table in (*found, _families_table(index)) if table]


def learned_sentences(index: Index) -> list[str]:
    """What else is known of the search, or why nothing is; one sentence each."""
    if not index.manifest.get("searched"):
        return []
    metric = first_objective(index)
    whole = importance(index, metric, repeats=1)
    said = [whole.refusal] if whole.refusal else []
    for group, edge in edges_by_group(index, metric, _groups(index)):
        said.append(f"Among {group} trials: {edge.sentence}" if group else edge.sentence)
    return [*said, *_stability(index, metric)]


def _groups(index: Index) -> list[str | None]:
    present = families(index)
    return [None, *(present if len(present) > 1 else [])]


def _importance_table(found: list[Importances]) -> Table | None:
    """A row a parameter, a group of columns a family that has enough trials; None where none has."""
    told = [each for each in found if not each.refusal]
    if not told:
        return None
    metric = told[0].metric
    paths = dict.fromkeys(parameter.path for each in told for parameter in each.parameters)
    columns = [Column("parameter", "parameter", number=False)]
    for each in told:
        key, group = each.family or "all", f"{each.family or 'all families'} (n = {each.trials})"
        columns += [
            Column(f"{key}_share", "share (%)", group),
            Column(f"{key}_low", "least", group),
            Column(f"{key}_high", "most", group),
        ]
    rows = [Row("trial", (plain(path), *(cell for each in told for cell in _cells(each, path)))) for path in paths]
    chance = [cell for each in told for cell in (_percent(each.noise), plain(None), plain(None))]
    counted = "; ".join(f"{each.family or 'all families'}: {each.counted}" for each in told)
    caption = (
        f"What mattered for {metric}: the share of the variance of the trials' order that goes through each searched "
        "parameter, alone or together with others, with the least and the most of several repeats; bold: beyond what "
        f"chance reached. It rests on {counted}."
    )
    last = Row("summary", (plain("most by chance"), *chance))
    return Table(f"importance-{metric.replace('_', '-')}", caption, tuple(columns), (*rows, last))


def _cells(found: Importances, path: str) -> tuple[Cell, Cell, Cell]:
    parameter: Importance | None = next((each for each in found.parameters if each.path == path), None)
    if parameter is None:
        return (plain(None),) * 3
    share = _percent(parameter.share, best=parameter.above_noise)
    return share, _percent(parameter.low), _percent(parameter.high)


def _percent(share: float, *, best: bool = False) -> Cell:
    return Cell(100 * share, f"{round(100 * share, 1) + 0.0:.1f}", best=best)  # no "-0.0"


def _families_table(index: Index) -> Table | None:
    metric = first_objective(index)
    spreads = family_spreads(index, metric)
    if len(spreads) < 2:
        return None
    keys = ("least", "lower", "median", "upper", "most")
    heads = ("least", "lower quarter", "median", "upper quarter", "most")
    places = decimals([each.median for each in spreads], unit(index, metric))
    columns = [Column("family", "family", number=False), Column("trials", "completed")]
    columns += [Column(key, head) for key, head in zip(keys, heads, strict=True)]
    rows = []
    for each in spreads:
        values = [getattr(each, key) for key in keys]
        cells = [Cell(value, f"{value:.{places}f}") for value in values]
        rows.append(Row("trial", (plain(each.family), plain(each.trials), *cells)))
    caption = f"How the scores of each family's completed trials lie: {metric_title(index, metric)}."
    return Table("families", caption, tuple(columns), tuple(rows))


def _stability(index: Index, metric: str) -> list[str]:
    seeds, subjects = seed_stability(index, metric), subject_stability(index, metric)
    of = f" {unit(index, metric)}" if unit(index, metric) else ""
    said = [
        seeds.refusal
        or f"{len(seeds.repeated)} configurations completed with several seeds; the seed alone moves {metric} by "
        f"{seeds.seed_deviation:.3g}{of} (standard deviation), so that smaller differences mean little."
    ]
    if not subjects.refusal:
        best = subjects.places[0]
        moved = f"{best.best:g}" if best.best == best.worst else f"{best.best:g} to {best.worst:g}"
        said.append(
            f"Without any one of the {subjects.subjects} validation subjects the best trial (no. {best.trial}) has "
            f"place {moved} among the best {len(subjects.places)}."
        )
    return said
