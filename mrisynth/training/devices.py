"""The devices on which trials can train, and what a trial takes of a GPU's memory."""

from typing import NamedTuple

import torch


class GpuMemory(NamedTuple):
    """What this process takes of its GPU's memory.

    Attributes:
        used: at its peak since `reset_memory`, in bytes, with what CUDA itself takes for a process.
        total: what the GPU has, in bytes.
    """

    used: int
    total: int


def describe_devices() -> list[str]:
    """The CUDA devices that torch can use here, each with its memory; none where trials run on the CPU."""
    if not torch.cuda.is_available():
        return []
    properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [f"{device.name} with {device.total_memory / 1e9:.0f} GB" for device in properties]


def reset_memory(device: torch.device | str) -> None:
    """Begin to measure the peak of memory anew; what earlier trials of this process left is given back first."""
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def measure_memory(device: torch.device | str = "cuda") -> GpuMemory | None:
    """What this process took of its GPU since `reset_memory`; None where it has none.

    Exact where the process is alone on its GPU: what CUDA's context and libraries take is what the GPU lacks beyond
    torch's own pool. With others beside it that is theirs too, and so too much.
    """
    device = torch.device(device)
    if device.type != "cuda" or not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info(device)
    beside = max(0, total - free - torch.cuda.memory_reserved(device))
    return GpuMemory(torch.cuda.max_memory_reserved(device) + beside, total)
