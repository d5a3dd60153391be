"""What `status` would have said of the remaining time of sweeps that are done, against what they took.

For each sweep: when a tenth of its trials had ended, a fifth and so on, the time that it would have been said to take
in all, as a deviation from what it took; by what the ended trials cost alone, and with the rungs that others of them
still go on from, as `status` has it. Running trials are left out.

    python benchmarks/remaining.py RESULTS/NAME [RESULTS/OTHER ...]
"""

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mrisynth.results.index import Index, build_index
from mrisynth.results.progress import remaining
from mrisynth.results.store import SweepDirectory, read_events

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def moments(sweep: SweepDirectory) -> tuple[float, dict[int, float]]:
    """When the first trial was suggested, and when each was told; seconds since 1970."""
    events = [(event, datetime.fromisoformat(event["time"]).timestamp()) for event in read_events(sweep)]
    told = {event["number"]: time for event, time in events if event["kind"] == "told"}
    return min(time for event, time in events if event["kind"] == "suggested"), told


def known_at(index: Index, told: Mapping[int, float], moment: float) -> list[dict[str, Any]]:
    """The trials that had ended by then; of those that went on later nobody knew."""
    rows = [row for row in index.trials.to_pylist() if told.get(row["trial"], moment + 1) <= moment]
    return [{**row, "outcome": "pruned" if row["outcome"] == "continued" else row["outcome"]} for row in rows]


def deviations(sweep: SweepDirectory) -> list[tuple[float, float]]:
    """At each share, by the costs alone and with the rungs: what was said less what it took, over that."""
    index, (began, told) = build_index(sweep), moments(sweep)
    own = [row["trial"] for row in index.trials.to_pylist() if row["retry_of"] is None]
    took, found = max(told.values()) - began, []
    rungs, keep = index.halving
    for count in (max(1, round(share * len(own))) for share in SHARES):
        moment = sorted(told[trial] for trial in own)[count - 1]
        ran, rows = moment - began, known_at(index, told, moment)
        budget: dict[str, dict[str, float | None]] = {
            name: {"spent": 0.0, "limit": None} for name in ("hours", "gpu_hours", "wall")
        }
        budget["trials"] = {"spent": count, "limit": len(own)}
        said = [remaining(rows, budget, ran=ran, training=ran, rungs=each, keep=keep) for each in ((), rungs)]
        alone, with_rungs = ((ran + left.seconds) / took - 1 if left else float("nan") for left in said)
        found.append((alone, with_rungs))
    return found


def main() -> None:
    print("| sweep | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |\n" + "| --- " * (len(SHARES) + 1) + "|")
    for path in map(Path, sys.argv[1:]):
        cells = (f"{alone:+.0%}, {with_rungs:+.0%}" for alone, with_rungs in deviations(SweepDirectory(path)))
        print(f"| {path.name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
