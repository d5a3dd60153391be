"""Trials as lines over one axis a parameter: what ECharts draws, since Vega cannot brush on several axes at once."""

from typing import Any

from components.learned_charts import BEST, FAMILIES

from mrisynth.results.insight.domains import Domain
from mrisynth.results.insight.parallel import Lines

NOT_THERE = "(not there)"
"""Where a trial that does not have a parameter crosses its axis, if that has names."""


def parallel_options(lines: Lines, label: str, *, maximize: bool) -> dict[str, Any]:
    """The options of an ECharts parallel-coordinates plot: an axis a parameter, the metric last, brushes on all."""
    axes, data = [], [list(values) for values in lines.values]
    for at, domain in enumerate(lines.axes):
        column = [values[at] for values in lines.values]
        axis, shown = _parallel_axis(domain, column)
        axes.append({"dim": at, "name": _broken(domain.path), **axis})
        for row, value in zip(data, shown, strict=True):
            row[at] = value
    low, high = min(lines.scores), max(lines.scores)
    axes.append({"dim": len(axes), "name": label, "scale": True, "inverse": not maximize})
    for row, score, trial in zip(data, lines.scores, lines.trials, strict=True):
        row.append(score)
        row.append(trial)
    ramp = ["#aab4bf", "#7fa3c7", FAMILIES["cnn"], BEST]
    return {
        "animation": False,
        "parallelAxis": axes,
        "parallel": {
            "left": 70,
            "right": 120,
            "top": 60,
            "bottom": 30,
            "parallelAxisDefault": {
                "nameLocation": "end",
                "nameGap": 14,
                "nameTextStyle": {"fontSize": 12, "lineHeight": 15},
                "areaSelectStyle": {"width": 22, "color": FAMILIES["cnn"], "opacity": 0.25},
                "realtime": True,
            },
        },
        "visualMap": {
            "show": False,
            "dimension": len(axes) - 1,
            "min": low,
            "max": high if high > low else low + 1,
            "inRange": {"color": ramp if maximize else ramp[::-1]},
        },
        "series": [
            {
                "type": "parallel",
                "lineStyle": {"width": 1.2, "opacity": min(0.6, max(0.12, 60 / len(lines.trials)))},
                "inactiveOpacity": 0.02,
                "activeOpacity": 0.8,
                "progressive": 400,
                "data": data,
            }
        ],
    }


def _parallel_axis(domain: Domain, column: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    """An axis and its values: choices, and few whole numbers, as names with one for those that do not have it."""
    missing = any(value is None for value in column)
    if domain.numeric and not (missing and domain.few):
        bounds = {"min": domain.low, "max": domain.high}
        return {"type": "log" if domain.log else "value", **bounds}, [None if v is None else v for v in column]
    if domain.numeric:
        names = [f"{value:g}" for value in sorted({value for value in column if value is not None})]
        column = [None if value is None else f"{value:g}" for value in column]
    else:
        names = list(domain.choices)
    names = [*([NOT_THERE] if missing else []), *names]
    return {"type": "category", "data": names}, [NOT_THERE if value is None else value for value in column]


def _broken(path: str) -> str:
    """A dotted path on two lines."""
    head, _, tail = path.rpartition(".")
    return f"{head}.\n{tail}" if head else path
