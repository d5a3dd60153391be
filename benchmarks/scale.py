"""How large a cluster one driver serves: 64 workers without Ray and trials of a second, in one process.

The driver's own work is real: suggestions by TPE, every event, epoch, outcome and index on disk, the study in a journal
or in PostgreSQL, on a server of its own. The workers are simulated: an epoch is a clock that has run out. What Ray adds
is not in it (31 ms a trial in `overhead.py`).

    python benchmarks/scale.py --minutes 8           # in a journal
    python benchmarks/scale.py --minutes 8 --storage postgresql
    python benchmarks/scale.py --trials 200 --workers 16
"""

import argparse
import heapq
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from postgres_fixtures import run_postgres
from search_fixtures import make_plan, make_search, make_sweep

from mrisynth.search.assignment import Assignment
from mrisynth.search.conductor import Conductor
from mrisynth.search.index_writer import IndexWriter
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.settings import Budget
from mrisynth.search.study import open_study

EPOCHS = 4


def record(epoch: int, x: float) -> dict:
    """What a worker reports after an epoch."""
    scores = {"psnr": 30 - 20 * (x - 0.3) ** 2 - 1 / epoch} if epoch == EPOCHS else None
    where = {"pid": 1, "host": "simulated", "seconds": 0.25}
    losses = {"train": {"l1": 1 / epoch}, "validation": {"l1": 2 / epoch}}
    return {"epoch": epoch, "epochs": EPOCHS, "final": epoch == EPOCHS, "scores": scores, **losses, **where}


@dataclass
class Driver:
    """A driver whose workers are clocks."""

    conductor: Conductor
    index: IndexWriter
    workers: int
    seconds: float
    spent: Counter[str] = field(default_factory=Counter)
    suggesting: list[float] = field(default_factory=list)
    due: list[tuple[float, int, int, float]] = field(default_factory=list)
    idle: float = 0.0
    late: float = 0.0
    epochs: int = 0
    ended: int = 0

    def timed(self, what: str, call: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        answer = call(*arguments)
        self.spent[what] += time.perf_counter() - began
        return answer

    def fill(self) -> None:
        """Give every worker a trial, as far as there are any."""
        while len(self.due) < self.workers:
            before = self.spent["suggest"]
            assignment = self.timed("suggest", self.conductor.next_trial)
            if not isinstance(assignment, Assignment):
                return
            self.suggesting.append(self.spent["suggest"] - before)
            self.begin_epoch(assignment.number, 1, assignment.config["x"])

    def begin_epoch(self, number: int, epoch: int, x: float) -> None:
        heapq.heappush(self.due, (time.perf_counter() + self.seconds / EPOCHS, number, epoch, x))

    def step(self) -> None:
        """Wait for the next epoch that ends, and hear of it."""
        at, number, epoch, x = heapq.heappop(self.due)
        wait = at - time.perf_counter()
        self.idle += max(0.0, wait)
        self.late += max(0.0, -wait)
        time.sleep(max(0.0, wait))
        self.epochs += 1
        if self.timed("hear", self.conductor.hear, number, record(epoch, x)):
            self.ended += 1
        else:
            self.begin_epoch(number, epoch + 1, x)
        self.timed("index", self.index.write_if_due)


def make_driver(folder: Path, *, trials: int, workers: int, seconds: float, storage: str) -> Driver:
    """A driver of a new sweep."""
    sweep = make_sweep(folder)
    plan = make_plan(folder, budget=Budget(trials=trials))
    study = open_study(
        sweep.journal, objectives=plan.objectives, sampler=SeededSampler("tpe", 1), storage=storage, name="scale"
    )
    conductor = Conductor(sweep, study, plan)
    index = make_search(sweep, plan).index
    conductor.changed = index.mark
    return Driver(conductor, index, workers, seconds)


def run(driver: Driver, *, minutes: float, server: int | None) -> dict[str, float | str]:
    """Conduct a sweep for so long at most: what it took."""
    sweep = driver.conductor.sweep
    began, processor, load = time.perf_counter(), time.process_time(), os.getloadavg()[0]
    before = processor_time(server)
    driver.fill()
    while driver.due and time.perf_counter() < began + 60 * minutes:
        driver.step()
        driver.fill()
    wall, count = time.perf_counter() - began, max(1, driver.ended)
    used, served = time.process_time() - processor, processor_time(server) - before
    size = sum(path.stat().st_size for path in sweep.study.rglob("*")) if sweep.study.is_dir() else 0
    return {
        "trials": count,
        "trials a second": count / wall,
        "ideal (trials a second)": driver.workers / driver.seconds,
        "load average": f"{load:.0f} before, {os.getloadavg()[0]:.0f} after",
        "driver waits for workers": f"{100 * driver.idle / wall:.0f} % of the time",
        "driver's CPU": f"{100 * used / wall:.0f} % of a core, {1000 * used / count:.1f} ms a trial",
        "server's CPU": f"{100 * served / wall:.0f} % of a core, {1000 * served / count:.1f} ms a trial",
        "an answer came late by": f"{1000 * driver.late / driver.epochs:.0f} ms",
        **{f"{what}, ms a trial": 1000 * value / count for what, value in driver.spent.items()},
        "suggest, first 100, ms": 1000 * statistics.median(driver.suggesting[:100]),
        "suggest, last 100, ms": 1000 * statistics.median(driver.suggesting[-100:]),
        "memory at its peak, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "study, kB a trial": size / 1024 / count,
        "events, kB a trial": sweep.events.stat().st_size / 1024 / count,
    }


def processor_time(pid: int | None) -> float:
    """What a process and those that it started and that live have taken, in CPU seconds; 0 without one."""
    if pid is None:
        return 0.0
    server = psutil.Process(pid)
    times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def main() -> None:
    """Print what a driver reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0, help="that a trial lasts")
    parser.add_argument("--storage", default="journal", help="journal, postgresql, or a URL")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which it ends")
    asked = vars(parser.parse_args())
    minutes, storage, server = asked.pop("minutes"), asked.pop("storage"), None
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if storage == "postgresql":
            database = stack.enter_context(run_postgres())
            storage, server = database.url, database.process.pid
        found = run(make_driver(Path(folder), storage=storage, **asked), minutes=minutes, server=server)
    for name, value in found.items():
        print(f"{name:28} {value if isinstance(value, str) else f'{value:.2f}'}")


if __name__ == "__main__":
    main()
