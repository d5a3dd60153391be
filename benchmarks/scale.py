"""How large a cluster one driver serves: 64 workers without Ray and trials of a second, in one process.

The driver's own work is real: suggestions by TPE, every event, epoch, outcome and index on disk, the study in a journal
or in PostgreSQL. The workers are simulated: an epoch is a clock that has run out. What Ray adds is not in it (31 ms a
trial in `overhead.py`).

    python benchmarks/scale.py                       # journal; --storage postgresql://USER@HOST/DB
    python benchmarks/scale.py --trials 200 --workers 16
"""

import argparse
import heapq
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from search_fixtures import make_plan, make_search, make_sweep

from mrisynth.search.assignment import Assignment
from mrisynth.search.conductor import Conductor
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


def run(folder: Path, *, trials: int, workers: int, seconds: float, storage: str) -> dict:
    """Conduct a sweep whose workers are clocks: what it took."""
    sweep = make_sweep(folder)
    plan = make_plan(folder, budget=Budget(trials=trials))
    study = open_study(
        sweep.journal, objectives=plan.objectives, sampler=SeededSampler("tpe", 1), storage=storage, name="scale"
    )
    conductor = Conductor(sweep, study, plan)
    index = make_search(sweep, plan).index
    conductor.changed = index.mark
    spent: Counter[str] = Counter()
    due: list[tuple[float, int, int, float]] = []
    idle = 0.0

    def timed(what, call, *arguments):
        began = time.perf_counter()
        answer = call(*arguments)
        spent[what] += time.perf_counter() - began
        return answer

    def fill() -> None:
        while len(due) < workers:
            assignment = timed("suggest", conductor.next_trial)
            if not isinstance(assignment, Assignment):
                return
            x = assignment.config["x"]
            heapq.heappush(due, (time.perf_counter() + seconds / EPOCHS, assignment.number, 1, x))

    began, processor = time.perf_counter(), time.process_time()
    fill()
    late = 0.0
    while due:
        at, number, epoch, x = heapq.heappop(due)
        wait = at - time.perf_counter()
        idle += max(0.0, wait)
        late += max(0.0, -wait)
        time.sleep(max(0.0, wait))
        ended = timed("hear", conductor.hear, number, record(epoch, x))
        timed("index", index.write_if_due)
        if ended:
            fill()
        else:
            heapq.heappush(due, (time.perf_counter() + seconds / EPOCHS, number, epoch + 1, x))
    wall = time.perf_counter() - began
    index.write()
    size = sum(path.stat().st_size for path in sweep.study.rglob("*")) if sweep.study.is_dir() else 0
    return {
        "trials a second": trials / wall,
        "ideal (trials a second)": workers / seconds,
        "driver waits for workers": f"{100 * idle / wall:.0f} % of the time",
        "driver's CPU": f"{100 * (time.process_time() - processor) / wall:.0f} % of a core",
        "an answer came late by": f"{1000 * late / (trials * EPOCHS):.0f} ms",
        **{f"{what}, ms a trial": 1000 * value / trials for what, value in spent.items()},
        "memory at its peak, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "study, kB a trial": size / 1024 / trials,
        "events, kB a trial": sweep.events.stat().st_size / 1024 / trials,
    }


def main() -> None:
    """Print what a driver reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0, help="that a trial lasts")
    parser.add_argument("--storage", default="journal")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), **vars(asked))
    for name, value in found.items():
        print(f"{name:28} {value if isinstance(value, str) else f'{value:.2f}'}")


if __name__ == "__main__":
    main()
