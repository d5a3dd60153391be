"""What reading patches costs, at the paper's size: 9,300 pairs of 64 x 64 px, 305 MB.

    python benchmarks/shards.py [--rounds 5] [--workers 2] [--processes 4]

1. A random batch of 32 pairs as torch tensors: from our shards, as the training loop gathers it and straight from the
   memory map, against MONAI, TorchIO and .npz files (`patch_pipelines.py` says how). All take turns in one process.
2. How soon the patches and slices of a trial are there, in a fresh process, where some trial has made them before:
   with the note that they were found whole, and without it, when all is read and hashed.
3. How much memory several processes take that have touched every patch of the same shard.
4. Cutting a slice into patches for its evaluation: all at once, and batch by batch from views.

The peers are no dependencies of ours; what is not installed is said and left out. To have them, in an environment of
their own (without torchvision, which needs another torch):

    python -m venv bench && bench/bin/pip install -c constraints.txt -e '.[search]' monai==1.6.1 torchio==1.2.1
    bench/bin/python benchmarks/shards.py
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from patch_pipelines import BATCH_SIZE, Pass, missing, monai_passes, npz_passes, torchio_passes

from mrisynth.data import shards
from mrisynth.data import slices as slices_of
from mrisynth.data.patches import PatchConfig
from mrisynth.data.shards import PatchArrays
from mrisynth.data.stitching import plan_stitch
from mrisynth.data.store.arrays import write_arrays
from mrisynth.data.store.prepared import PreparedCohort, open_cohort
from mrisynth.training.loop import draw_batches, to_device

SUBJECTS = {"train": 31, "validation": 9}
SHAPE = (128, 160, 96)
CONFIG = PatchConfig(tissue=0)
BATCHES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of which the medians are printed, after one to warm up")
    parser.add_argument(
        "--workers", type=int, default=2, help="of the peers' loaders, beside those without any; 0: none"
    )
    parser.add_argument("--processes", type=int, default=4, help="that share the memory")
    parser.add_argument("--device", default="cpu", help="where the training loop keeps its patches")
    parser.add_argument("--ready", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.ready:
        print(json.dumps(time_ready(asked.ready)))
        return
    torch.set_num_threads(1)  # as in a trial
    with tempfile.TemporaryDirectory() as folder:
        cohort = make_store(Path(folder) / "store")
        slices_of.ensure(cohort)
        train = shards.ensure(cohort, CONFIG).train
        megabytes = (train.low.nbytes + train.high.nbytes) / 1e6
        print(f"{len(train)} pairs of {CONFIG.size} x {CONFIG.size} px, {megabytes:.0f} MB; {os.cpu_count()} cores")
        print(f"load average before: {os.getloadavg()[0]:.1f}", flush=True)
        compare_batches(cohort, train, Path(folder), asked)
        compare_ready(cohort.store, asked.rounds)
        compare_memory(cohort.store, asked.processes)
        compare_cutting(asked.rounds)


def make_store(store: Path) -> PreparedCohort:
    """A prepared store of noise: how long reading takes does not depend on what the scans show."""
    generator = np.random.default_rng(0)
    names = {f"{split}-{number:02d}": split for split, count in SUBJECTS.items() for number in range(count)}
    for name in names:
        folder = store / "subjects" / name
        folder.mkdir(parents=True)
        low, high = (generator.random(SHAPE, np.float32) * 1000 for _ in range(2))
        mask = np.zeros(SHAPE, np.uint8)
        mask[:, 40:120, 24:72] = 1
        write_arrays(folder / "volumes.arrow", {"low": low, "high": high, "mask": mask})
        statistics_ = {"mean": 500.0, "std": 289.0, "count": low.size}
        record = {
            "shape": SHAPE,
            "spacing": [0.2, 0.2, 0.2],
            "volumes": {"bytes": (folder / "volumes.arrow").stat().st_size},
            "statistics": {"low": statistics_, "high": statistics_},
            "histograms": {"low": [1] * 1000, "high": [1] * 1000},
        }
        (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
    subjects = [{"subject": name, "key": name, "split": split} for name, split in names.items()]
    listed = {"schema_version": 1, "data_key": "noise", "seed": 0, "subjects": subjects, "test_reads": 0}
    (store / "store.json").write_text('{"schema_version": 1}', encoding="utf-8")
    (store / "cohort.json").write_text(json.dumps(listed), encoding="utf-8")
    return open_cohort(store)


def our_passes(cohort: PreparedCohort, train: PatchArrays, device: torch.device) -> dict[str, Pass]:
    """Random batches from our shards: as the training loop gathers them, from the map, and from a fresh map."""
    resident = to_device(train.low, train.high, device)
    order = torch.Generator(device).manual_seed(0)

    def batches(count: int, order: torch.Generator) -> torch.Tensor:
        return draw_batches(count, BATCH_SIZE, order)[:BATCHES]

    def gather() -> int:
        pairs = 0
        for batch in batches(len(train), order):
            pair = [side.index_select(0, batch) for side in resident]
            pairs += len(pair[0])
        if device.type == "cuda":
            torch.cuda.synchronize()
        return pairs

    def read(arrays: PatchArrays) -> int:
        pairs = 0
        for batch in batches(len(arrays), torch.Generator().manual_seed(0)).numpy():
            pair = [torch.from_numpy(side[batch]) for side in (arrays.low, arrays.high)]
            pairs += len(pair[0])
        return pairs

    return {
        f"ours, gathered by index on {device} (the training loop)": gather,
        "ours, from the memory map": lambda: read(train),
        "ours, opened and mapped anew (first touch of its pages)": lambda: read(shards.ensure(cohort, CONFIG).train),
    }


def compare_batches(cohort: PreparedCohort, train: PatchArrays, folder: Path, asked: argparse.Namespace) -> None:
    passes = our_passes(cohort, train, torch.device(asked.device))
    volumes = [standardised(subject) for subject in cohort.of_split("train")]
    for package, make in (("monai", monai_passes), ("torchio", torchio_passes)):
        if missing(package):
            print(f"{package} is not installed: left out (the docstring of this file says how to install it)")
        else:
            passes |= make(volumes, CONFIG.size, asked.workers)
    (folder / "npz").mkdir()
    passes |= npz_passes(train.low, train.high, folder / "npz", asked.workers)
    taken = in_turns(passes, asked.rounds)
    ours = next(iter(taken.values()))
    print(f"\n{'a random batch of ' + str(BATCH_SIZE) + ' pairs':74} {'ms':>9}   ratio")
    for name, seconds in taken.items():
        print(f"{name:74} {seconds * 1e3:9.3f}   x{seconds / ours:.1f}", flush=True)


def standardised(subject: Any) -> dict[str, Any]:
    low, high, mask = subject.volumes()
    return {"low": (low - 500) / 289, "high": (high - 500) / 289, "mask": np.array(mask)}


def in_turns(passes: dict[str, Pass], rounds: int) -> dict[str, float]:
    """The median seconds that each takes for a batch; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(rounds + 1):
        for name, run in passes.items():
            began = time.perf_counter()
            pairs = run()
            times[name].append((time.perf_counter() - began) / pairs * BATCH_SIZE)
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}


def compare_ready(store: Path, rounds: int) -> None:
    """Fresh processes, in turns with and without the note that all was found whole."""
    times: dict[str, list[dict[str, float]]] = {"found whole before (checked/)": [], "read and hashed": []}
    for _ in range(rounds + 1):
        for name, taken in times.items():
            if name == "read and hashed":
                shutil.rmtree(store / "checked")
            command = [sys.executable, __file__, "--ready", str(store)]
            taken.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    parts = list(times["read and hashed"][0])
    print(f"\n{'ready in a fresh process, ms':34}" + "".join(f"{part:>16}" for part in [*parts, "together"]))
    for name, taken in times.items():
        milliseconds = [statistics.median(run[part] for run in taken[1:]) * 1e3 for part in parts]
        together = statistics.median(sum(run.values()) for run in taken[1:]) * 1e3
        print(f"{name:34}" + "".join(f"{value:16.1f}" for value in [*milliseconds, together]))


def time_ready(store: Path) -> dict[str, float]:
    """Seconds until patches and slices are there, after everything is imported that a trial imports."""
    from mrisynth.training import trial  # noqa: F401

    steps: dict[str, Callable[[PreparedCohort], Any]] = {
        "slices.ensure": slices_of.ensure,
        "shards.ensure": lambda cohort: shards.ensure(cohort, CONFIG),
    }
    began = time.perf_counter()
    cohort = open_cohort(store)
    taken = {"open_cohort": time.perf_counter() - began}
    for name, step in steps.items():
        began = time.perf_counter()
        step(cohort)
        taken[name] = time.perf_counter() - began
    return taken


def compare_memory(store: Path, processes: int) -> None:
    """Each process touches every patch as a trial on the CPU does; then all look at their memory, still holding it."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    running = [context.Process(target=hold_patches, args=(store, barrier, results)) for _ in range(processes)]
    for process in running:
        process.start()
    found = [results.get() for _ in running]
    for process in running:
        process.join()
    print(f"\n{'memory of ' + str(processes) + ' processes, MB':34}" + "".join(f"{part:>16}" for part in found[0]))
    for number, one in enumerate(found, start=1):
        print(f"{'process ' + str(number):34}" + "".join(f"{value:16.1f}" for value in one.values()))
    print(f"{'together':34}" + "".join(f"{sum(one[part] for one in found):16.1f}" for part in found[0]))
    print("(the shard is mapped by this benchmark's own process too: PSS divides its pages by one more)")


def hold_patches(store: Path, barrier: Any, results: Any) -> None:
    train = shards.ensure(open_cohort(store), CONFIG).train
    patches = to_device(train.low, train.high, torch.device("cpu"))
    for side in patches:
        side.sum()
    barrier.wait()
    shard = smaps(lambda line: line.endswith("train.arrow"))
    whole = smaps(lambda line: True)
    barrier.wait()
    results.put(
        {
            "shard RSS": shard["Rss"],
            "shard PSS": shard["Pss"],
            "shard private": shard["Private_Clean"] + shard["Private_Dirty"],
            "process RSS": whole["Rss"],
            "process PSS": whole["Pss"],
        }
    )


def smaps(chosen: Callable[[str], bool]) -> dict[str, float]:
    """Megabytes of this process's mappings whose first line is chosen, by the kernel's names."""
    sums = dict.fromkeys(("Rss", "Pss", "Private_Clean", "Private_Dirty"), 0.0)
    inside = False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        if not name.isidentifier():
            inside = chosen(line)
        elif inside and name in sums:
            sums[name] += int(rest.split()[0]) / 1000
    return sums


def compare_cutting(rounds: int) -> None:
    print(f"\n{'cutting one slice into patches':34}{'ms':>16}{'copied, MB':>16}")
    for height, width, stride in ((160, 192, 20), (400, 480, 20), (400, 480, 4)):
        plan = plan_stitch(height, width, size=CONFIG.size, stride=stride, crop=4, blend="average")
        image = torch.randn(1, height, width)

        def held(batch_size: int, plan: Any = plan, image: torch.Tensor = image) -> int:
            return max(batch.nbytes for batch in plan.batches(image, batch_size))

        for name, batch_size in (("all at once", plan.patches), ("batches of 64 from views", 64)):
            times = []
            for _ in range(rounds + 1):
                began = time.perf_counter()
                most = held(batch_size)
                times.append(time.perf_counter() - began)
            what = f"{height} x {width}, stride {stride}: {name}"
            print(f"{what:50}{statistics.median(times[1:]) * 1e3:.2f}{most / 1e6:16.1f}")


if __name__ == "__main__":
    main()
