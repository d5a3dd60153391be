"""Preparation against a phantom's truth: how far registration and bias correction come, and what they cost.

    python benchmarks/preparation.py --size 160 192 128 --subjects 8 --methods affine demons bspline correlation greedy
    python benchmarks/preparation.py --size 160 192 128 --subjects 8 --hard

`--hard` turns by up to 20 degrees, shifts by up to 10 mm and warps by up to 15 voxels (3 mm) on knots 8 mm apart.

Each subject goes through the stages that `mrisynth data prepare` runs, on one thread. Printed for each: the remaining
bias (variation of true over estimated bias in the tissue) before and after N4, the registration error (mean in the
tissue, in mm) before and after, the processor seconds of both, and the most memory that the process held meanwhile,
all that was there included (without greedy's own, which is another process). At the end one table: for each method
median and worst of the error before and after, of the remaining bias, of processor seconds and of memory. greedy is
measured where it is installed.
"""

import argparse
import json
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import SimpleITK as sitk
from preparation_stages import forget_peak, peak
from pydantic import TypeAdapter

from mrisynth.data.cohort import Pair, read_pairs
from mrisynth.data.phantom.cohort import PhantomConfig, make_cohort
from mrisynth.data.phantom.truth import Truth, remaining_bias
from mrisynth.data.preparation import alignment, bias, intensity, registration
from mrisynth.data.preparation.bias import BiasConfig
from mrisynth.data.preparation.intensity import IntensityConfig
from mrisynth.data.preparation.methods import RegistrationConfig
from mrisynth.data.scans.volumes import read_volume

Result = TypeVar("Result")

COLUMNS = {
    "subject": "{}",
    "high bias": "{:.3f}",
    "after N4": "{:.4f}",
    "low bias": "{:.3f}",
    "after N4 ": "{:.4f}",
    "N4 CPU-s": "{:.1f}",
    "method": "{}",
    "error": "{:.3f}",
    "after": "{:.3f}",
    "p95": "{:.3f}",
    "correlation": "{:.3f}",
    "after ": "{:.3f}",
    "shift": "{:.2f}",
    "Jacobian": "{}",
    "CPU-s": "{:.1f}",
    "MiB": "{:.0f}",
}

HARD = PhantomConfig(degrees=20, shift=10, warp=15, smoothness=40, follow=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Preparation against a phantom's truth.")
    parser.add_argument("--size", type=int, nargs=3, default=(96, 112, 80), metavar=("DEPTH", "HEIGHT", "WIDTH"))
    parser.add_argument("--subjects", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", default=["affine", "demons", "bspline", "correlation"])
    parser.add_argument("--hard", action="store_true", help="large misalignment")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    arguments = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        config = HARD if arguments.hard else PhantomConfig()
        size, subjects, seed = tuple(arguments.size), arguments.subjects, arguments.seed
        pairs = make_cohort(Path(folder), subjects=subjects, size=size, seed=seed, config=config, jobs=1)
        if not arguments.json:
            print("  ".join(f"{name.strip():>11}" for name in COLUMNS))
        for pair in read_pairs(pairs):
            for row in measure(pair, Truth.load(pairs.parent / "truth" / f"{pair.subject}.npz"), arguments.methods):
                rows.append(row)
                if not arguments.json:
                    print("  ".join(f"{form.format(row[name]):>11}" for name, form in COLUMNS.items()), flush=True)
    if arguments.json:
        print(json.dumps({"schema_version": 1, "size": list(arguments.size), "rows": rows}, indent=2))
    else:
        summarise(rows)


def measure(pair: Pair, truth: Truth, methods: list[str]) -> list[dict[str, Any]]:
    """One row for each method of registration."""
    raw = {name: read_volume(path).to_image() for name, path in (("low", pair.low), ("high", pair.high))}
    corrected, seconds = timed(lambda: {name: bias.correct(scan, BiasConfig()) for name, scan in raw.items()})
    shared = {"subject": pair.subject, "N4 CPU-s": seconds, **shading(raw, corrected, truth)}
    low, high = (intensity.scale(corrected[name], IntensityConfig()) for name in ("low", "high"))
    identity = sitk.Transform(3, sitk.sitkIdentity)
    rows = []
    for method in methods:
        config: Any = TypeAdapter(RegistrationConfig).validate_python({"method": method})
        forget_peak()
        transform, seconds = timed(lambda config=config: registration.register(low, high, config))
        memory = peak()
        mask = intensity.tissue_mask(high)
        quality = alignment.measure(
            registration.resample(low, high, identity),
            registration.resample(low, high, transform),
            high,
            transform=transform,
            tissue=mask,
            mask=mask,
        )
        errors = truth.registration_errors(transform)
        rows.append(
            {
                **shared,
                "method": method,
                "error": float(truth.registration_errors(identity).mean()),
                "after": float(errors.mean()),
                "p95": float(np.percentile(errors, 95)),
                "correlation": quality.correlation_before,
                "after ": quality.correlation_after,
                "shift": max(abs(shift) for shift in quality.residual_voxels),
                "Jacobian": f"{quality.jacobian_min:.2f}..{quality.jacobian_max:.2f}",
                "CPU-s": seconds,
                "MiB": memory,
            }
        )
    return rows


def shading(raw: dict[str, sitk.Image], corrected: dict[str, sitk.Image], truth: Truth) -> dict[str, float]:
    """The remaining bias of both scans before and after correction."""
    fields = {"high": (truth.high_bias, truth.mask), "low": (truth.low_bias, truth.low_mask)}
    found = {}
    for name, after in (("high", "after N4"), ("low", "after N4 ")):
        field, mask = fields[name]
        before = sitk.GetArrayFromImage(raw[name])
        estimate = np.divide(
            before, sitk.GetArrayFromImage(corrected[name]), out=np.ones_like(before), where=before > 0
        )
        found[f"{name} bias"] = remaining_bias(field, np.ones_like(before), mask & (before > 0))
        found[after] = remaining_bias(field, estimate, mask & (before > 0))
    return found


SUMMARY = {
    "error, mm": ("error", "{:.3f}"),
    "after": ("after", "{:.3f}"),
    "high bias": ("high bias", "{:.3f}"),
    "after N4": ("after N4", "{:.4f}"),
    "low bias": ("low bias", "{:.3f}"),
    "after N4 ": ("after N4 ", "{:.4f}"),
    "CPU-s": ("CPU-s", "{:.1f}"),
    "N4 CPU-s": ("N4 CPU-s", "{:.1f}"),
    "MiB": ("MiB", "{:.0f}"),
}


def summarise(rows: list[dict[str, Any]]) -> None:
    """Median and worst of everything, for each method."""
    print("\nmedian / worst\n" + "".join(f"{name.strip():>16}" for name in ("method", *SUMMARY)))
    for method in dict.fromkeys(row["method"] for row in rows):
        chosen = [row for row in rows if row["method"] == method]
        figures = [
            " / ".join(form.format(f([row[name] for row in chosen])) for f in (np.median, max))
            for name, form in SUMMARY.values()
        ]
        print("".join(f"{figure:>16}" for figure in (method, *figures)))


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What a piece of work returns, and the processor seconds it took."""
    started = _seconds()
    result = work()
    return result, _seconds() - started


def _seconds() -> float:
    """Processor seconds of this process and of the programs that it called."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
