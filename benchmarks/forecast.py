"""The forecast of a sweep against what it took, on three small sweeps: of CNNs, of GANs, of both with pruning.

    python benchmarks/forecast.py [--store STORE] [--concurrent 1] [--only cnn] [--json FILE]

Each is forecast by its probes, then run by the real command. Told are time by the clock, processor time of all
processes and bytes on disk, and how far what they took is from what was forecast. On a machine that others use, the
clock measures them too: whether the costs were forecast well is then seen from the processor time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from overhead import adopt_orphans, watch_processes

COMMON = """
resources: {cpu: 1, gpu: 0}
fixed:
  patches: {size: 32, per_subject: 150}
  optimizer.batch_size: 16
  epochs: %d
search:
  generator: [dcgan, unet, dcsrn]
  dcgan.kernel_size: [3, 5]
  dcgan.depth: {int: [2, 4]}
  dcgan.width: {int: [8, 24]}
  unet.levels: {int: [3, 4]}
  unet.filters: {int: [8, 24]}
  dcsrn.units: {int: [1, 3]}
  dcsrn.growth: {int: [4, 12]}
  losses.l1: {float: [0.5, 2], log: true}
  optimizer.generator_lr: {float: [1e-4, 1e-3], log: true}
"""
GAN = """
  patchgan.layers: {int: [1, 2]}
  patchgan.filters: {int: [4, 16]}
  losses.adversarial: {float: [0.01, 0.1], log: true}
"""
SPACES = {
    "cnn": "budget: {trials: 12}\n" + COMMON % 6 + "  adversary: {choice: [none]}\n",
    "gan": "budget: {trials: 10}\n" + COMMON % 5 + "  adversary: {choice: [patchgan]}\n" + GAN,
    "pruned": "budget: {trials: 24}\npruner: {halving: {rungs: [0.15, 0.4], keep: 0.34}}\n"
    + COMMON % 12
    + "  adversary: [none, patchgan]\n"
    + GAN,
}


def make_store(folder: Path) -> Path:
    """A small phantom cohort, prepared."""
    from mrisynth.data.phantom.cohort import make_cohort

    pairs = make_cohort(folder / "scans", subjects=3, size=(48, 48, 48), seed=1, jobs=1)
    command = [sys.executable, "-m", "mrisynth", "data", "prepare", str(pairs), str(folder / "store")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "store"


def compare(name: str, folder: Path, store: Path, concurrent: int, seed: int) -> dict[str, Any]:
    """Forecast one sweep, run it, and put both beside each other."""
    from mrisynth.results.index import read_index
    from mrisynth.results.store import SweepDirectory
    from mrisynth.search.forecast.forecast import forecast
    from mrisynth.search.space import parse_space

    began = time.perf_counter()
    space = parse_space(SPACES[name], f"{name}.yaml")
    found = forecast(space, store=store, seed=seed, max_concurrent=concurrent, progress=lambda _: None)
    probing = time.perf_counter() - began
    (folder / f"{name}.yaml").write_text(SPACES[name], encoding="utf-8")
    arguments = [str(folder / f"{name}.yaml"), "--data", str(store), "--results", str(folder / "results")]
    command = [sys.executable, "-m", "mrisynth", "sweep", *arguments, "--name", name, "--seed", str(seed)]
    began = time.perf_counter()
    log = folder / f"{name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--max-concurrent", str(concurrent)], stdout=stream, stderr=subprocess.STDOUT, encoding="utf-8"
        )
        spent = watch_processes(process)
    if process.returncode:
        sys.exit(log.read_text(encoding="utf-8")[-3000:])
    root = folder / "results" / name
    wall = json.loads((root / "heartbeat.json").read_text(encoding="utf-8"))["ran"]
    outcomes = read_index(SweepDirectory(root)).trials["outcome"].to_pylist()
    ended = [outcome for outcome in outcomes if outcome != "continued"]
    took = {
        "seconds": wall,
        "cpu_seconds": sum(spent.values()),
        "disk": float(sum(path.stat().st_size for path in root.rglob("*") if path.is_file())),
    }
    return {
        "sweep": name,
        "probing": probing,
        "pruned": {"forecast": found.pruned, "took": ended.count("pruned"), "of": len(ended)},
        **{key: _beside(getattr(found, key), value) for key, value in took.items()},
        "load": os.getloadavg()[0],
    }


def _beside(forecast: Any, took: float) -> dict[str, float | bool]:
    return {
        "forecast": forecast.median,
        "low": forecast.low,
        "high": forecast.high,
        "took": took,
        "ratio": forecast.median / took,
    }


def tell(row: dict[str, Any]) -> None:
    pruned = row["pruned"]
    rungs = f"rungs stopped {pruned['took']} of {pruned['of']} for good, forecast {pruned['forecast']}"
    print(f"\n{row['sweep']}: probed in {row['probing']:.0f} s; {rungs}; load average {row['load']:.1f}", flush=True)
    for key, title, factor, unit, within in (
        ("seconds", "clock", 1, "s", 0.25),
        ("cpu_seconds", "processor", 1, "s", 0.25),
        ("disk", "disk", 1e-6, "MB", 0.2),
    ):
        part = row[key]
        missed = part["took"] / part["forecast"] - 1
        verdict = "within" if abs(part["ratio"] - 1) <= within else "NOT within"
        print(
            f"  {title:10} forecast {factor * part['forecast']:8.1f} {unit} ({factor * part['low']:.1f} to"
            f" {factor * part['high']:.1f}), took {factor * part['took']:8.1f} {unit} ({missed:+.0%});"
            f" {verdict} {within:.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a prepared cohort; default: a small phantom is made")
    parser.add_argument("--concurrent", type=int, default=1, help="trials at a time")
    parser.add_argument("--only", choices=list(SPACES), action="append")
    parser.add_argument("--seed", type=int, default=0, help="of the sweeps")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    adopt_orphans()
    rows = []
    with tempfile.TemporaryDirectory(prefix="mrisynth-forecast-") as name:
        folder = Path(name)
        store = options.store or make_store(folder)
        for space in options.only or list(SPACES):
            rows.append(compare(space, folder, store, options.concurrent, options.seed))
            tell(rows[-1])
            if options.json:
                options.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
