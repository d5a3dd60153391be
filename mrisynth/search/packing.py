"""How many trials share a GPU: what each kind of configuration takes of its memory, measured once in a sweep.

A trial of which nothing is known gets a whole GPU. When it has been scored its peak is kept, in `gpu_memory.json`, by
what decides it; from then on such trials, and those that are smaller in every respect, get a slice that suffices.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mrisynth.files import write_json
from mrisynth.results.records import flatten, read_mapping
from mrisynth.results.store import SweepDirectory

MARGIN = 1.15
"""How much more than was measured a trial gets: allocators fragment, and libraries load kernels late."""

MOST = 16
"""Trials on a GPU at most: each takes half a GB for CUDA itself, and its share of the processor."""

WHOLE = 1.0

_BLOCKS = ("generator", "adversary", "output", "patches", "optimizer.batch_size", "precision", "perceptual", "select")
_WITHOUT = ("patches.seed", "patches.tissue", "patches.foreground", "perceptual.weights")


@dataclass(slots=True)
class Packing:
    """What is known of one sweep.

    Attributes:
        path: where it is kept.
        known: key -> {"used", "total", "failed"}: bytes at the peak and of the GPU, and the largest share that was too
            little; `used` is 0 where only that is known.
    """

    path: Path
    known: dict[str, dict[str, float]] = field(default_factory=dict)

    def share(self, config: Mapping[str, Any]) -> float | None:
        """The share of a GPU that a trial needs: 1/n of one; None where nothing is known of its kind."""
        key = memory_key(config)
        own = self.known.get(key)
        if own and own["used"]:
            slice_ = _slice(own)
            return slice_ if slice_ > own["failed"] else WHOLE
        if own:
            return None
        larger = [_slice(found) for other, found in self.known.items() if found["used"] and _covers(other, key)]
        return min(larger, default=None)

    def smallest(self) -> float:
        """The smallest share that any trial has been found to need; a whole GPU while nothing is known."""
        return min((_slice(found) for found in self.known.values() if found["used"]), default=WHOLE)

    def note(self, config: Mapping[str, Any], used: int, total: int) -> bool:
        """Keep what a trial took at its peak, if that is more than was known; whether it was."""
        key = memory_key(config)
        found = self.known.get(key, {"used": 0, "total": total, "failed": 0.0})
        if used > found["used"]:
            self._keep(key, {**found, "used": used, "total": total})
        return used > found["used"]

    def note_failure(self, config: Mapping[str, Any], share: float) -> None:
        """Keep that a share was too little; until it is measured again on a whole GPU, its kind gets one."""
        key = memory_key(config)
        found = self.known.get(key, {"used": 0, "total": 0, "failed": 0.0})
        self._keep(key, {**found, "used": 0, "failed": max(share, found["failed"])})

    def _keep(self, key: str, found: dict[str, float]) -> None:
        self.known[key] = found
        write_json(self.path, {"schema_version": 1, "known": self.known})


def read_packing(sweep: SweepDirectory) -> Packing:
    """What earlier drivers of a sweep have measured."""
    path = sweep.root / "gpu_memory.json"
    return Packing(path, dict(read_mapping(path).get("known", {})))


def memory_key(config: Mapping[str, Any]) -> str:
    """What decides how much memory a trial takes, as JSON: networks, patches, batch, precision, and which losses."""
    kept = dict(_deciding(config))
    kept["losses"] = sorted(name for name, weight in (config.get("losses") or {}).items() if weight)
    return json.dumps(kept, sort_keys=True)


def _deciding(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    blocks = (*_BLOCKS, config.get("generator"), config.get("adversary"))
    for path, value in flatten(config):
        inside = any(path == block or path.startswith(f"{block}.") for block in blocks)
        if inside and path not in _WITHOUT:
            yield path, value


def _covers(larger: str, smaller: str) -> bool:
    """Whether one kind takes at least the memory of another: the same but for numbers, of which none is smaller."""
    ours, theirs = json.loads(larger), json.loads(smaller)
    return ours.keys() == theirs.keys() and all(_at_least(ours[path], theirs[path]) for path in ours)


def _at_least(large: Any, small: Any) -> bool:
    if isinstance(large, list) and isinstance(small, list) and len(large) == len(small):
        return all(map(_at_least, large, small))
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (large, small))
    return bool(large >= small) if numbers else bool(large == small)


def _slice(found: Mapping[str, float]) -> float:
    """1/n of a GPU, n as large as the memory allows."""
    fitting = math.floor(found["total"] / (MARGIN * found["used"]))
    return math.floor(10_000 / min(max(1, fitting), MOST)) / 10_000  # Ray counts in ten-thousandths
