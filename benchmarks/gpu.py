"""What a CUDA device makes of trials, without Ray and without data: random patches, a trial's networks and its loop.

    python benchmarks/gpu.py [--seconds 1.5] [--patches 2400] [--json FILE] [--processes 1,2,4,8]

epochs      seconds an epoch on the CPU and on the GPU, in fp32 and in bf16; the peak of memory, what `gpu: auto` makes
            of it, and whether the next process of the kind stays within its slice
together    several processes on one GPU: epochs a second of all of them together
restart     saved after an epoch and continued in fresh networks: whether the bits are those of an undisturbed run
memory      a trial for which the memory does not suffice: what it is called, and whether the next one runs

Each part runs in processes of its own; one that fails is told and takes nothing along. Without a CUDA device it says so
and ends with 1.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from mrisynth.search.packing import Packing
from mrisynth.training import checkpoint
from mrisynth.training.config import TrialConfig
from mrisynth.training.devices import describe_devices, measure_memory, reset_memory
from mrisynth.training.diagnosis import as_rejection
from mrisynth.training.loop import Patches, prepare_torch, start, train
from mrisynth.training.timing import time_epoch

GAN = {"losses": {"adversarial": 0.1, "l1": 1.0}}
CONFIGS: dict[str, dict[str, Any]] = {
    "dcsrn": {"generator": "dcsrn"},
    "unet": {"generator": "unet", "unet": {"filters": 16, "levels": 5}},
    "unet, wide": {"generator": "unet", "unet": {"filters": 48, "levels": 5}, "optimizer": {"batch_size": 128}},
    "dcgan + pooled": {
        "generator": "dcgan",
        "dcgan": {"kernel_size": 5, "depth": 4, "width": 32},
        "adversary": "pooled",
        **GAN,
    },
    "unet + patchgan": {"generator": "unet", "adversary": "patchgan", **GAN},
}
SMALL = "dcgan + pooled"
LIMIT = 180.0
"""Seconds after which a part is given up."""


def config_of(name: str, **changes: Any) -> TrialConfig:
    return TrialConfig.parse({**CONFIGS[name], "patches": {"size": 64}, "epochs": 3, **changes})


def random_patches(count: int, device: str) -> Patches:
    made = torch.Generator().manual_seed(0)
    low, high = (torch.randn(count, 1, 64, 64, generator=made).to(device) for _ in range(2))
    return Patches(low, high)


def epochs(seconds: float, patches: int) -> list[dict[str, Any]]:
    """Each configuration on a core of the CPU, all at once, and on the GPU one after another, in both precisions."""
    with ThreadPoolExecutor(len(CONFIGS)) as pool:
        here = list(pool.map(lambda name: in_a_process(time_on_cpu, name, seconds, patches), CONFIGS))
    there = in_a_process(time_on_gpu, seconds, patches)
    rows = [{"config": name, "cpu": time} for name, time in zip(CONFIGS, here, strict=True)]
    if not isinstance(there, list):
        return [{**row, **there} for row in rows]
    return [{**row, **more, "cpu / cuda": _ratio(row, more)} for row, more in zip(rows, there, strict=True)]


def _ratio(row: dict[str, Any], more: dict[str, Any]) -> float | None:
    numbers = isinstance(row["cpu"], float) and isinstance(more.get("cuda"), float)
    return row["cpu"] / more["cuda"] if numbers else None


def time_on_cpu(name: str, seconds: float, patches: int) -> float:
    config = config_of(name)
    prepare_torch(config, torch.device("cpu"))
    return time_epoch(config, random_patches(patches, "cpu"), random_patches(256, "cpu"), seconds=seconds).wall


def time_on_gpu(seconds: float, patches: int) -> list[dict[str, Any]]:
    rows = []
    device = "cuda"
    for name in CONFIGS:
        row: dict[str, Any] = {}
        for label, precision in (("cuda", "fp32"), ("cuda bf16", "bf16")):
            try:
                reset_memory(device)
                config = config_of(name, precision=precision)
                prepare_torch(config, torch.device(device))
                training, validation = random_patches(patches, device), random_patches(256, device)
                row[label] = time_epoch(config, training, validation, seconds=seconds).wall
                memory = measure_memory(device)
                if memory:
                    row[f"{label} memory"], row["total"] = memory
                del training, validation
            except Exception as error:
                row[label] = None
                row[f"{label} error"] = f"{type(error).__name__}: {error}"[:200]
        rows.append(row)
    return rows


def slices(patches: int) -> list[dict[str, Any]]:
    """What `gpu: auto` makes of a first measurement, and what a second process of the kind then takes."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        packing = Packing(Path(folder) / "gpu_memory.json")
        for name in CONFIGS:
            first, second = (in_a_process(peak, name, patches) for _ in range(2))
            if "error" in first or "error" in second:
                rows.append({"config": name, **first, **second})
                continue
            dumped = config_of(name).dump()
            packing.note(dumped, first["used"], first["total"])
            share = packing.share(dumped) or 1.0
            rows.append(
                {
                    "config": name,
                    "share": share,
                    "predicted": share * first["total"],
                    "measured": second["used"],
                    "fits": second["used"] <= share * first["total"],
                }
            )
    return rows


def peak(name: str, patches: int) -> dict[str, Any]:
    """The peak of memory of a fresh process that trains one configuration."""
    config = config_of(name)
    prepare_torch(config, torch.device("cuda"))
    reset_memory("cuda")
    time_epoch(config, random_patches(patches, "cuda"), random_patches(256, "cuda"), seconds=0.5)
    memory = measure_memory("cuda")
    assert memory is not None
    return {"used": memory.used, "total": memory.total}


def together(seconds: float, patches: int, counts: list[int]) -> dict[str, float]:
    """Epochs a second of so many processes at once: all are started, then ever more of them work."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(max(counts)), context.Queue()
    made = [
        context.Process(target=take_turns, args=(place, counts, (seconds, patches), barrier, results), daemon=True)
        for place in range(max(counts))
    ]
    for process in made:
        process.start()
    done: dict[int, float] = dict.fromkeys(counts, 0.0)
    try:
        for _ in range(sum(counts)):
            count, rate = results.get(timeout=LIMIT)
            done[count] += rate
    finally:
        for process in made:
            process.join(10)
            process.kill()
    return {str(count): rate for count, rate in done.items()}


def take_turns(place: int, counts: list[int], size: tuple[float, int], barrier: Any, results: Any) -> None:
    """One of the processes: in each round it works if it is among the first so many."""
    seconds, patches = size
    config = config_of(SMALL, epochs=100_000)
    prepare_torch(config, torch.device("cuda"))
    training, validation = random_patches(patches, "cuda"), random_patches(64, "cuda")
    state = start(config, torch.device("cuda"))
    course = train(state, config, training=training, validation=validation)
    next(course)
    for count in counts:
        barrier.wait(LIMIT)
        if place >= count:
            continue
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            next(course)
            torch.cuda.synchronize()
            done += 1
        results.put((count, done / (time.perf_counter() - began)))


def restart(device: str = "cuda") -> dict[str, Any]:
    """Two epochs at once, and two with a checkpoint in between."""
    found = {}
    for name in ("unet + patchgan", "dcsrn"):
        config = config_of(name, epochs=2, optimizer={"batch_size": 32})
        where = torch.device(device)
        training, validation = random_patches(256, device), random_patches(64, device)
        prepare_torch(config, where)
        whole = start(config, where)
        list(train(whole, config, training=training, validation=validation))
        prepare_torch(config, where)
        part = start(config, where)
        next(train(part, config, training=training, validation=validation))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / checkpoint.FILE_NAME
            checkpoint.save(path, part, config=config, data_key="random")
            prepare_torch(config, where)
            fresh = start(config, where)
            checkpoint.load(path, fresh, config=config, data_key="random")
        list(train(fresh, config, training=training, validation=validation))
        pairs = zip(whole.generator.state_dict().values(), fresh.generator.state_dict().values(), strict=True)
        gap = max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
        found[name] = {"equal bits": gap == 0.0, "largest difference": gap, "recorded as exact": fresh.exact}
    return found


def memory() -> dict[str, Any]:
    """A trial that gets too little memory, then one that has enough."""
    config = config_of("unet, wide", optimizer={"batch_size": 2048})
    prepare_torch(config, torch.device("cuda"))
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 1.5e9 / total))
    training, validation = random_patches(2048, "cuda"), random_patches(64, "cuda")
    said = None
    try:
        list(train(start(config, torch.device("cuda")), config, training=training, validation=validation))
    except Exception as error:
        rejection = as_rejection(error)
        said = {"reason": rejection.reason if rejection else None, "message": str(rejection or error)[:200]}
    torch.cuda.empty_cache()
    small = config_of("dcsrn", optimizer={"batch_size": 16})
    prepare_torch(small, torch.device("cuda"))
    few = Patches(*(side[:64] for side in training))
    try:
        next(train(start(small, torch.device("cuda")), small, training=few, validation=few))
        after = "the next trial runs"
    except Exception as error:
        after = f"the next trial fails: {error}"[:200]
    return {"rejected": said, "after": after}


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own; {"error": ...} where it fails or takes too long."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(function, arguments, send), daemon=True)
    process.start()
    send.close()
    try:
        if not receive.poll(LIMIT):
            return {"error": f"no answer in {LIMIT:.0f} s"}
        return receive.recv()
    except EOFError:
        return {"error": f"the process ended with code {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def answer(function: Callable[..., Any], arguments: tuple[Any, ...], send: Any) -> None:
    try:
        send.send(function(*arguments))
    except Exception as error:
        send.send({"error": f"{type(error).__name__}: {error}"[:300]})


def table(title: str, rows: list[dict[str, Any]]) -> None:
    """Rows as plain text."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(key, row.get(key)) for key in columns] for row in rows]
    widths = [max(len(column), *(len(row[place]) for row in cells)) for place, column in enumerate(columns)]
    print(f"\n{title}")
    for line in [columns, *cells]:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _cell(key: str, value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if key in ("predicted", "measured", "total") or key.endswith("memory"):
        return f"{value / 1e9:.3g} GB"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.5, help="how long to train each configuration")
    parser.add_argument("--patches", type=int, default=2400)
    parser.add_argument("--processes", default="1,2,4,8")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no CUDA device here")
    counts = sorted(map(int, options.processes.split(",")))
    parts: dict[str, Callable[[], Any]] = {
        "epochs": lambda: epochs(options.seconds, options.patches),
        "slices": lambda: slices(options.patches),
        "together": lambda: together(2 * options.seconds, options.patches, counts),
        "restart": lambda: in_a_process(restart),
        "memory": lambda: in_a_process(memory),
    }
    found: dict[str, Any] = {
        "devices": describe_devices(),
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }
    print(found)
    for name, part in parts.items():
        began = time.perf_counter()
        try:
            found[name] = part()
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
        took = f"{name} (in {time.perf_counter() - began:.0f} s)"
        rows = found[name]
        if name in ("epochs", "slices") and isinstance(rows, list):
            table(took, rows)
        else:
            print(f"\n{took}\n{json.dumps(rows, indent=2)}")
        if options.json:  # after each part: what comes later may hang
            options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")
    print(f"\n{json.dumps(found)}")


if __name__ == "__main__":
    main()
