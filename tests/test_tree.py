"""A space as a tree: where each parameter hangs, and how much there is to search."""

import pytest

from mrisynth.models import count_parameters
from mrisynth.models.unet import UnetConfig
from mrisynth.search.space import load_space, parse_space
from mrisynth.search.tree import Node, Size, generator_sizes, tree

SPACE = """\
budget: {trials: 5}
fixed: {unet.levels: 5}
search:
  generator: [forest, dcgan, unet]
  dcgan.kernel_size: [3, 5]
  dcgan.depth: {int: [3, 5]}
  unet.filters: {int: [4, 8], step: 2}
  adversary: [none, patchgan, pooled]
  pooled.filters: [[8, 8], [16, 16, 16]]
  patches.size: [32, 64]
  stitching.stride: {choice: [8, 16, 20], when: {generator: {not: forest}, patches.size: 64}}
  losses.l1: {float: [0.1, 10], log: true}
  losses.adversarial: {float: [0.01, 1], log: true}
  output.tanh: {choice: [true, false], when: {generator: unet}}
"""


@pytest.fixture(scope="module")
def space():
    return parse_space(SPACE, "my.yaml")


def paths(nodes: tuple[Node, ...]) -> list[str]:
    return [node.path for node in nodes]


def test_each_parameter_hangs_on_what_decides_whether_it_exists(space):
    nodes, _ = tree(space.parameters)
    assert paths(nodes) == ["generator", "patches.size"]
    branches = {branch.label: branch for branch in nodes[0].branches}
    assert list(branches) == ["forest", "dcgan", "unet", "not forest"]
    assert paths(branches["forest"].nodes) == []
    assert paths(branches["dcgan"].nodes) == ["dcgan.kernel_size", "dcgan.depth"]
    assert paths(branches["unet"].nodes) == ["unet.filters", "output.tanh"]
    assert paths(branches["not forest"].nodes) == ["adversary", "losses.l1"]
    adversary = branches["not forest"].nodes[0]
    assert {branch.label: paths(branch.nodes) for branch in adversary.branches} == {
        "none": [],
        "patchgan": [],
        "pooled": ["pooled.filters"],
        "not none": ["losses.adversarial"],
    }
    (stride,) = nodes[1].branches[1].nodes
    assert (stride.path, stride.needs) == ("stitching.stride", "generator: not forest")


def test_the_size_of_a_branch_is_the_product_of_what_is_in_it_and_of_a_choice_the_sum(space):
    nodes, whole = tree(space.parameters)
    forest, dcgan, unet, networks = nodes[0].branches
    assert (forest.size, dcgan.size, unet.size) == (Size(), Size(2 * 3), Size(3 * 2))
    # no adversary, or patchgan, or one of two pooled ones; l1, and the adversary's weight where there is one
    assert networks.size == Size(1 + 1 + 2, (1, 2))
    assert nodes[0].size == Size(1 + (2 * 3 + 3 * 2) * 4, (0, 2))
    assert nodes[1].size == Size(1 + 3)  # 32 px, or 64 px with one of three strides
    assert whole == Size(49 * 4, (0, 2))


def test_sizes_in_words():
    assert str(Size(1)) == "1 combination"
    assert str(Size(1200, (2, 4))) == "1,200 combinations x 2 to 4 continuous dimensions"
    assert str(Size(1, (1, 1))) == "1 continuous dimension"


def test_the_networks_of_a_branch_are_as_large_as_the_ends_of_its_ranges(space):
    least, most = (count_parameters(UnetConfig(filters=filters, levels=5).build()) for filters in (4, 8))
    assert generator_sizes(space.parameters, "unet") == (least, most)
    assert generator_sizes(space.parameters, "forest") is None


def test_a_shorthand_and_its_layers_are_counted_apart():
    nodes, _ = tree(load_space("cnn").parameters)
    fcn = nodes[0].branches[0]
    assert (fcn.label, fcn.size) == ("fcn", Size(1 + 4 * 3))  # the paper's FCN 2 as it is, or kernels and filters


def test_a_condition_on_a_number_of_a_range_is_a_branch_of_its_own():
    text = "budget: {trials: 1}\nsearch:\n  generator: [unet, dcgan]\n  unet.levels: {int: [3, 5]}\n"
    text += "  unet.filters: {choice: [4, 8], when: {unet.levels: 3}}\n"
    nodes, whole = tree(parse_space(text, "my.yaml").parameters)
    (levels,) = nodes[0].branches[0].nodes
    assert [(branch.label, paths(branch.nodes)) for branch in levels.branches] == [("3", ["unet.filters"])]
    assert whole == Size(2 + 1 + 1 + 1)


def test_what_is_fixed_decides_nothing():
    nodes, whole = tree(load_space("losses").parameters)
    assert paths(nodes) == ["losses.l1", "losses.l2", "losses.gradient", "losses.adversarial"]
    assert whole == Size(16, (2, 2))
