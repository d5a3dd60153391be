"""The devices on which trials can train."""

import torch


def describe_devices() -> list[str]:
    """The CUDA devices that torch can use here, each with its memory; none where trials run on the CPU."""
    if not torch.cuda.is_available():
        return []
    properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [f"{device.name} with {device.total_memory / 1e9:.0f} GB" for device in properties]
