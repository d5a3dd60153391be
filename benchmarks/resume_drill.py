"""Kills of the driver in every combination of storage, objectives and pruning: ours beside stock Ray Tune and Optuna.

Both search the same toy space with the same budget; both have their driver killed (`kill -9`) at the same moments, a
few seconds after the first epoch of every drive, and are started again: ours as `mrisynth resume` does, stock by
`Tuner.restore` as Ray's documentation says. Then both may run to their end; a stock search that ends with an error gets
two more tries. Reported is what their studies say then: trials that count (complete or pruned), trials that are left
running, and epochs that were begun more than once. PostgreSQL is started here, if it is installed.

    python benchmarks/resume_drill.py --kills 20 --out benchmarks/out/resume_drill.md

takes hours; with --kills 3 half an hour.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna

from mrisynth.results.store import SweepDirectory, read_records
from mrisynth.search.drill.kills import Kill, draw_kills
from mrisynth.search.drill.toy_sweep import ToySettings, open_toy_study
from mrisynth.search.drill.verdict import run_drill
from mrisynth.search.storage.database import parse_storage

HERE = Path(__file__).parent
STORAGES = ("journal", "sqlite", "postgresql")
OBJECTIVES = ({"psnr": "maximize"}, {"psnr": "maximize", "ssim": "maximize"})
EARLIEST, LATEST = 1.0, 11.0
"""When a driver is killed, in seconds after the first epoch of its drive. Tune takes a snapshot every 10 s."""
PATIENCE = 240.0
"""Seconds after which a drive that does nothing is given up."""
COLUMNS = (
    "storage",
    "objectives",
    "pruning",
    "who",
    "kills",
    "asked",
    "counted",
    "running",
    "failed",
    "again",
    "s",
    "end",
)


def draw_delays(kills: int, seed: int) -> list[float]:
    chance = random.Random(seed)
    return [chance.uniform(EARLIEST, LATEST) for _ in range(kills)]


def drill_ours(settings: ToySettings, kills: list[Kill], folder: Path) -> dict[str, Any]:
    verdict = run_drill(folder, settings=settings, kills=kills)
    states = Counter(trial.state.name for trial in open_toy_study(SweepDirectory(verdict.sweep)).trials)
    end = "whole" if verdict.passed else "; ".join(verdict.damage)
    counts = {"kills": len(verdict.strikes), "asked": verdict.budget, "again": verdict.again, "s": verdict.seconds}
    return {**count(states), **counts, "end": end}


def count(states: Counter[str]) -> dict[str, int]:
    counted = states["COMPLETE"] + states["PRUNED"]
    return {"counted": counted, "running": states["RUNNING"], "failed": states["FAIL"]}


class Stock:
    """Drives of the stock search, one after the other."""

    def __init__(self, folder: Path, settings: ToySettings) -> None:
        self.folder, self.settings = folder, settings
        self.log = folder / "driver.log"

    def start(self) -> subprocess.Popen[bytes]:
        code = (
            "import json, sys; from pathlib import Path; from stock_search import main, ToySettings; "
            "main(Path(sys.argv[1]), ToySettings(**json.loads(sys.argv[2])))"
        )
        path = os.pathsep.join([str(HERE), str(HERE.parent)])
        environment = {**os.environ, "PYTHONPATH": path, "RAY_memory_monitor_refresh_ms": "0"}
        command = [sys.executable, "-c", code, str(self.folder), json.dumps(asdict(self.settings))]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def begun(self) -> list[dict[str, Any]]:
        return read_records(self.folder / "begun.jsonl")

    def kill_after(self, delay: float) -> bool:
        """Start it, and kill it so many seconds after its first epoch; whether it lived until then."""
        before, driver = len(self.begun()), self.start()
        deadline = time.monotonic() + PATIENCE
        while len(self.begun()) <= before and driver.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        try:
            driver.wait(delay)
        except subprocess.TimeoutExpired:
            driver.kill()
        return driver.wait() == -signal.SIGKILL

    def finish(self) -> str:
        """Let it run to its end, with three tries: how it ended."""
        for _ in range(3):
            driver = self.start()
            try:
                code = driver.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                driver.kill()
                driver.wait()
                return f"hangs for {PATIENCE:.0f} s"
            if code == 0:
                return self.last_line("fit ended")
        return f"fails at every restore: {self.last_line('Error')}"

    def last_line(self, word: str) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip()[:120] for line in reversed(lines) if word in line), f"no line with {word}")


def drill_stock(settings: ToySettings, delays: list[float], folder: Path) -> dict[str, Any]:
    stock, began = Stock(folder, settings), time.monotonic()
    struck = sum(stock.kill_after(delay) for delay in delays)
    end = stock.finish()
    from stock_search import STUDY, open_storage

    study = optuna.load_study(study_name=STUDY, storage=open_storage(folder, settings.storage))
    states = Counter(trial.state.name for trial in study.trials)
    begun = Counter((record["trial"], record["epoch"]) for record in stock.begun())
    again = sum(times - 1 for times in begun.values())
    seconds = time.monotonic() - began
    return {**count(states), "kills": struck, "asked": settings.trials, "again": again, "s": seconds, "end": end}


def combinations(
    asked: argparse.Namespace, url: Callable[[], str], trials: int
) -> Iterator[tuple[int, str, ToySettings]]:
    """The combinations that were asked for; each with its number among all of them, so that its kills are the same."""
    every = itertools.product(STORAGES, OBJECTIVES, ("off", "on"))
    for number, (storage, objectives, pruning) in enumerate(every):
        if storage in asked.storages and len(objectives) in asked.objectives and pruning in asked.pruning:
            where = parse_storage(url()) if storage == "postgresql" else storage
            yield (
                number,
                storage,
                ToySettings(where, dict(objectives), pruning=pruning == "on", trials=trials, wait=asked.wait, seed=1),
            )


def show(row: dict[str, Any]) -> str:
    cells = [f"{row[name]:.0f}" if name == "s" else str(row[name]) for name in COLUMNS]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, help="budget; default: 8, and 8 for each kill")
    parser.add_argument("--wait", type=float, default=0.5, help="seconds an epoch, of which a trial has four")
    parser.add_argument("--storages", nargs="+", choices=STORAGES, default=list(STORAGES))
    parser.add_argument("--objectives", nargs="+", type=int, choices=[1, 2], default=[1, 2], help="how many")
    parser.add_argument("--pruning", nargs="+", choices=["off", "on"], default=["off", "on"])
    parser.add_argument("--mixed", action="store_true", help="ours alone, under every kind of kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    trials = asked.trials or 8 + 8 * asked.kills
    sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]
    from postgres_fixtures import run_postgres

    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    with run_postgres() as server:
        for number, storage, settings in combinations(asked, server.new_database, trials):
            delays = draw_delays(asked.kills, asked.seed + number)
            kills = [Kill("driver", "the driver", delay=delay / settings.wait) for delay in delays]
            if asked.mixed:
                kills = draw_kills(asked.kills, asked.seed + number)
            rows = {"mrisynth": lambda folder, s=settings, k=kills: drill_ours(s, k, folder)}
            if not asked.mixed:
                rows["stock"] = lambda folder, s=settings, d=delays: drill_stock(s, d, folder)
            for who, drill in rows.items():
                folder = Path(tempfile.mkdtemp(prefix="resume-drill-"))
                shown = {"storage": storage, "objectives": len(settings.objectives), "pruning": settings.pruning}
                lines.append(show({**shown, "who": who, **drill(folder)}))
                print(lines[-1], flush=True)
                shutil.rmtree(folder, ignore_errors=True)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
