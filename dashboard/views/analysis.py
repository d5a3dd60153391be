"""What the search learned: which parameters matter, where good values lie, and whether the order can be trusted."""

from collections.abc import Callable

import pandas as pd
import streamlit as st
from components import learned, learned_charts, reading, words
from components.parallel import NOT_THERE, parallel_options
from components.selection import chosen_sweep, no_trials
from components.words import plain

from mrisynth.results.index import Index
from mrisynth.results.insight.judged import families, judge
from mrisynth.results.insight.stability import SeedStability
from mrisynth.results.insight.survival import rung_survival
from mrisynth.results.store import SweepDirectory

ALL = "all"
SLICES, AXES = 4, 8
LINES = {"all": 1.0, "the better half": 0.5, "the best tenth": 0.1, "the best hundredth": 0.01}


class Asked:
    """What the page is about: one index, one metric, one family or all."""

    def __init__(self, sweep: SweepDirectory, index: Index, metric: str, family: str | None) -> None:
        self.index, self.metric, self.family = index, metric, family
        self.of = learned.version(sweep, index)
        self.label = words.metric_label(index, metric)

    @property
    def frame(self) -> pd.DataFrame:
        """The completed trials, the best last."""
        return learned.completed(self.of, self.index, self.metric, self.family)

    @property
    def first(self) -> str:
        """What the first of `ranked` are."""
        told = not learned.importances(self.of, self.index, self.metric, self.family).refusal
        return "what matters most" if told else "what most trials have"

    @property
    def ranked(self) -> list[str]:
        """The searched parameters that any completed trial has: those that matter most, then those that most have."""
        found = learned.importances(self.of, self.index, self.metric, self.family)
        order = [each.path for each in found.parameters]
        having = self.frame.notna().sum()
        known = sorted(learned.domains(self.of, self.index), key=lambda path: -having[path])
        known = [path for path in known if having[path]]
        return [*(path for path in order if path in known), *(path for path in known if path not in order)]


def _importance(asked: Asked) -> None:
    _heading(
        "What matters",
        "How much of the difference between good and bad trials goes through each searched parameter, alone or with "
        "others. Bar: the middle of several repeats; line across its end: their least and most; dashed: how far pure "
        "chance came. A grey bar cannot be told from chance.",
    )
    side = st.toggle("Every family and objective side by side", key="side", bind="query-params")
    present = [None, *(families(asked.index) if len(families(asked.index)) > 1 else [])]
    objectives = list(asked.index.objectives) or [asked.metric]
    grid = [(metric, family) for metric in objectives for family in present] if side else [(asked.metric, asked.family)]
    columns = st.columns(2) if side else [st.container()]
    for at, (metric, family) in enumerate(grid):
        with columns[at % len(columns)]:
            _one_importance(asked, metric, family, named=side)


def _one_importance(asked: Asked, metric: str, family: str | None, *, named: bool) -> None:
    found = learned.importances(asked.of, asked.index, metric, family)
    if named:
        st.markdown(f"**{plain(words.metric_label(asked.index, metric))}, {plain(family or 'all families')}**")
    if found.refusal:
        st.info(plain(found.refusal), icon=":material/hourglass_empty:")
        return
    named_by_share = ", ".join(f"{each.path} {each.share:.0%}" for each in found.parameters)
    st.altair_chart(learned_charts.importance(found), key=f"importance {metric} {family}", alt=named_by_share)
    doubt = " That is little: read the bars as hints." if found.explained < 0.2 else ""
    few = "".join(f" {path}: only {count} trials have it." for path, count in (found.too_few or {}).items())
    pruned = " A pruned trial counts as worse than every completed one." if "pruned" in found.counted else ""
    st.caption(
        plain(
            f"{found.counted}.{pruned} The parameters foretell {max(found.explained, 0):.0%} of the variance of the "
            f"order of trials that were held back.{doubt}{few}"
        )
    )


def _edges(asked: Asked) -> None:
    found = learned.narrow(asked.of, asked.index, asked.metric, asked.family)
    if found:
        said = "\n".join(f"- {plain(edge.sentence)}" for edge in found)
        st.warning(f"**Ranges that were too narrow**\n\n{said}", icon=":material/open_in_full:")
    if not found and not asked.index.manifest.get("domains"):
        st.caption("This index does not tell the searched ranges, so their edges are not judged.")


def _slices(asked: Asked) -> None:
    _heading(
        "One parameter at a time",
        "A point a completed trial; grey: the median of each tenth of the range or each choice; ring: the best trial.",
    )
    frame, chosen = asked.frame, _several("Parameters", asked, SLICES, key="slices")
    domains, columns = learned.domains(asked.of, asked.index), st.columns(2)
    for at, path in enumerate(chosen):
        chart = learned_charts.slice_chart(frame, domains[path], asked.label)
        columns[at % 2].altair_chart(chart, key=f"slice {path}", alt=f"{asked.metric} of each trial over {path}")
    _say_thinned(len(frame))


def _map(asked: Asked) -> None:
    _heading(
        "Two parameters together", "A tile's colour is the median of the completed trials in it; no tile, no trial."
    )
    ranked, frame = asked.ranked, asked.frame
    if len(ranked) < 2:
        st.info("Fewer than two parameters were searched.", icon=":material/info:")
        return
    left, right, _ = st.columns([1, 1, 2])
    said = {"index": None, "placeholder": asked.first, "bind": "query-params"}
    first = left.selectbox("Across", ranked, key="across", **said) or ranked[0]
    second = right.selectbox("Up", ranked, key="up", **said) or next(path for path in ranked if path != first)
    domains = learned.domains(asked.of, asked.index)
    both = frame[first].notna() & frame[second].notna()
    if first == second or not both.any():
        why = "Choose two different parameters." if first == second else "No completed trial has both parameters."
        st.info(why, icon=":material/info:")
        return
    chart = learned_charts.parameter_map(frame, domains[first], domains[second], asked.label)
    st.altair_chart(chart, key="map", alt=f"median {asked.metric} over {first} and {second}")
    st.caption(f"{int(both.sum())} completed trials. Point at a tile to see how many are in it; ring: the best trial.")


def _parallel(asked: Asked) -> None:
    _heading(
        "All parameters at once",
        "A line a completed trial, from grey for the worst to orange for the best. Drag along an axis to keep only the "
        "lines that pass there, on several axes at once; click on an axis to let go.",
    )
    left, right = st.columns([3, 1])
    with left:
        paths = _several("Axes", asked, AXES, key="axes")
    which = right.selectbox("Lines", list(LINES), key="lines", bind="query-params")
    lines = learned.lines(asked.of, asked.index, asked.metric, tuple(paths), asked.family)
    if not lines.trials:
        st.info("No trial has completed yet.", icon=":material/hourglass_empty:")
        return
    shown = lines.best(LINES[which])
    options = parallel_options(shown, asked.label, maximize=asked.index.direction(asked.metric) == "maximize")
    alt = f"{len(shown.trials)} trials as lines over {', '.join(paths)} and {asked.metric}"
    st.echarts_chart(options, key="parallel", height=420, alt=alt)
    st.caption(
        f"{len(shown.trials)} of {lines.of} completed trials. Where a trial does not have a parameter, its line goes "
        f"to “{NOT_THERE}”, or straight past an axis that has no such place."
    )


def _progress(asked: Asked) -> None:
    objectives = tuple(asked.index.objectives)
    several = len(objectives) > 1
    about = "The best completed trial so far, over the core-hours of all trials that had ended by then."
    if several:
        about = (
            "Hypervolume: how much of the space of the objectives the best trials dominate, measured from the "
            "reference point; it only grows. Over the core-hours of all trials that had ended by then."
        )
    _heading("What the hours brought", about)
    found = learned.reached(asked.of, asked.index, objectives if several else (asked.metric,))
    if not len(found.hours):
        st.info("No trial has completed yet.", icon=":material/hourglass_empty:")
        return
    label = "hypervolume" if several else f"best {asked.label}"
    st.altair_chart(learned_charts.reached(found, label), key="reached", alt=f"{label} over core-hours")
    if several:
        point = ", ".join(f"{name} {words.number(value)}" for name, value in found.reference.items())
        st.caption(plain(f"Of all families. Reference point, the worst of the completed trials: {point}."))
    else:
        st.caption("Of all families.")


def _trade_off(asked: Asked) -> None:
    _heading(
        "Trade-off of two metrics", "Ringed: trials that no other completed trial beats in both (the Pareto front)."
    )
    metrics = list(dict.fromkeys([*asked.index.objectives, *asked.index.metrics]))
    if len(metrics) < 2:
        st.info("This sweep has one metric only.", icon=":material/info:")
        return
    left, right, _ = st.columns([1, 1, 2])
    first = left.selectbox("First", metrics, 0, key="first", bind="query-params")
    second = right.selectbox("Second", metrics, 1, key="second", bind="query-params")
    trials = reading.trials_frame(asked.index)
    columns = {"x": f"value.{first}", "y": f"value.{second}"}
    done = trials[(trials["outcome"] == "completed") & trials[list(columns.values())].notna().all(axis=1)]
    if first == second or done.empty:
        why = "Choose two different metrics." if first == second else "No completed trial has both metrics."
        st.info(why, icon=":material/info:")
        return
    frame = done[["trial", "family"]].assign(**{name: done[column] for name, column in columns.items()})
    frame["front"] = frame["trial"].isin(learned.front(asked.of, asked.index, (first, second)))
    labels = words.metric_label(asked.index, first), words.metric_label(asked.index, second)
    chart = learned_charts.trade_off(frame.sort_values("front"), (first, second), labels)
    st.altair_chart(chart, key="trade-off", alt=f"{second} over {first} of each trial")
    st.caption(f"{len(frame)} completed trials of all families, {int(frame['front'].sum())} on the front.")


def _families(asked: Asked) -> None:
    _heading(
        "The families",
        "Left: the completed trials of each family; bar: its middle half, white line: its median (from 5 trials on). "
        "Right: how many of those that began got how far; the numbers count trials.",
    )
    frame = learned.completed(asked.of, asked.index, asked.metric, None)
    left, right = st.columns(2)
    with left:
        if frame.empty:
            st.info("No trial has completed yet.", icon=":material/hourglass_empty:")
        else:
            chart = learned_charts.family_boxes(frame, asked.label)
            st.altair_chart(chart, key="families", alt=f"{asked.metric} of each completed trial by family")
    with right:
        if rungs := rung_survival(asked.index):
            got = ", ".join(f"{each.family} {each.reached} at {each.fraction:.0%}" for each in rungs)
            st.altair_chart(learned_charts.survival(rungs), key="survival", alt=f"trials that got so far: {got}")


def _stability(asked: Asked) -> None:
    _heading("Would the order hold?", "A trial that is best by chance, or for one subject only, is not the best.")
    seeds, subjects = learned.stability(asked.of, asked.index, asked.metric)
    _seeds(asked, seeds)
    if subjects.refusal:
        st.caption(plain(f"Without one subject: {subjects.refusal}"))
        return
    rows = [
        {"trial": each.trial, "place": each.place, "at best": each.best, "at worst": each.worst}
        | {f"without {name}": place for name, place in each.without.items()}
        for each in subjects.places
    ]
    st.caption(
        f"The places of the best {len(rows)} trials among themselves when one of the {subjects.subjects} validation "
        f"subjects is left out.{_agreement(subjects.tau, 'the least of them with the whole order')}"
    )
    number = st.column_config.NumberColumn(format="%g")
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=dict.fromkeys(rows[0], number))


def _seeds(asked: Asked, found: SeedStability) -> None:
    if found.refusal:
        st.caption(plain(found.refusal))
        return
    moved = f"{words.number(found.seed_deviation)} {words.unit(asked.index, asked.metric)}".strip()
    st.markdown(
        f"{len(found.repeated)} configurations completed with several seeds: the seed alone moves "
        f"{plain(asked.metric)} by {moved} (standard deviation); smaller differences between two trials mean little."
        f"{_agreement(found.tau, 'two seeds')}"
    )


def _agreement(tau: float | None, between: str) -> str:
    return "" if tau is None else f" Agreement of the orders (Kendall's tau, 1 is the same; {between}): {tau:.2f}."


def _heading(title: str, about: str) -> None:
    st.subheader(title, anchor=False)
    st.caption(about)


def _several(label: str, asked: Asked, count: int, *, key: str) -> list[str]:
    """The parameters chosen, or the first few; the URL holds a choice only, since what matters most may change."""
    first = (ranked := asked.ranked)[:count]
    said = f"{asked.first}: {', '.join(first)}"
    return st.multiselect(label, ranked, key=key, bind="query-params", placeholder=said) or first


def _say_thinned(count: int) -> None:
    if count > learned_charts.MOST:
        best = learned_charts.BEST_KEPT
        st.caption(f"Of {count} trials the best {best} and some of the others are drawn; the medians are of all.")


OF_PARAMETERS: tuple[Callable[[Asked], None], ...] = (_importance, _slices, _map, _parallel)
OF_TRIALS: tuple[Callable[[Asked], None], ...] = (_families, _trade_off, _progress, _stability)


def _view(sweep: SweepDirectory) -> None:
    st.title(f"Analysis of {plain(sweep.name)}", anchor=False)
    index = reading.load_index(sweep)
    metrics = [*dict.fromkeys([*index.objectives, *index.metrics])]
    left, right, _ = st.columns([1, 1, 2])
    metric = left.selectbox("Metric", metrics, key="metric", bind="query-params")
    family = right.selectbox("Family", [ALL, *families(index)], key="in_family", bind="query-params")
    asked = Asked(sweep, index, metric, None if family == ALL else family)
    if not index.trials.num_rows:
        no_trials(sweep)
        return
    if not judge(index, metric).completed.any():
        st.info(
            "No trial has completed with this metric yet. This page shows what the search learned: it begins with the "
            "first completed trial, and says what matters from 20 on.",
            icon=":material/hourglass_empty:",
        )
        return
    searched = bool(learned.domains(asked.of, index))
    if searched:
        _edges(asked)
    else:
        st.info("This sweep searched no parameter: its trials were all named.", icon=":material/info:")
    for section in (*(OF_PARAMETERS if searched else ()), *OF_TRIALS):
        # Each is a fragment: a choice within one draws that one again, and nothing else.
        st.fragment(section)(asked)


if sweep := chosen_sweep():
    _view(sweep)
