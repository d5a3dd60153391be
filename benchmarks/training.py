"""The training loop against the loop that one would write first, on the same networks, patches and optimiser.

The naive loop draws batches from a DataLoader without workers, keeps networks and patches as they come (NCHW), reads
every loss back at every step, and lets the generator's step compute gradients for the discriminator too. Both take
turns in one process; the median of their epochs is compared.

    python benchmarks/training.py [--steps 4] [--rounds 3] [--device cpu]
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from mrisynth.training.config import TrialConfig
from mrisynth.training.loop import Patches, prepare_torch, start, train

BATCH_SIZE = 32
GAN = {"adversary": "pooled", "losses": {"adversarial": 1.0, "l1": 1.5}}
TRIALS: dict[str, dict[str, Any]] = {
    "dcsrn": {"generator": "dcsrn"},
    "dcgan against pooled": {"generator": "dcgan", **GAN},
    "unet against pooled": {"generator": "unet", **GAN},
}


def naive_epochs(config: TrialConfig, patches: Patches, device: torch.device) -> Iterator[None]:
    """One epoch at a time, as tutorials write it."""
    generator = config.generator.build().to(device)
    optimizer = torch.optim.Adam(generator.parameters(), lr=config.optimizer.generator_lr)
    discriminator = config.adversary.build(config.patches.size).to(device) if config.adversary else None
    if discriminator is not None:
        adversary = torch.optim.Adam(discriminator.parameters(), lr=config.optimizer.discriminator_lr or 0)
    loader = DataLoader(TensorDataset(patches.low.cpu(), patches.high.cpu()), BATCH_SIZE, shuffle=True)
    while True:
        history = []
        for cpu_low, cpu_high in loader:
            low, high = cpu_low.to(device), cpu_high.to(device)
            generated = generator(low)
            total = l1 = F.l1_loss(generated, high)
            if discriminator is not None:
                real, fake = discriminator(high), discriminator(generated.detach())
                judged = (_bce(real, 1.0) + _bce(fake, 0.0)) / 2
                adversary.zero_grad()
                judged.backward()
                adversary.step()
                fooled = _bce(discriminator(generated), 1.0)
                total = fooled + 1.5 * l1
                history += [judged.item(), fooled.item()]
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            history += [l1.item(), total.item()]
        yield


def _bce(logits: torch.Tensor, target: float) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def measure(name: str, *, steps: int, rounds: int, device: torch.device) -> None:
    """Print the steps a second of both loops, and their ratio."""
    settings = {"epochs": rounds + 1, "optimizer": {"batch_size": BATCH_SIZE}}
    config = TrialConfig.parse({**TRIALS[name], **settings})
    shape = (BATCH_SIZE * steps, 1, config.patches.size, config.patches.size)
    patches = Patches(torch.randn(shape, device=device), torch.randn(shape, device=device))
    prepare_torch(config, device)
    one = Patches(patches.low[:1], patches.high[:1])
    loops = {
        "naive": naive_epochs(config, patches, device),
        "ours": train(start(config, device), config, training=patches, validation=one),
    }
    seconds: dict[str, list[float]] = {loop: [] for loop in loops}
    for _ in range(rounds + 1):
        for loop, epochs in loops.items():
            began = time.perf_counter()
            next(epochs)
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[loop].append(time.perf_counter() - began)
    ours, naive = (steps / statistics.median(seconds[loop][1:]) for loop in ("ours", "naive"))
    print(f"{name:24} {naive:8.2f} {ours:8.2f}   x{ours / naive:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Steps a second of the training loop against a naive one.")
    parser.add_argument("--steps", type=int, default=4, help="steps an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="epochs that count, after one to warm up")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    print(f"{'steps a second':24} {'naive':>8} {'ours':>8}   ratio   (batches of {BATCH_SIZE} on {arguments.device})")
    for name in TRIALS:
        measure(name, steps=arguments.steps, rounds=arguments.rounds, device=torch.device(arguments.device))


if __name__ == "__main__":
    main()
