"""Flips: drawn patch by patch, alike for both halves of a pair, and only for what is trained on."""

from collections import Counter
from itertools import pairwise

import pytest
import torch
from training_fixtures import fresh, gan, patches, trained

from mrisynth.errors import InvalidInputError
from mrisynth.training.augmentation import AugmentationConfig, draw_flips, flip
from mrisynth.training.config import TrialConfig
from mrisynth.training.loop import train

WAYS = {"none": [()], "rows": [(), (-2,)], "columns": [(), (-1,)], "both": [(), (-2,), (-1,), (-2, -1)]}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shown(flips: str, *, epochs: int) -> list[list[tuple[int, tuple[int, ...]]]]:
    """Of each epoch: which patches a conditional discriminator saw, and along which axes each pair was mirrored."""
    adversary = {"filters": [4, 4], "conditional": True}
    config = gan(epochs=epochs, pooled=adversary, augmentation={"flips": flips})
    state, data, seen = fresh(config), patches(16), list[torch.Tensor]()
    assert state.discriminator is not None
    state.discriminator.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach().clone()))
    found = []
    for _ in train(state, config, training=data, validation=patches(6, seed=2)):
        real = torch.cat(seen[::3])  # a step judges what is real, what is generated, and that once more
        found.append([identify(low, high, data) for low, high in zip(real[:, :1], real[:, 1:], strict=True)])
        seen.clear()
    return found


def identify(low: torch.Tensor, high: torch.Tensor, data: tuple[torch.Tensor, torch.Tensor]) -> tuple[int, tuple]:
    """Which pair it is, mirrored along which axes: both halves alike."""
    (found,) = [
        (number, axes)
        for number in range(len(data[0]))
        for axes in WAYS["both"]
        if torch.equal(low.flip(axes), data[0][number]) and torch.equal(high.flip(axes), data[1][number])
    ]
    return found


@pytest.mark.parametrize("flips", WAYS)
def test_pairs_are_mirrored_alike_and_in_every_way_that_is_allowed(flips: str) -> None:
    epochs = shown(flips, epochs=3)
    assert all(sorted(number for number, _ in epoch) == list(range(16)) for epoch in epochs)
    assert {axes for epoch in epochs for _, axes in epoch} == set(WAYS[flips])


def test_every_epoch_mirrors_other_patches() -> None:
    epochs = [dict(epoch) for epoch in shown("both", epochs=3)]
    assert all(before != after for before, after in pairwise(epochs))


@pytest.mark.parametrize("flips", WAYS)
def test_every_way_is_as_frequent(flips: str) -> None:
    config = AugmentationConfig(flips=flips)
    drawn = draw_flips(torch.Size((100, 80)), config, seeded())
    assert drawn.shape == (100, len(WAYS[flips][-1]), 80)
    counts = Counter(map(tuple, drawn.movedim(1, 2).reshape(8000, -1).tolist()))
    share = 8000 / len(WAYS[flips])
    assert len(counts) == len(WAYS[flips])
    assert all(abs(count - share) < 0.05 * 8000 for count in counts.values())


def test_nothing_is_drawn_and_nothing_copied_without_flips() -> None:
    config, order, batch = AugmentationConfig(), seeded(), torch.rand(4, 1, 8, 8)
    drawn = draw_flips(torch.Size((3, 4)), config, order)
    assert torch.equal(order.get_state(), seeded().get_state())
    assert flip(batch, drawn[0], config) is batch


def test_flips_change_what_is_learnt_but_not_what_is_measured() -> None:
    plain, mirrored = (trained(gan(epochs=1, augmentation={"flips": flips}))[1][0] for flips in ("none", "both"))
    assert plain.train != mirrored.train
    data = patches(6, seed=2)
    state = fresh(gan(augmentation={"flips": "both"}))
    before = data.low.clone()
    list(train(state, gan(augmentation={"flips": "both"}), training=data, validation=data))
    assert torch.equal(data.low, before)


def test_a_forest_has_no_flips() -> None:
    with pytest.raises(InvalidInputError, match="augmentation is given, but generator is forest"):
        TrialConfig.parse({"generator": "forest", "augmentation": {"flips": "rows"}})


def test_a_config_from_before_there_were_flips_has_none() -> None:
    dump = gan().dump()
    del dump["augmentation"]
    assert TrialConfig.parse(dump) == gan()
