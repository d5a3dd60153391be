"""Numbers and names as a reader wants them."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from mrisynth.results.index import Index

Item = TypeVar("Item")
NONE = "–"  # noqa: RUF001


def plural(count: int, noun: str) -> str:
    """ "1 subject", "2 subjects"."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def listed(words: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    *most, last = [*words] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def decimals(values: Iterable[float | None], unit: str) -> int:
    """How many decimals a column needs: two for dB, else three significant digits of its middle value."""
    sizes = sorted(abs(value) for value in values if value)
    if unit == "dB" or not sizes:
        return 2
    return min(6, max(0, 2 - math.floor(math.log10(sizes[len(sizes) // 2]))))


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return NONE
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def trial_label(row: Mapping[str, Any]) -> str:
    """What a trial is called: its name, else its number."""
    return str(row["name"] or f"trial {row['trial']}")


def configuration(row: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's configuration; empty where none could be read."""
    return dict(json.loads(row["config"] or "{}"))


def weights(row: Mapping[str, Any]) -> dict[str, float]:
    """The losses that a trial minimises, with their weights."""
    losses = configuration(row).get("losses")
    found = losses.items() if isinstance(losses, Mapping) else ()
    return {str(name): float(weight) for name, weight in found if isinstance(weight, int | float) and weight > 0}


def loss_words(losses: Mapping[str, float]) -> str:
    """A weighted sum of losses: "adversarial + 1.5·l1"."""
    return " + ".join(name if weight == 1 else f"{weight:.3g}·{name}" for name, weight in losses.items()) or NONE


def networks(row: Mapping[str, Any]) -> str:
    """Generator and adversary."""
    adversary = row["adversary"]
    return str(row["generator"] or NONE) + (f" + {adversary}" if adversary not in (None, "none") else "")


def metric_title(index: Index, metric: str) -> str:
    """A metric with its direction and unit: "psnr ↑ dB"; it is not broken at spaces."""
    arrow = "↑" if index.direction(metric) == "maximize" else "↓"
    return "\u00a0".join(filter(None, (metric, arrow, unit(index, metric))))


def unit(index: Index, metric: str) -> str:
    """A metric's unit; empty where it has none."""
    return str(_described(index, metric).get("unit") or "")


def meaning(index: Index, metric: str) -> str:
    """What a metric is, in one sentence; empty where the sweep does not say."""
    return str(_described(index, metric).get("description") or "")


def _described(index: Index, metric: str) -> Mapping[str, Any]:
    found = index.manifest["metrics"].get(metric)
    return found if isinstance(found, Mapping) else {}


def evenly(items: Sequence[Item], most: int) -> list[tuple[Item, ...]]:
    """As few parts of at most `most` items as there can be, of nearly the same length."""
    parts = -(-len(items) // most)
    return list(batched(items, -(-len(items) // parts))) if parts else []


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Tuples of `size` items in a row, the last one shorter (`itertools.batched` came with Python 3.12)."""
    rest = iter(items)
    while part := tuple(islice(rest, size)):
        yield part
