"""What was forecast of a sweep, and what it took: `forecast.json` in its folder.

Either a probe made it before the sweep began, or the driver made it after the first trials had ended.
"""

from pathlib import Path
from typing import Any

from mrisynth.files import write_json
from mrisynth.results.index import Index
from mrisynth.results.progress import progress
from mrisynth.results.records import read_mapping
from mrisynth.results.store import SweepDirectory, read_yaml, timestamp
from mrisynth.words import in_words, size_in_words

SCHEMA_VERSION = 1
_LEAST, _PART = 3, 0.1
"""After how many ended trials the driver makes a forecast of its own: three, and a tenth of what may run."""


def path_of(sweep: SweepDirectory) -> Path:
    """Where a sweep's forecast stands."""
    return sweep.root / "forecast.json"


def write_forecast(sweep: SweepDirectory, found: dict[str, Any]) -> None:
    """Keep a forecast that was made before the sweep began, for the budget that the sweep has."""
    write_json(path_of(sweep), {**found, "budget": read_yaml(sweep.sweep_yaml)["budget"]})


def keep_forecast(sweep: SweepDirectory, index: Index) -> None:
    """Make a forecast from the first trials that have ended, where there is none and they are enough.

    One of them has completed: those that rungs stop come first, and are short.
    """
    if path_of(sweep).exists():
        return
    now = progress(sweep, index)
    ended, limit = now["budget"]["trials"]["spent"], now["budget"]["trials"]["limit"]
    left = now["remaining"]
    completed = "completed" in index.trials["outcome"].to_pylist()
    if left is None or not completed or ended < max(_LEAST, _PART * (limit or 0)):
        return
    seconds = {name: now["ran"] + left[key] for name, key in (("median", "seconds"), ("low", "low"), ("high", "high"))}
    found = {"schema_version": SCHEMA_VERSION, "by": f"the first {ended} trials", "made": timestamp()}
    disk = _size(sweep.root) / ended * limit if limit else None
    sizes = {} if disk is None else {"disk": {"median": disk, "low": disk, "high": disk}}
    write_forecast(sweep, {**found, "seconds": seconds, **sizes})


def note_end(sweep: SweepDirectory, *, ran: float) -> None:
    """Add to a forecast what the sweep took, once, and only where the budget is still the one it was made for."""
    found = read_mapping(path_of(sweep))
    if found and "took" not in found and found.get("budget") == read_yaml(sweep.sweep_yaml).get("budget"):
        write_json(path_of(sweep), {**found, "took": {"seconds": ran, "disk": _size(sweep.root)}})


def read_forecast(sweep: SweepDirectory) -> dict[str, Any] | None:
    """What `status` says of a forecast.

    Returns:
        {"by", "seconds", "disk", "took", "missed"}: seconds and disk as {"median", "low", "high"}, took as {"seconds",
        "disk"} or None while it runs, missed as what it took over what was forecast, less 1. None without a forecast.
    """
    found = read_mapping(path_of(sweep))
    if not found:
        return None
    took = found.get("took")
    missed = {
        name: took[name] / found[name]["median"] - 1
        for name in ("seconds", "disk")
        if took and found.get(name, {}).get("median")
    }
    kept = {name: found.get(name) for name in ("by", "seconds", "disk")}
    return {**kept, "took": took, "missed": missed or None}


def tell_missed(found: dict[str, Any] | None) -> str | None:
    """How well a forecast held: "forecast 41 min, took 47 min (+15 %)"; None where nothing can be said yet.

    Args:
        found: as `read_forecast` gives it.
    """
    if not found or not found["missed"]:
        return None
    parts = []
    for name, told in (("seconds", in_words), ("disk", size_in_words)):
        if name in found["missed"]:
            before, after = told(found[name]["median"]), told(found["took"][name])
            parts.append(f"forecast {before}, took {after} ({100 * found['missed'][name]:+.0f} %)")
    return f"{'; '.join(parts)}, by {found['by']}"


def _size(folder: Path) -> int:
    """Bytes of all files in a folder, those passed over that vanish meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
