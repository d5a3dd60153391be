"""How much faster a planned cut and stitch is than a Python loop over the windows: `python benchmarks/stitching.py`.

All variants get the same images and weights, take turns in one process, and must give the same image; ratios are of
medians. The last baseline is how the loop is mostly written: image by image.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from mrisynth.data.stitching import StitchPlan, plan_stitch


def cut_by_loop(images: torch.Tensor, plan: StitchPlan) -> torch.Tensor:
    windows = [images[:, r : r + plan.size, c : c + plan.size] for r in plan.rows for c in plan.columns]
    return torch.stack(windows, 1).view(-1, 1, plan.size, plan.size)


def stitch_by_loop(patches: torch.Tensor, plan: StitchPlan, weights: torch.Tensor) -> torch.Tensor:
    """One addition a window, for all images together."""
    windows = patches.view(-1, plan.patches, plan.size, plan.size)
    images = patches.new_zeros(len(windows), plan.height, plan.width)
    starts = [(r, c) for r in plan.rows for c in plan.columns]
    for number, (r, c) in enumerate(starts):
        images[:, r : r + plan.size, c : c + plan.size] += windows[:, number] * weights[number]
    return images


def stitch_image_by_image(patches: torch.Tensor, plan: StitchPlan, weights: torch.Tensor) -> torch.Tensor:
    """One addition a window and an image."""
    images = patches.view(-1, plan.patches, 1, plan.size, plan.size)
    return torch.cat([stitch_by_loop(image, plan, weights) for image in images])


def window_weights(plan: StitchPlan) -> torch.Tensor:
    """Averaging weights of each window, (k, size, size), from how many cropped windows cover a voxel."""
    kept = torch.zeros(len(plan.rows), len(plan.columns), plan.size, plan.size)
    last = (len(plan.rows) - 1, len(plan.columns) - 1)
    for i in range(len(plan.rows)):
        for j in range(len(plan.columns)):
            top, left = plan.crop * (i > 0), plan.crop * (j > 0)
            bottom, right = plan.size - plan.crop * (i < last[0]), plan.size - plan.crop * (j < last[1])
            kept[i, j, top:bottom, left:right] = 1
    kept = kept.flatten(0, 1)
    covered = stitch_by_loop(kept[:, None], plan, torch.ones_like(kept))
    return kept / cut_by_loop(covered, plan)[:, 0]


def seconds(variants: dict[str, Callable[[], torch.Tensor]], repeats: int, device: str) -> dict[str, float]:
    """The median time of each variant, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats + 1):
        for name, variant in variants.items():
            start = time.perf_counter()
            variant()
            if device != "cpu":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--images", type=int, default=12, help="slices stitched together, as in one evaluation of a subject"
    )
    parser.add_argument("--height", type=int, default=160)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--stride", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=21)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    plan = plan_stitch(asked.height, asked.width, size=64, stride=asked.stride, crop=4, blend="average")
    images = torch.randn(asked.images, asked.height, asked.width, device=asked.device)
    weights = window_weights(plan).to(asked.device)
    patches = plan.cut(images)
    stitchers = {
        "planned": lambda: plan.stitch(patches),
        "loop over windows": lambda: stitch_by_loop(patches, plan, weights),
        "loop over images and windows": lambda: stitch_image_by_image(patches, plan, weights),
    }
    cutters = {"planned": lambda: plan.cut(images), "loop over windows": lambda: cut_by_loop(images, plan)}
    print(f"{asked.images} images of {asked.height} x {asked.width}, {plan.patches} windows each, on {asked.device}")
    for what, variants, expected in (("stitch", stitchers, images), ("cut", cutters, patches)):
        for name, variant in variants.items():
            torch.testing.assert_close(variant(), expected, rtol=0, atol=1e-5, msg=f"{what}, {name}: another result")
        taken = seconds(variants, asked.repeats, asked.device)
        for name, median in taken.items():
            print(f"{what:7} {name:29} {median * 1e3:8.2f} ms   x{median / taken['planned']:.2f}")


if __name__ == "__main__":
    main()
