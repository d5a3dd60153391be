import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_fixtures import CPU, SIZE, arrays, assert_same_weights, cnn, fresh, gan, patches, trained

from mrisynth.errors import UsageError
from mrisynth.models import ADVERSARIES, GENERATORS
from mrisynth.training.config import TrialConfig
from mrisynth.training.loop import Patches, draw_batches, find_device, infer, prepare_torch, to_device, train, validate
from mrisynth.training.losses import make_losses

LOSSES = make_losses(cnn(), CPU)


class Constant(nn.Module):
    """Ignores its input, and paints a frame."""

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        image = torch.zeros_like(low)
        image[..., 0, :] = 3.0
        return image


def assert_close_kernels(ours: nn.Module, theirs: nn.Module) -> None:
    """Kernels only: a bias before BatchNorm has no gradient but rounding errors, which Adam blows up."""
    for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        if left.ndim > 1:
            torch.testing.assert_close(left.contiguous(), right, rtol=1e-3, atol=1e-5)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("count", "batch_size", "steps"), [(20, 5, 4), (20, 8, 3), (3, 8, 1), (1, 4, 1)])
def test_an_epoch_has_every_patch_and_batches_of_one_size(count: int, batch_size: int, steps: int) -> None:
    batches = draw_batches(count, batch_size, seeded(0))
    assert batches.shape == (steps, batch_size)
    times = np.bincount(batches.flatten().numpy(), minlength=count)
    assert times.sum() == steps * batch_size
    assert times.min() >= 1
    assert times.max() - times.min() <= 1


def test_the_last_batch_is_filled_up_from_the_beginning_of_the_order() -> None:
    order = torch.randperm(5, generator=seeded(3)).tolist()
    assert draw_batches(5, 3, seeded(3)).tolist() == [order[:3], [*order[3:], order[0]]]


def test_every_epoch_has_another_order() -> None:
    order = seeded(0)
    assert draw_batches(50, 50, order).tolist() != draw_batches(50, 50, order).tolist()


def test_a_cnn_is_trained_as_the_textbook_says() -> None:
    config = cnn(losses={"l1": 2.0, "l2": 0.5}, epochs=2)
    low, high = map(torch.from_numpy, arrays(20))
    prepare_torch(config, CPU)
    network = config.generator.build()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    order = seeded(config.seed)
    expected = []
    for _ in range(2):
        losses = []
        permutation = torch.randperm(20, generator=order)
        for indices in (permutation[:8], permutation[8:16], torch.cat([permutation[16:], permutation[:4]])):
            generated = network(low[indices])
            l1, l2 = F.l1_loss(generated, high[indices]), F.mse_loss(generated, high[indices])
            total = 2.0 * l1 + 0.5 * l2
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            losses.append([l1.item(), l2.item(), total.item()])
        expected.append(np.mean(losses, axis=0))

    state, measured = trained(config)

    for epoch, values in zip(measured, expected, strict=True):
        assert [epoch.train[name] for name in ("l1", "l2", "total")] == pytest.approx(values, rel=1e-5)
    assert_close_kernels(state.generator, network)


def test_a_gan_takes_a_step_of_the_discriminator_and_then_one_of_the_generator() -> None:
    config = gan(epochs=1, losses={"adversarial": 0.3, "l1": 1.5}, unet={"filters": 2, "levels": 5})
    low, high = map(torch.from_numpy, arrays(20))
    prepare_torch(config, CPU)
    generator = config.generator.build()
    assert config.adversary is not None
    discriminator = config.adversary.build(SIZE)
    generator_adam = torch.optim.Adam(generator.parameters(), lr=2e-3)
    discriminator_adam = torch.optim.Adam(discriminator.parameters(), lr=2e-4)
    permutation = torch.randperm(20, generator=seeded(config.seed)).repeat(2)
    losses = []
    for step in range(3):
        indices = permutation[8 * step : 8 * step + 8]
        generated = generator(low[indices])
        real, fake = discriminator(high[indices]), discriminator(generated.detach())
        judged = (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
        discriminator_adam.zero_grad()
        judged.backward()
        discriminator_adam.step()
        fooled, l1 = F.softplus(-discriminator(generated)).mean(), F.l1_loss(generated, high[indices])
        generator_adam.zero_grad()
        (0.3 * fooled + 1.5 * l1).backward()
        generator_adam.step()
        losses.append([fooled.item(), l1.item(), (0.3 * fooled + 1.5 * l1).item(), judged.item()])

    state, (epoch,) = trained(config)

    names = ("adversarial", "l1", "total", "discriminator")
    assert [epoch.train[name] for name in names] == pytest.approx(np.mean(losses, axis=0), rel=1e-4)
    assert state.discriminator is not None
    assert_close_kernels(state.generator, generator)
    assert_close_kernels(state.discriminator, discriminator)


def test_training_may_stop_after_any_record_and_go_on_from_its_state() -> None:
    config = gan()
    undisturbed, expected = trained(config)
    state = fresh(config)
    data = {"training": patches(), "validation": patches(6, seed=2)}
    measured = [next(train(state, config, **data))]
    assert state.epoch == 1
    measured += list(train(state, config, **data))
    assert measured == expected
    assert_same_weights(state.generator, undisturbed.generator)


def test_training_lowers_the_loss() -> None:
    _, epochs = trained(cnn(epochs=12, optimizer={"generator_lr": 1e-2, "batch_size": 8}))
    assert epochs[-1].validation["l1"] < 0.7 * epochs[0].validation["l1"]


def test_a_seed_gives_one_trial_and_another_seed_another() -> None:
    state, epochs = trained(gan(epochs=1))
    again, repeated = trained(gan(epochs=1))
    _, other = trained(gan(epochs=1, seed=6))
    assert repeated == epochs
    assert other != epochs
    assert_same_weights(state.generator, again.generator)


def test_a_trial_finds_torch_as_a_fresh_process_has_it() -> None:
    _, expected = trained(gan(epochs=1))
    torch.rand(100)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    _, epochs = trained(gan(epochs=1))
    assert epochs == expected
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark


def test_validation_gives_every_loss_without_an_adversary_by_its_formula() -> None:
    low, high = (torch.from_numpy(array).double() for array in arrays(7))
    values = validate(nn.Identity(), patches(7), losses=LOSSES, batch_size=3, precision="fp32")
    difference = (low - high).numpy()
    assert values["l1"] == pytest.approx(np.abs(difference).mean(), rel=1e-5)
    assert values["l2"] == pytest.approx((difference**2).mean(), rel=1e-5)
    assert values.keys() == {"l1", "l2", "gradient", "deviation"}


def test_deviation_is_one_for_the_truth_and_none_for_what_ignores_its_input() -> None:
    data = patches(7)
    truth = validate(nn.Identity(), Patches(data.high, data.high), losses=LOSSES, batch_size=3, precision="fp32")
    assert truth["deviation"] == pytest.approx(1.0)
    half = validate(nn.Identity(), Patches(data.high / 2, data.high), losses=LOSSES, batch_size=3, precision="fp32")
    assert half["deviation"] == pytest.approx(0.5)
    assert validate(Constant(), data, losses=LOSSES, batch_size=3, precision="fp32")["deviation"] == pytest.approx(
        0.0, abs=1e-6
    )


def test_training_patches_are_seen_in_eval_mode_too() -> None:
    config = cnn(epochs=2)
    state, epochs = trained(config)
    seen = validate(state.generator, patches(20), losses=LOSSES, batch_size=8, precision="fp32")
    assert epochs[-1].train_eval == pytest.approx(seen)
    assert epochs[-1].train_eval != pytest.approx(epochs[0].train_eval)


def test_a_conditional_adversary_sees_each_patch_beside_its_low_field_partner() -> None:
    config = gan(epochs=1, pooled={"filters": [4, 4], "conditional": True})
    state, data, shown = fresh(config), patches(8), list[torch.Tensor]()
    assert state.discriminator is not None
    state.discriminator.register_forward_pre_hook(
        lambda _module, arguments: shown.append(arguments[0].detach().clone())
    )

    list(train(state, config, training=data, validation=patches(6, seed=2)))

    real, fake = shown[:2]
    low, high = real.split(1, dim=1)
    places = [next(i for i in range(8) if torch.equal(data.low[i], row)) for row in low]
    assert torch.equal(high, data.high[places])
    assert torch.equal(fake[:, :1], low)
    assert not torch.equal(fake[:, 1:], high)


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "", "cpu:x"])
def test_a_device_that_is_not_there_is_one_sentence(name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be used; here there are: cpu"):
        find_device(name)


def test_one_validation_patch_tells_nothing_of_a_collapse() -> None:
    assert validate(Constant(), patches(1), losses=LOSSES, batch_size=3, precision="fp32")["deviation"] == 1.0


def test_validation_leaves_the_networks_alone() -> None:
    config = gan(epochs=1)
    state = fresh(config)
    before = {name: value.clone() for name, value in state.generator.state_dict().items()}
    random = torch.get_rng_state()
    first = validate(state.generator, patches(6), losses=LOSSES, batch_size=4, precision="fp32")
    assert validate(state.generator, patches(6), losses=LOSSES, batch_size=4, precision="fp32") == first
    assert all(torch.equal(value, before[name]) for name, value in state.generator.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_inference_does_not_depend_on_the_batches() -> None:
    state = fresh(gan())
    low = patches(7).low
    whole = infer(state.generator, low, batch_size=7, precision="fp32")
    torch.testing.assert_close(infer(state.generator, low, batch_size=3, precision="fp32"), whole)
    assert whole.shape == low.shape


def test_best_keeps_the_weights_of_the_lowest_validation_loss() -> None:
    config = cnn(select="best", epochs=4)
    low, high = patches(6, seed=2)
    contrary = Patches(low, -high)  # the better it learns, the worse it does here
    state = fresh(config)
    losses, weights = [], []
    for epoch in train(state, config, training=patches(), validation=contrary):
        losses.append(epoch.validation["l1"])
        weights.append({name: value.clone() for name, value in state.generator.state_dict().items()})
    best = int(np.argmin(losses))
    assert best < 3
    assert state.best_loss == losses[best]
    assert all(torch.equal(state.best[name], weights[best][name]) for name in weights[best])


def test_last_keeps_nothing_besides() -> None:
    state, _ = trained(cnn(epochs=1))
    assert not state.best


def test_bfloat16_trains_float32_weights_and_gives_float32_images() -> None:
    config = gan(precision="bf16", epochs=1)
    state, (epoch,) = trained(config)
    assert all(math.isfinite(value) for value in (*epoch.train.values(), *epoch.validation.values()))
    assert {parameter.dtype for parameter in state.generator.parameters()} == {torch.float32}
    assert infer(state.generator, patches(3).low, batch_size=2, precision="bf16").dtype == torch.float32
    assert epoch != trained(gan(epochs=1))[1][0]


def test_a_loss_of_weight_zero_is_left_out() -> None:
    _, (epoch,) = trained(cnn(losses={"adversarial": 0.0, "l1": 1.0}, epochs=1))
    assert epoch.train.keys() == {"l1", "total"}


def test_mapped_patches_are_neither_copied_nor_written() -> None:
    low, high = arrays(20)
    before = low.copy(), high.copy()
    low.setflags(write=False)
    high.setflags(write=False)
    resident = to_device(low, high, CPU)
    assert resident.low.data_ptr() == low.ctypes.data
    config = cnn(epochs=1)
    state = fresh(config)
    list(train(state, config, training=resident, validation=resident))
    np.testing.assert_array_equal((low, high), before)
    copied, other = Patches(*(torch.tensor(side) for side in before)), fresh(config)
    list(train(other, config, training=copied, validation=copied))
    assert_same_weights(state.generator, other.generator)


@pytest.mark.parametrize("generator", sorted(GENERATORS.keys() - {"forest"}))
def test_every_generator_trains_alone(generator: str) -> None:
    config = TrialConfig.parse({"generator": generator, "epochs": 1, "optimizer": {"batch_size": 2}})
    _, (epoch,) = _one_epoch(config)
    assert math.isfinite(epoch.train["l1"])


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_every_adversary_trains_a_generator(adversary: str) -> None:
    mapping = {"generator": "unet", "unet": {"filters": 2}, "adversary": adversary, "epochs": 1}
    config = TrialConfig.parse({**mapping, "losses": {"adversarial": 1, "l1": 1}, "optimizer": {"batch_size": 2}})
    state, (epoch,) = _one_epoch(config)
    assert math.isfinite(epoch.train["discriminator"])
    assert state.discriminator is not None


def _one_epoch(config: TrialConfig):
    data = Patches(*map(torch.from_numpy, arrays(2, size=config.patches.size)))
    state = fresh(config)
    return state, list(train(state, config, training=data, validation=data))
