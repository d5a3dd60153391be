"""What the best possible model could reach on a phantom: the clean truth scored against the prepared high-field scans.

The high-field scan that trials are scored against carries noise and what N4 left of the shading, so that not even the
truth scores perfectly. The truth's grey values are brought to the prepared scan's by one straight line a subject.

    python benchmarks/phantom_ceiling.py demo/store demo/scans/truth [--sweep demo/results/demo]
"""

import argparse
from pathlib import Path
from statistics import fmean

import numpy as np

from mrisynth.data import slices
from mrisynth.data.phantom.truth import Truth
from mrisynth.data.slices import SubjectSlices
from mrisynth.data.store.prepared import open_cohort
from mrisynth.results.index import open_index
from mrisynth.results.leaderboard import top
from mrisynth.results.store import open_sweep
from mrisynth.training.metrics import METRICS, Scored

SHOWN = ("psnr", "ssim")


def score_truth(subject: SubjectSlices, truth: Truth) -> dict[str, float]:
    """The metrics of the truth on one subject's evaluation slices."""
    clean = truth.clean_high[subject.indices].astype(float)
    design = np.stack([clean[subject.mask], np.ones(int(subject.mask.sum()))], axis=1)
    gain, offset = np.linalg.lstsq(design, subject.high[subject.mask].astype(float), rcond=None)[0]
    image = (clean * gain + offset * truth.mask[subject.indices]).astype(np.float32)
    return {name: METRICS[name].function(Scored(image, subject.high, subject.mask)) for name in SHOWN}


def row(name: str, scores: dict[str, dict[str, float]]) -> str:
    cells = [f"{metric} {fmean(s[metric] for s in scores.values()):.3f}" for metric in SHOWN]
    each = "; ".join(f"{subject} {s['psnr']:.2f} / {s['ssim']:.3f}" for subject, s in scores.items())
    return f"{name:>10}: {', '.join(cells)}   ({each})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--sweep", type=Path)
    arguments = parser.parse_args()
    shown = slices.ensure(open_cohort(arguments.store))
    ceiling = {s.subject: score_truth(s, Truth.load(arguments.truth / f"{s.subject}.npz")) for s in shown}
    for name in ("low", "matched"):
        found = {
            s.subject: {m: METRICS[m].function(Scored(getattr(s, name), s.high, s.mask)) for m in SHOWN} for s in shown
        }
        print(row({"low": "identity"}.get(name, name), found))
    if arguments.sweep:
        index = open_index(open_sweep(arguments.sweep))
        best = top(index, k=1)[0]["trial"]
        found = {s.subject: {} for s in shown}
        for entry in index.subjects.to_pylist():
            if entry["trial"] == best and entry["metric"] in SHOWN:
                found[entry["subject"]][entry["metric"]] = entry["value"]
        print(row(f"trial {best}", found))
    print(row("ceiling", ceiling))


if __name__ == "__main__":
    main()
