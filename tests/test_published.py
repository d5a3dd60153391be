"""The paper's 17 systems: as the paper has them, and able to train, to stitch and to repeat themselves."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from training_fixtures import CPU, arrays
from typer.testing import CliRunner

from mrisynth.cli import app
from mrisynth.data.store.prepared import Standard
from mrisynth.search.space import load_space, trial_sizes, with_overrides
from mrisynth.training.evaluation import generate
from mrisynth.training.loop import prepare_torch, start, to_device, train

# Losses with their weights, the generator's and the discriminator's rate: the paper's section 6.5 and its table 1.
RECIPES = {
    "fcn-1": ({"l2": 1}, 1e-3, None),
    "fcn-2": ({"l2": 1}, 1e-3, None),
    "dcsrn-l1": ({"l1": 1}, 1e-3, None),
    "dcsrn-l2": ({"l2": 1}, 1e-3, None),
    "dcsrn-perceptual": ({"perceptual": 1}, 1e-3, None),
    "dcgan-1": ({"adversarial": 1, "l1": 1.5, "gradient": 1.5}, 5e-5, 2e-5),
    "dcgan-2": ({"adversarial": 1, "l1": 1.5}, 2e-4, 2e-5),
    "dcgan-3": ({"adversarial": 1, "l1": 1.5}, 2e-4, 2e-5),
    "dcgan-4": ({"adversarial": 1, "l1": 1.5, "gradient": 1.5}, 2e-4, 2e-5),
    "unet-5": ({"adversarial": 1, "l1": 1.5, "gradient": 2}, 2e-3, 2e-4),
    "unet-6": ({"adversarial": 1, "l1": 1.5, "gradient": 2}, 2e-3, 2e-4),
    "unet-7": ({"adversarial": 1, "l1": 2}, 2e-3, 2e-4),
    "unet-8": ({"adversarial": 1, "l1": 1.5, "gradient": 2}, 2e-3, 1e-3),
    "pix2pix-9": ({"adversarial": 1, "l1": 1.5}, 5e-5, 2e-5),
    "pix2pix-10": ({"adversarial": 1, "l2": 1.5}, 5e-5, 2e-5),
    "pix2pix-11": ({"adversarial": 1, "l1": 1.5, "perceptual": 1}, 5e-5, 2e-5),
}
# Parameters of the generator as the paper gives them, and of the adversary as its figure 13 draws it.
SIZES = {
    "forest": (None, None),
    "fcn-1": (308_545, None),
    "fcn-2": (155_681, None),
    "dcsrn-l1": (53_977, None),
    "dcsrn-l2": (53_977, None),
    "dcsrn-perceptual": (53_977, None),
    "dcgan-1": (6_885, 1_050_796),
    "dcgan-2": (458_385, 75_585),
    "dcgan-3": (868_369, 224_449),
    "dcgan-4": (868_369, 224_449),
    "unet-5": (1_829_025, 75_585),
    "unet-6": (1_829_025, 75_585),
    "unet-7": (1_829_025, 75_585),
    "unet-8": (1_829_025, 75_585),
    "pix2pix-9": (1_829_025, 110_057),
    "pix2pix-10": (1_829_025, 110_057),
    "pix2pix-11": (1_829_025, 110_057),
}
COSTLY = ("fcn-1", "dcsrn-perceptual", "dcgan-2", "dcgan-3", "dcgan-4", "pix2pix-11")
_VGG = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)}
_VGG |= {17: (256, 512), 19: (512, 512), 21: (512, 512)}


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """A file like VGG16's weights, but drawn by a seed."""
    path = tmp_path_factory.mktemp("vgg") / "drawn.safetensors"
    generator = torch.Generator().manual_seed(16)
    tensors = {}
    for index, (inputs, outputs) in _VGG.items():
        weight = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
        tensors |= {f"features.{index}.weight": weight, f"features.{index}.bias": torch.zeros(outputs)}
    save_file(tensors, path, {"convention": "torchvision"})
    return path


@pytest.fixture(scope="module")
def quick(vgg):
    """The published trials, made to take two steps of two patches."""
    changes = ["optimizer.batch_size=2", "epochs=1", "forest.trees=2", "forest.pixels=0.1", "stitching.stride=56"]
    return with_overrides(load_space("published"), [*changes, f"perceptual.weights={vgg}"]).trials


@pytest.fixture(scope="module")
def trained(quick):
    """name -> the losses and the generator of a trial, trained once."""
    return cache(lambda name: two_steps(quick[name]))


def test_these_are_the_papers_systems_in_its_order():
    space = load_space("published")
    assert list(space.trials) == list(SIZES)
    assert space.published == tuple(SIZES)
    assert space.warnings == ()
    assert (space.pruner, space.budget.trials, space.budget.hours) == (None, None, None)


def test_the_parameters_are_the_papers():
    sizes = {
        t["name"]: (t["generator_parameters"], t["adversary_parameters"]) for t in trial_sizes(load_space("published"))
    }
    assert sizes == SIZES


@pytest.mark.parametrize("name", RECIPES)
def test_weights_rates_and_lengths_are_the_papers(name):
    config = load_space("published").trials[name]
    losses, generator_lr, discriminator_lr = RECIPES[name]
    assert config.losses == losses
    assert (config.optimizer.generator_lr, config.optimizer.discriminator_lr) == (generator_lr, discriminator_lr)
    assert (config.optimizer.batch_size, config.select) == (32, "last")
    assert config.epochs == (10 if name.startswith(("fcn", "dcsrn")) else 30)
    assert config.output.sharpening == ("3x3" if name == "unet-6" else "none")
    assert config.stitching.model_dump() == {"stride": 20, "crop": 4, "blend": "average"}


@pytest.mark.parametrize("name", SIZES)
def test_all_take_the_same_patches(name):
    patches = load_space("published").trials[name].patches
    assert (patches.size, patches.per_subject, patches.tissue) == (64, 300, 0)


def test_the_forest_is_the_papers():
    forest = load_space("published").trials["forest"].dump()["forest"]
    assert (forest["method"], forest["trees"], forest["depth"], forest["patches"]) == ("faithful", 200, 15, 2000)
    assert forest["input"] == "real"


@pytest.mark.parametrize("name", SIZES)
def test_each_trains_and_stitches(name, quick, trained):
    losses, generator = trained(name)
    assert all(np.isfinite(value) for value in losses.values())
    low = np.random.default_rng(3).uniform(0, 1, (1, 70, 64)).astype(np.float32)
    standard = Standard(0.5, 0.3)
    generated = generate(generator, low, low_standard=standard, high_standard=standard, config=quick[name], device=CPU)
    assert generated.shape == low.shape
    assert np.isfinite(generated).all()
    assert generated.std() > 0


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in COSTLY else ()) for n in SIZES])
def test_each_repeats_itself(name, quick, trained):
    again, _ = two_steps(quick[name])
    assert again == trained(name)[0]


def two_steps(config):
    """The losses of two steps from the start, and the generator after them."""
    prepare_torch(config, CPU)
    state = start(config, CPU)
    patches = to_device(*arrays(3, size=64), CPU)  # the second batch is filled up
    (losses,) = train(state, config, training=patches, validation=to_device(*arrays(1, size=64, seed=2), CPU))
    return {
        **losses.train,
        **{f"validation {name}": value for name, value in losses.validation.items()},
    }, state.generator


def test_space_show_lists_them_with_their_sizes():
    listed = json.loads(CliRunner().invoke(app, ["space", "show", "published", "--json"]).stdout)["trials"]
    assert {t["name"]: (t["generator_parameters"], t["adversary_parameters"]) for t in listed} == SIZES


def test_space_show_fits_a_terminal_of_100_columns_with_weights_and_rates():
    lines = CliRunner().invoke(app, ["space", "show", "published"]).stdout.splitlines()
    assert max(map(len, lines)) <= 100
    cells = [line.replace("│", " ").split() for line in lines]
    assert ["unet-8", "unet", "1,829,025", "pooled", "75,585"] in cells
    assert ["unet-8", "1", "1.5", "-", "2", "-", "2e-3", "1e-3", "30"] in cells
