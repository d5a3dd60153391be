"""How much faster the metric `ssim` is than torchmetrics and MONAI, on the slices of one volume, all on the CPU.

Alike for all: two-dimensional slices, a Gaussian window of 11 x 11 pixels with sigma 1.5, a data range of 1. All take
turns in one process, so that each round is a pair under the same load; ratios are medians over the rounds. The others
work in float32 as they come, and are given whichever batch is fastest for them: slice by slice, a few, or all at once.
Their results must agree with ours, where torchmetrics' border, which it fills by reflection and counts, is left out.

Needs torchmetrics and MONAI besides mrisynth's own packages:

    pip install -c constraints.txt torchmetrics monai
    python benchmarks/ssim.py [--volume 160x160x128] [--rounds 7] [--threads 1 2]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from monai.metrics import SSIMMetric
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits
from torchmetrics.functional.image import structural_similarity_index_measure

from mrisynth.training.metrics import Scored, ssim

LEAST = 4.0
BATCHES = (1, 8, 128)
AGREE = 1e-5  # float32 against float64


def slices(height: int, width: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smooth true slices and noisier, blurred ones, (count, height, width) on [0, 1]."""
    random = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(random.random((count, height, width)), (1, 3, 3))
    high = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    generated = ndimage.gaussian_filter(high, (0, 1, 1)) + random.normal(0, 0.02, high.shape)
    return generated.astype(np.float32), high.astype(np.float32)


def by_torchmetrics(generated: torch.Tensor, high: torch.Tensor, batch: int) -> float:
    values = [
        structural_similarity_index_measure(a, b, data_range=1.0, sigma=1.5, reduction="none")
        for a, b in zip(generated.split(batch), high.split(batch), strict=True)
    ]
    return float(torch.cat([value.reshape(-1) for value in values]).mean())


def torchmetrics_inside(generated: torch.Tensor, high: torch.Tensor) -> float:
    """What torchmetrics has where the window lies inside the slice."""
    settings = {"data_range": 1.0, "sigma": 1.5, "return_full_image": True}
    _, image = structural_similarity_index_measure(generated, high, **settings)
    return float(image[..., 5:-5, 5:-5].mean())


def by_monai(generated: torch.Tensor, high: torch.Tensor, batch: int) -> float:
    metric = SSIMMetric(spatial_dims=2, data_range=1.0, win_size=11, kernel_sigma=1.5)
    values = [metric(a, b) for a, b in zip(generated.split(batch), high.split(batch), strict=True)]
    return float(torch.cat(values).mean())


def times(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each variant in each round, after one to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name, variant in variants.items():
            began = time.perf_counter()
            variant()
            taken[name].append(time.perf_counter() - began)
    return {name: seconds[1:] for name, seconds in taken.items()}


def compare(variants: dict[str, Callable[[], float]], *, threads: int, rounds: int) -> float:
    """Print the times on so many threads; the least ratio of another's median over ours, its best batch taken."""
    torch.set_num_threads(threads)
    with threadpool_limits(threads), torch.inference_mode():
        taken = times(variants, rounds)
    print(f"{threads} thread{'s' * (threads != 1)}:")
    ratios = {}
    for name, seconds in taken.items():
        paired = [other / ours for other, ours in zip(seconds, taken["mrisynth"], strict=True)]
        ratios[name] = statistics.median(paired)
        spread = f"(each round x{min(paired):.1f} to x{max(paired):.1f})" if name != "mrisynth" else ""
        print(f"  {name:28} {statistics.median(seconds) * 1e3:9.1f} ms   x{ratios[name]:6.2f}  {spread}", flush=True)
    return min(ratio for name, ratio in ratios.items() if name != "mrisynth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volume", default="160x160x128", help="height x width x slices")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    generated, high = slices(*map(int, asked.volume.split("x")))
    scored = Scored(generated, high, np.ones(high.shape, dtype=bool))
    tensors = [torch.from_numpy(images)[:, None] for images in (generated, high)]
    variants: dict[str, Callable[[], float]] = {"mrisynth": lambda: ssim(scored)}
    for name, function in (("torchmetrics", by_torchmetrics), ("MONAI", by_monai)):
        for batch in BATCHES:
            variants[f"{name}, {batch} at a time"] = lambda function=function, batch=batch: function(*tensors, batch)
    ours = ssim(scored)
    for name, theirs in (("torchmetrics", torchmetrics_inside(*tensors)), ("MONAI", by_monai(*tensors, len(high)))):
        assert abs(theirs - ours) < AGREE, f"{name} has {theirs}, not {ours}"
    print(f"{len(high)} slices of {high.shape[1]} x {high.shape[2]}, ssim {ours:.6f}; medians of {asked.rounds} rounds")
    least = min(compare(variants, threads=threads, rounds=asked.rounds) for threads in asked.threads)
    print(f"at least x{least:.1f} ({'as required' if least >= LEAST else f'less than the required x{LEAST:.0f}'})")


if __name__ == "__main__":
    main()
