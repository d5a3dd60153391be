"""Every architecture of the registries, and the paper's own settings of them."""

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mrisynth.models import ADVERSARIES, GENERATORS, count_parameters
from mrisynth.models.architecture import AdversaryConfig, GeneratorConfig
from mrisynth.models.dcgan import DcganConfig
from mrisynth.models.dcsrn import DcsrnConfig
from mrisynth.models.discriminators import DenseConfig, MeanProbability, PatchganConfig, PooledConfig
from mrisynth.models.fcn import FcnConfig
from mrisynth.models.unet import UnetConfig

DCGAN_1 = DcganConfig(kernels=(5, 3, 3, 2, 2), filters=(32, 16, 8, 4), padding=1)
DCGAN_3 = DcganConfig(kernels=(7, 5, 5, 5, 3, 1), filters=(16, 64, 128, 128, 196))
PUBLISHED_GENERATORS = [
    (FcnConfig(), 308_545),
    (FcnConfig(pool=True), 155_681),
    (DcsrnConfig(), 53_977),
    (DCGAN_1, 6_885),
    (DcganConfig(), 458_385),
    (DCGAN_3, 868_369),
    (UnetConfig(), 1_829_025),
    (UnetConfig(levels=5), 1_042_081),
]
PUBLISHED_ADVERSARIES = [
    (DenseConfig(), 1_050_796),
    (PooledConfig(), 75_585),
    (PooledConfig(filters=(64, 128, 128)), 224_449),
    (PatchganConfig(), 110_057),
]
NETWORKS = [config() for name, config in GENERATORS.items() if name != "forest"]  # a forest has no weights to learn
SMALL_GENERATORS = [*NETWORKS, FcnConfig(pool=True), DCGAN_1, UnetConfig(levels=5)]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("config", "count"), PUBLISHED_GENERATORS)
def test_generators_have_the_published_number_of_parameters(config: GeneratorConfig, count: int) -> None:
    assert count_parameters(config.build()) == count


@pytest.mark.parametrize(("config", "count"), PUBLISHED_ADVERSARIES)
def test_adversaries_have_the_number_of_parameters_that_the_figures_imply(config: AdversaryConfig, count: int) -> None:
    assert count_parameters(config.build(64)) == count


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("config", SMALL_GENERATORS, ids=repr)
def test_a_generator_puts_out_what_it_is_given_or_refuses_the_size(config: GeneratorConfig, size: int) -> None:
    if size % config.multiple:
        with pytest.raises(ValueError, match=f"not {size}"):
            config.check_size(size)
        return
    config.check_size(size)
    network = config.build()
    low = torch.randn(2, 1, size, size)
    for mode in (True, False):
        generated = network.train(mode)(low)
        assert generated.shape == low.shape
        assert torch.isfinite(generated).all()


@pytest.mark.parametrize("config", SMALL_GENERATORS, ids=repr)
def test_every_weight_of_a_generator_learns(config: GeneratorConfig) -> None:
    network = config.build()
    network(torch.randn(2, 1, 64, 64)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("config", SMALL_GENERATORS, ids=repr)
def test_a_generator_takes_oblong_images_of_its_multiple(config: GeneratorConfig) -> None:
    shape = (1, 1, 64, 128)
    assert config.build().eval()(torch.randn(shape)).shape == shape


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("config", [config() for config in ADVERSARIES.values()], ids=repr)
def test_an_adversary_gives_logits_or_refuses_the_size(config: AdversaryConfig, size: int) -> None:
    try:
        config.check_size(size)
    except ValueError:
        with pytest.raises(RuntimeError):
            config.build(size)(torch.randn(2, 1, size, size))
        return
    logits = config.build(size)(torch.randn(2, 1, size, size))
    assert logits.shape[0] == 2
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("layers", "size"), [(4, 48), (3, 24), (2, 12), (1, 6)])
def test_patchgan_takes_the_smallest_size_that_leaves_one_field(layers: int, size: int) -> None:
    config = PatchganConfig(layers=layers)
    config.check_size(size)
    assert config.build(size)(torch.randn(2, 1, size, size)).shape == (2, 1, 1, 1)
    with pytest.raises(ValueError, match=f"takes {size} px or more"):
        config.check_size(size - 1)


def test_pooled_takes_the_smallest_size_that_leaves_one_pixel() -> None:
    config = PooledConfig()
    smallest = next(size for size in range(1, 64) if not _refuses(config, size))
    assert config.build(smallest)(torch.randn(2, 1, smallest, smallest)).shape == (2, 1)
    with pytest.raises(ValueError, match="leave nothing"):
        config.check_size(smallest - 1)


def _refuses(config: AdversaryConfig, size: int) -> bool:
    try:
        config.check_size(size)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("config", ADVERSARIES.values())
def test_a_conditional_adversary_takes_two_channels(config: type[AdversaryConfig]) -> None:
    assert config(conditional=True).build(64)(torch.randn(2, 2, 64, 64)).shape[0] == 2
    with pytest.raises(RuntimeError, match="channels"):
        config(conditional=True).build(64)(torch.randn(2, 1, 64, 64))


def test_patchgan_averages_losses_or_probabilities() -> None:
    torch.manual_seed(0)
    apart = PatchganConfig(layers=1).build(32).eval()
    torch.manual_seed(0)
    together = PatchganConfig(layers=1, averaging="probabilities").build(32).eval()
    high = torch.randn(3, 1, 32, 32)
    probability = torch.sigmoid(apart(high)).mean((-2, -1), keepdim=True)
    torch.testing.assert_close(torch.sigmoid(together(high)), probability)


def test_the_mean_probability_of_certain_fields_is_a_finite_logit() -> None:
    logits = torch.tensor([[500.0, 500.0], [500.0, -500.0]])[None, None]
    assert MeanProbability()(logits).item() == pytest.approx(math.log(3))


@pytest.mark.parametrize(("levels", "dropout"), [(5, 0.0), (6, 0.0), (6, 0.5), (7, 0.5)])
def test_the_unet_computes_what_pix2pix_does(levels: int, dropout: float) -> None:
    reference = _pix2pix(levels, 4, dropout=dropout)
    network = UnetConfig(filters=4, levels=levels, dropout=dropout).build()
    for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        ours.data.copy_(theirs.data)
    low = torch.randn(2, 1, 128, 128)
    outputs = []
    for each in (network, reference):
        torch.manual_seed(0)
        outputs.append(each(low.clone()))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_dropout_of_a_shallow_unet_is_not_lost(levels: int) -> None:
    network = UnetConfig(filters=2, levels=levels, dropout=0.5).build()
    assert sum(isinstance(module, nn.Dropout) for module in network.modules()) == 1


def test_dcgan_1_passes_through_the_sizes_of_the_figure() -> None:
    sizes = []
    network = DCGAN_1.build()
    for module in network.children():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _m, _i, output: sizes.append(output.shape[-1]))
    network(torch.randn(2, 1, 64, 64))
    assert sizes == [62, 62, 62, 63, 64]


@pytest.mark.parametrize("name", ["fcn", "dcgan"])
def test_the_shorthand_is_the_same_as_its_layers(name: str) -> None:
    config: Any = GENERATORS[name]
    short = config(kernel_size=5, depth=3, width=8)
    assert short.layers == config(kernels=(5, 5, 5), filters=(8, 8)).layers
    assert [tuple(layer) for layer in short.layers] == [(5, 1, 8), (5, 8, 8), (5, 8, 1)]


def test_a_part_of_the_shorthand_spells_out_the_rest() -> None:
    assert DcganConfig(width=8) == DcganConfig(kernel_size=3, depth=5, width=8)
    assert DcganConfig(width=8).kernels is None


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (DcganConfig, {"kernels": (3, 3), "depth": 2}, "both given"),
        (FcnConfig, {"filters": (3,), "width": 2}, "both given"),
        (DcganConfig, {"kernels": (3, 3, 3), "filters": (4,)}, "one kernel more than filters"),
        (FcnConfig, {"pool": True, "kernels": (3, 3), "filters": (4,)}, "as many kernels as filters"),
        (FcnConfig, {"pool": True, "depth": 3}, "without pooling"),
        (DcganConfig, {"kernel_size": 4}, "even"),
        (FcnConfig, {"kernels": (3, 2), "filters": (4,)}, "even"),
        (DcganConfig, {"padding": 1}, "-6 px"),
        (DcsrnConfig, {"kernel_size": 2}, "odd"),
        (DenseConfig, {"kernel_size": 2}, "odd"),
        (UnetConfig, {"levels": 2}, "levels"),
    ],
)
def test_settings_that_fit_no_network_are_refused(config: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**settings)


def test_padding_1_refuses_patches_that_shrink_to_nothing() -> None:
    config = DcganConfig(kernels=(9, 1, 1, 1), filters=(2, 2, 2), padding=1)
    config.check_size(7)
    assert config.build()(torch.randn(2, 1, 7, 7)).shape == (2, 1, 7, 7)
    with pytest.raises(ValueError, match="to nothing"):
        config.check_size(6)


class _Block(nn.Module):
    """`UnetSkipConnectionBlock` of pytorch-CycleGAN-and-pix2pix (BSD licence), written anew for comparison."""

    def __init__(
        self, outer: int, inner: int, *, inside: nn.Module | None = None, outermost: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.outermost = outermost
        down = nn.Conv2d(1 if outermost else outer, inner, 4, 2, 1, bias=False)
        up = nn.ConvTranspose2d(inner * 2 if inside else inner, outer, 4, 2, 1, bias=outermost)
        modules: list[nn.Module] = [down] if outermost else [nn.LeakyReLU(0.2, inplace=True), down]
        if inside:
            modules += [inside] if outermost else [nn.BatchNorm2d(inner), inside]
        modules += [nn.ReLU(inplace=True), up]
        if not outermost:
            modules.append(nn.BatchNorm2d(outer))
        if dropout:
            modules.append(nn.Dropout(dropout))
        self.model = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.model(x)
        return inner if self.outermost else torch.cat([x, inner], dim=1)


def _pix2pix(levels: int, filters: int, *, dropout: float) -> nn.Module:
    block = _Block(filters * 8, filters * 8)
    for _ in range(levels - 5):
        block = _Block(filters * 8, filters * 8, inside=block, dropout=dropout)
    for wide in (4, 2, 1):
        block = _Block(filters * wide, filters * wide * 2, inside=block)
    return _Block(1, filters, inside=block, outermost=True)
