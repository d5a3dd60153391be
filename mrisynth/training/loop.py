"""One loop that trains every network, alone or against an adversary.

It is a generator function that yields the losses of one epoch and may be stopped after any of them. Everything that
changes while it runs stands in a `TrainingState` and in torch's random state, so that whoever saves both (see
`checkpoint`) can go on later as if nothing had happened.

Written so that a GPU never waits for Python: patches rest on the device and are gathered there by index, the random
order is drawn there, shapes never change, and losses are summed there and read once an epoch.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mrisynth.errors import UsageError
from mrisynth.models.forest import Forest
from mrisynth.models.initialization import initialize_normal
from mrisynth.training.augmentation import draw_flips, flip
from mrisynth.training.config import TrialConfig
from mrisynth.training.losses import LossFunction, discriminator_loss, generator_loss, make_losses, weighted

_SEEN = 256  # training patches looked at in eval mode, without the effects of BatchNorm's training
_SEEN_BY_FOREST = 16


class Patches(NamedTuple):
    """Pairs of patches on the device: both (n, 1, size, size), float32, standardised."""

    low: Tensor
    high: Tensor


class EpochLosses(NamedTuple):
    """The mean losses of one epoch, by name; `train_eval` as `validation`, on some of the training patches.

    Of a forest `train` is what that is of a network, and there is no `train_eval`.
    """

    train: dict[str, float]
    validation: dict[str, float]
    train_eval: dict[str, float] | None


@dataclass(slots=True)
class TrainingState:
    """Everything that changes while a trial trains, besides torch's own random state.

    Args:
        generator, discriminator: the networks, in channels_last; no discriminator where there is no adversary.
        generator_optimizer, discriminator_optimizer: one Adam each; a forest has none.
        order: draws the order of the patches and their flips; it lives on the device, apart from the random state of
            dropout.
        epoch: epochs that are done.
        best: the generator's weights at the epoch of the lowest `best_loss`, kept where `select` is "best".
        exact: whether the state is, bit by bit, what an undisturbed run would have.
        history: the records of the epochs done.
    """

    generator: nn.Module
    discriminator: nn.Module | None
    generator_optimizer: torch.optim.Adam | None
    discriminator_optimizer: torch.optim.Adam | None
    order: torch.Generator
    epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_loss: float = float("inf")
    exact: bool = True
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.order.device


def find_device(name: str) -> torch.device:
    """The device of a name like "cpu", "cuda" or "cuda:1".

    Raises:
        UsageError: there is no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # torch asserts that it was compiled for CUDA
        here = ", ".join(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])
        raise UsageError(f"the device {name!r} cannot be used; here there are: {here}") from None
    return device


def prepare_torch(config: TrialConfig, device: torch.device) -> None:
    """Bring torch's process-wide state to where every trial starts, whatever ran in this process before.

    One thread on the CPU: it is exact, and two threads a trial were slower than one on a busy machine. Where
    `deterministic` is set, an operation that cannot be computed deterministically raises.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with a fixed workspace
    if device.type == "cpu":
        torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    torch.set_flush_denormal(False)
    torch.use_deterministic_algorithms(config.deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = config.deterministic
    torch.backends.cudnn.benchmark = not config.deterministic
    torch.manual_seed(config.seed)


def start(config: TrialConfig, device: torch.device) -> TrainingState:
    """A state before its first epoch; the weights are drawn from torch's global random state (see `prepare_torch`).

    Raises:
        ValueError: a network cannot be built for the configured patch size.
    """
    generator = config.build_generator()
    discriminator = config.build_discriminator()
    for network in filter(None, (generator, discriminator)):
        if config.initialization == "normal":
            initialize_normal(network)
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = config.optimizer
    return TrainingState(
        generator=generator,
        discriminator=discriminator,
        generator_optimizer=None if isinstance(generator, Forest) else _adam(generator, optimizer.generator_lr, config),
        discriminator_optimizer=_adam(discriminator, optimizer.discriminator_lr, config) if discriminator else None,
        order=torch.Generator(device).manual_seed(config.seed),
    )


def to_device(low: NDArray[np.float32], high: NDArray[np.float32], device: torch.device) -> Patches:
    """The patches on the device, once for the whole trial; on the CPU the arrays themselves, which may be a memory map.

    Args:
        low, high: (n, 1, size, size), standardised; never written to.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return Patches(torch.from_numpy(low).to(device), torch.from_numpy(high).to(device))


def train(
    state: TrainingState, config: TrialConfig, *, training: Patches, validation: Patches
) -> Iterator[EpochLosses]:
    """Train from where `state` stands to the last epoch, and yield after each.

    A step with an adversary is one step of the discriminator (Eq. 1 of the paper) and then one of the generator, on the
    weighted sum of its losses.

    Args:
        state: changed in place; whole and consistent whenever this yields.
        config: what to train and how.
        training, validation: patches on the state's device.

    Yields:
        The losses of one epoch. `train`: the mean over its steps of every weighted loss by name (before its weight), of
        their weighted sum `total`, and of the `discriminator`. `validation`, `train_eval`: see `validate`.

    Raises:
        InvalidInputError: a loss needs weights that are not there.
    """
    if isinstance(state.generator, Forest):
        while state.epoch < config.epochs:
            yield _grow(state, state.generator, config, training=training, validation=validation)
        return
    batch_size = config.optimizer.batch_size
    functions = make_losses(config, state.device)
    measure = partial(validate, losses=functions, batch_size=batch_size, precision=config.precision)
    seen = _some(training, _SEEN)
    names = [*weighted(config), "total", *(["discriminator"] if state.discriminator is not None else [])]
    while state.epoch < config.epochs:
        sums = torch.zeros(len(names), dtype=torch.float64, device=state.device)
        batches = draw_batches(len(training.low), batch_size, state.order)
        flips = draw_flips(batches.shape, config.augmentation, state.order)
        state.generator.train()
        for batch, flipped in zip(batches, flips, strict=True):
            low, high = (flip(side.index_select(0, batch), flipped, config.augmentation) for side in training)
            with _autocast(config.precision, state.device):
                generated = state.generator(low)
            generated = generated.float()
            judged = _step_discriminator(state, config, low=low, high=high, generated=generated.detach())
            losses = _step_generator(state, config, functions, low=low, high=high, generated=generated)
            sums += torch.stack([*losses, *judged])
        state.epoch += 1
        means = (sums / len(batches)).tolist()
        measured = measure(state.generator, validation)
        _keep_best(state, config, measured)
        yield EpochLosses(dict(zip(names, means, strict=True)), measured, measure(state.generator, seen))


def _grow(
    state: TrainingState, forest: Forest, config: TrialConfig, *, training: Patches, validation: Patches
) -> EpochLosses:
    """Grow a batch of a forest's trees: an epoch. Its losses are measured on some patches, as each takes it long."""
    forest.grow(training.low.cpu().numpy(), training.high.cpu().numpy(), batch=state.epoch, seed=config.seed)
    state.epoch += 1
    measured = [
        validate(
            forest,
            _some(patches, _SEEN_BY_FOREST),
            losses=make_losses(config, state.device),
            batch_size=_SEEN_BY_FOREST,
            precision=config.precision,
        )
        for patches in (training, validation)
    ]
    return EpochLosses(measured[0], measured[1], None)


def draw_batches(count: int, batch_size: int, order: torch.Generator) -> Tensor:
    """A random order of the patches, cut into batches of one size: the last is filled up from the order's beginning.

    Args:
        count: number of patches.
        batch_size: patches a batch; may be larger than `count`.
        order: draws the permutation, on its own device.

    Returns:
        Indices, (ceil(count / batch_size), batch_size), int64.
    """
    steps = -(-count // batch_size)
    permutation = torch.randperm(count, generator=order, device=order.device)
    rounds = -(-steps * batch_size // count)
    return permutation.repeat(rounds)[: steps * batch_size].view(steps, batch_size)


@torch.inference_mode()
def validate(
    generator: nn.Module, patches: Patches, *, losses: Mapping[str, LossFunction], batch_size: int, precision: str
) -> dict[str, float]:
    """Losses that need no adversary, over all patches, with the generator in eval mode.

    Returns:
        The losses by name, and `deviation`: how much the output differs from patch to patch, as a
        share of how much the high-field patches do (root mean square over pixels). Near 0 it ignores its input.
    """
    generated = infer(generator, patches.low, batch_size=batch_size, precision=precision)
    values = {name: _batch_mean(loss, generated, patches.high, batch_size) for name, loss in losses.items()}
    spread, reference = (patch.var(dim=0, correction=0).mean().sqrt() for patch in (generated, patches.high))
    values["deviation"] = torch.where(reference > 0, spread / reference, torch.ones_like(spread))
    return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))


def _batch_mean(loss: LossFunction, generated: Tensor, high: Tensor, batch_size: int) -> Tensor:
    """A loss over all patches, batch by batch: a network's features of all at once would not fit into memory."""
    batches = zip(torch.split(generated, batch_size), torch.split(high, batch_size), strict=True)
    return torch.stack([len(made) * loss(made, true) for made, true in batches]).sum() / len(generated)


def _some(patches: Patches, most: int) -> Patches:
    """At most so many patches, evenly spaced."""
    count = len(patches.low)
    chosen = torch.arange(min(count, most), device=patches.low.device) * count // min(count, most)
    return Patches(patches.low.index_select(0, chosen), patches.high.index_select(0, chosen))


@torch.inference_mode()
def infer(generator: nn.Module, low: Tensor, *, batch_size: int, precision: str) -> Tensor:
    """The generator's output in eval mode, in batches: (n, 1, size, size) to (n, 1, size, size), float32."""
    generator.eval()
    with _autocast(precision, low.device):
        return torch.cat([generator(batch).float() for batch in torch.split(low, batch_size)])


def _step_discriminator(
    state: TrainingState, config: TrialConfig, *, low: Tensor, high: Tensor, generated: Tensor
) -> tuple[Tensor, ...]:
    """One step of the discriminator; its loss, or nothing where there is no adversary."""
    if state.discriminator is None or state.discriminator_optimizer is None:
        return ()
    real, fake = (_judge(state, config, low=low, judged=judged) for judged in (high, generated))
    loss = discriminator_loss(real, fake)
    state.discriminator_optimizer.zero_grad()
    torch.autograd.backward(loss)
    state.discriminator_optimizer.step()
    return (loss.detach(),)


def _step_generator(
    state: TrainingState,
    config: TrialConfig,
    functions: Mapping[str, LossFunction],
    *,
    low: Tensor,
    high: Tensor,
    generated: Tensor,
) -> list[Tensor]:
    """One step of the generator; its losses in the order of the configuration, and their weighted sum."""
    values, terms = [], []
    for name, weight in weighted(config).items():
        if name in functions:
            values.append(functions[name](generated, high))
        else:
            values.append(generator_loss(_judge(state, config, low=low, judged=generated)))
        terms.append(weight * values[-1])
    total = torch.stack(terms).sum()
    assert state.generator_optimizer is not None, "a network without an optimizer"
    state.generator_optimizer.zero_grad()
    # No gradient for the discriminator's weights, through which the adversarial loss goes.
    torch.autograd.backward(total, inputs=list(state.generator.parameters()))
    state.generator_optimizer.step()
    return [value.detach() for value in (*values, total)]


def _judge(state: TrainingState, config: TrialConfig, *, low: Tensor, judged: Tensor) -> Tensor:
    """The discriminator's logits of high-field or generated patches, beside their low-field ones if it sees both."""
    assert state.discriminator is not None, "an adversarial loss without an adversary"
    conditional = config.adversary is not None and config.adversary.conditional
    with _autocast(config.precision, state.device):
        logits: Tensor = state.discriminator(torch.cat([low, judged], 1) if conditional else judged)
    return logits.float()


def _keep_best(state: TrainingState, config: TrialConfig, validation: dict[str, float]) -> None:
    """Keep the generator's weights if they are the best so far by the losses it trains on, the adversarial left out."""
    if config.select != "best":
        return
    weights = {name: weight for name, weight in weighted(config).items() if name in validation} or {"l1": 1.0}
    loss = sum(weight * validation[name] for name, weight in weights.items())
    if loss < state.best_loss:
        state.best_loss = loss
        state.best = {name: value.detach().clone() for name, value in state.generator.state_dict().items()}


def _adam(network: nn.Module, learning_rate: float | None, config: TrialConfig) -> torch.optim.Adam:
    assert learning_rate is not None, "a discriminator without a learning rate"
    parameters = list(network.parameters())
    betas = (config.optimizer.beta1, config.optimizer.beta2)
    return torch.optim.Adam(parameters, lr=learning_rate, betas=betas, capturable=parameters[0].is_cuda)


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
