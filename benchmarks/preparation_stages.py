"""Processor time and peak memory of every stage of preparing one subject, on one thread.

    python benchmarks/preparation_stages.py --size 350 350 250 [--method correlation] [--json FILE]

The pair is a phantom; the stages are those of `mrisynth data prepare`, each measured as that command calls it. Memory
is the most that the process held during a stage (Linux: VmHWM, put back before each), all that is there already
included. Afterwards the hours of a cohort of 44 such subjects on 2, 16 and 64 cores, by the processor time of one and
as many at once as memory allows: arithmetic, not a measurement.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from mrisynth.data.cohort import read_pairs
from mrisynth.data.preparation import alignment, bias, intensity, registration, subject
from mrisynth.data.preparation.config import PreparationConfig
from mrisynth.data.store.digests import digest_input
from mrisynth.data.workers import estimate_memory

STAGES: dict[str, tuple[Any, str]] = {
    "read": (subject, "read_volume"),
    "N4": (bias, "correct"),
    "intensity": (intensity, "scale"),
    "tissue": (subject, "_tissue"),
    "affine": (registration, "_affine"),
    "deformation": (registration, "_deform"),
    "resample": (registration, "resample"),
    "coverage": (registration, "coverage"),
    "figures": (alignment, "measure"),
    "Jacobian": (alignment, "jacobian"),
    "flips": (subject, "measure_flips"),
    "write": (subject, "write_arrays"),
}
MACHINES = {2: 24, 16: 64, 64: 256}
COHORT = 44
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

spent: dict[str, list[float]] = {}
peaks: dict[str, float] = {}


def forget_peak() -> None:
    """Let the most memory that the process held be what it holds now."""
    CLEAR.write_text("5", encoding="utf-8")


def peak() -> float:
    """The most memory that the process held since it was last asked to forget it, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) / 1024


def watch(name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
    """The stage, measured."""

    def call(*arguments: Any, **named: Any) -> Any:
        forget_peak()
        began = time.process_time()
        try:
            return stage(*arguments, **named)
        finally:
            spent.setdefault(name, []).append(time.process_time() - began)
            peaks[name] = max(peaks.get(name, 0.0), peak())
            print(f"{name:12}{spent[name][-1]:10.1f} CPU-s{peak():10.0f} MiB", flush=True)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(350, 350, 250), metavar=("DEPTH", "HEIGHT", "WIDTH"))
    parser.add_argument("--method", default="correlation")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: what it takes is no part of the preparation.
        words = ["data", "phantom", folder / "scans", "--subjects", 1, "--size", "x".join(map(str, arguments.size))]
        subprocess.run([sys.executable, "-m", "mrisynth", *map(str, words)], check=True, capture_output=True)
        (pair,) = read_pairs(folder / "scans" / "pairs.csv")
        config = PreparationConfig.model_validate({"registration": {"method": arguments.method}})
        inputs = {scan: digest_input(getattr(pair, scan)) for scan in ("low", "high")}
        job = subject.SubjectJob(pair, folder / "store", config, inputs)
        bound = estimate_memory([pair.low, pair.high]) / 2**20
        for stage, (module, function) in STAGES.items():
            setattr(module, function, watch(stage, getattr(module, function)))
        began = time.process_time()
        subject.prepare_subject(job)
        whole = time.process_time() - began
    report(whole, bound, arguments.json)


def report(whole: float, bound: float, path: Path | None) -> None:
    """The table of the stages, and the cohort on paper."""
    print(f"\n{'stage':12}{'calls':>6}{'CPU-s':>10}{'peak MiB':>10}")
    for stage, calls in spent.items():
        print(f"{stage:12}{len(calls):6}{sum(calls):10.1f}{peaks[stage]:10.0f}")
    most = max(peaks.values())
    print(f"{'all':12}{'':6}{whole:10.1f}{most:10.0f}   (reckoned with: {bound:.0f})")
    for cores, memory in MACHINES.items():
        at_once = max(1, min(cores, COHORT, int(memory * 1024 // bound)))
        hours = COHORT * whole / at_once / 3600
        print(f"{COHORT} subjects, {cores} cores, {memory} GiB: {at_once} at once, {hours:.1f} h")
    if path is not None:
        stages = {stage: {"seconds": sum(calls), "peak_mib": peaks[stage]} for stage, calls in spent.items()}
        figures = {"schema_version": 1, "stages": stages, "seconds": whole, "peak_mib": most, "bound_mib": bound}
        path.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
