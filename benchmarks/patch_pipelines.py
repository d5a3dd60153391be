"""Random batches of patch pairs as others make them, for `shards.py`: MONAI, TorchIO, and a DataLoader over .npz files.

Everybody gets the same volumes, standardised and in memory before the clock starts, cuts across one axis, and does
nothing but crop and batch. Each pipeline is a function that makes some batches of 32 pairs and says how many pairs.
"""

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

BATCH_SIZE = 32
Pass = Callable[[], int]
Volumes = list[dict[str, NDArray[Any]]]
"""Of each subject `low`, `high` (float32, standardised) and `mask` (uint8), each (depth, height, width)."""


def monai_passes(volumes: Volumes, size: int, workers: int) -> dict[str, Pass]:
    """CacheDataset with everything cached and, as its guide to fast training advises, neither copied nor tracked."""
    from monai.data import CacheDataset, set_track_meta
    from monai.data import DataLoader as MonaiLoader
    from monai.transforms import Compose, FgBgToIndicesd, RandCropByPosNegLabeld, RandSpatialCropSamplesd

    set_track_meta(False)
    items = [{name: torch.from_numpy(array)[None] for name, array in volume.items()} for volume in volumes]
    # What is not cropped is copied for every crop, so each has what it needs and no more.
    pairs = [{name: item[name] for name in ("low", "high")} for item in items]
    roi = (1, size, size)

    def loader(items: list[Any], transforms: Any, samples: int, workers: int) -> Iterable[Any]:
        cached = CacheDataset(items, transforms, progress=False, copy_cache=False)
        size = BATCH_SIZE // samples
        kept = workers > 0
        return MonaiLoader(cached, workers, batch_size=size, shuffle=True, persistent_workers=kept)

    def spatial(samples: int) -> Any:
        return RandSpatialCropSamplesd(["low", "high"], roi, num_samples=samples, random_size=False)

    def labelled(samples: int) -> Any:
        indices = FgBgToIndicesd("mask")  # cached: else every crop looks through the whole mask
        found = {"fg_indices_key": "mask_fg_indices", "bg_indices_key": "mask_bg_indices"}
        crop = RandCropByPosNegLabeld(["low", "high", "mask"], "mask", roi, pos=1, neg=1, num_samples=samples, **found)
        return Compose([indices, crop])

    def count(batch: Any) -> int:
        return len(batch["low"])

    made = {
        "MONAI CacheDataset, RandSpatialCropSamplesd, 4 a volume": loader(pairs, spatial(4), 4, 0),
        "the same, 32 a volume": loader(pairs, spatial(32), 32, 0),
        "MONAI CacheDataset, RandCropByPosNegLabeld, 4 a volume": loader(items, labelled(4), 4, 0),
    }
    if workers:
        # Every volume eight times an epoch: workers fill their pipes anew in each.
        name = f"MONAI CacheDataset, RandSpatialCropSamplesd, 4 a volume, {workers} workers"
        made[name] = loader(pairs * 8, spatial(4), 4, workers)
    return {name: _one_pass(batches, count) for name, batches in made.items()}


def torchio_passes(volumes: Volumes, size: int, workers: int) -> dict[str, Pass]:
    """A Queue that holds an epoch over subjects in memory: 300 patches each time that one is taken, as our shards."""
    import torchio as tio

    subjects = [
        tio.Subject(
            low=tio.ScalarImage(tensor=torch.from_numpy(volume["low"])[None]),
            high=tio.ScalarImage(tensor=torch.from_numpy(volume["high"])[None]),
        )
        for volume in volumes
    ]

    def loader(workers: int) -> Iterable[Any]:
        sampler = tio.UniformSampler((1, size, size))
        dataset = tio.SubjectsDataset(subjects)
        queue = tio.Queue(dataset, 300 * len(subjects), 300, sampler, num_workers=workers, start_background=False)
        return tio.SubjectsLoader(queue, batch_size=BATCH_SIZE, num_workers=0)

    def count(batch: Any) -> int:
        return len(batch["low"][tio.DATA])

    made = {"TorchIO Queue, UniformSampler, 300 a volume": loader(0)}
    if workers:
        made[f"the same, {workers} workers"] = loader(workers)
    return {name: _one_pass(batches, count) for name, batches in made.items()}


class _Files(Dataset[Any]):
    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Any:
        with np.load(self._paths[index]) as pair:
            return torch.from_numpy(pair["low"]), torch.from_numpy(pair["high"])


def npz_passes(low: NDArray[np.float32], high: NDArray[np.float32], folder: Path, workers: int) -> dict[str, Pass]:
    """A DataLoader over one .npz file a pair, in the page cache: what many write first."""
    paths = [folder / f"{number:05d}.npz" for number in range(len(low))]
    for path, one, other in zip(paths, low, high, strict=True):
        np.savez(path, low=one, high=other)

    def loader(workers: int) -> Iterable[Any]:
        return DataLoader(_Files(paths), BATCH_SIZE, shuffle=True, num_workers=workers, persistent_workers=workers > 0)

    made = {"DataLoader over .npz files": loader(0)}
    if workers:
        made[f"the same, {workers} workers"] = loader(workers)
    return {name: _one_pass(batches, lambda batch: len(batch[0])) for name, batches in made.items()}


def missing(package: str) -> bool:
    return importlib.util.find_spec(package) is None


def _one_pass(loader: Iterable[Any], count: Callable[[Any], int]) -> Pass:
    return lambda: sum(count(batch) for batch in loader)
