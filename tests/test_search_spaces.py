"""The spaces that come with mrisynth, and those of the documentation."""

import json
import re
from pathlib import Path

import pytest

from mrisynth.models import ADVERSARIES, GENERATORS
from mrisynth.search.space import (
    list_spaces,
    load_space,
    parse_space,
    sample_configs,
)
from mrisynth.search.stand_ins import RandomTrial
from mrisynth.shipped import search_spaces
from mrisynth.training.config import TrialConfig

SHIPPED = sorted(path.stem for path in search_spaces().glob("*.yaml"))
QUESTIONS = [name for name in SHIPPED if name.startswith("question-")]
SEARCHING = [name for name in SHIPPED if name not in (*QUESTIONS, "published")]
DOCS = Path(__file__).parents[1] / "docs" / "spaces.md"
BUILT = 30
"""How many different networks of a space are built: the rest differ from them in no more than numbers."""
EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("name", SEARCHING)
def test_shipped_spaces_suggest_only_what_can_be_built(name: str) -> None:
    space, trial, networks = load_space(name), RandomTrial(1), set()
    for _ in range(200):
        config = TrialConfig.parse(space.suggest(trial))  # checks patch sizes, too
        dumped = config.dump()
        parts = [config.patches.size, dumped[dumped["generator"]], dumped.get(dumped.get("adversary"))]
        if (network := json.dumps(parts)) not in networks and len(networks) < BUILT:
            networks.add(network)
            config.count_parameters()  # builds them, without numbers in them


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_spaces_have_no_warnings_and_one_line_of_description(name: str) -> None:
    space = load_space(name)
    assert space.warnings == ()
    assert space.description
    assert "\n" not in space.description


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions_run_each_of_their_arms_with_three_seeds(name: str) -> None:
    trials = load_space(name).trials
    arms = {trial.rpartition("-s")[0] for trial in trials}
    assert set(trials) == {f"{arm}-s{seed}" for arm in arms for seed in range(3)}
    for arm in arms:
        first, *others = (trials[f"{arm}-s{seed}"] for seed in range(3))
        assert [config.seed for config in (first, *others)] == [0, 1, 2]
        assert all(config.model_copy(update={"seed": 0}) == first for config in others)
    assert len({json.dumps(trials[f"{arm}-s0"].dump()) for arm in arms}) == len(arms) >= 4


def test_the_shipped_spaces_are_listed_with_their_descriptions() -> None:
    listed = list_spaces()
    assert {"smoke", "demo", "cnn", "gan", "losses", "kernels", "patches", "everything"} <= set(listed)
    assert listed["smoke"] == load_space("smoke").description


def test_smoke_and_gan_reach_both_families() -> None:
    for name in ("smoke", "gan"):
        assert {config.family for config in sample_configs(load_space(name), 40)} == {"cnn", "gan"}


def test_everything_reaches_every_family_and_every_architecture() -> None:
    configs = sample_configs(load_space("everything"), 120)
    assert {config.family for config in configs} == {"forest", "cnn", "gan"}
    assert {config.generator.name for config in configs} == set(GENERATORS)
    assert {config.adversary.name for config in configs if config.adversary} == set(ADVERSARIES)


@pytest.mark.parametrize(("name", "expected"), [("everything", True), ("published", True), ("gan", False)])
def test_a_space_says_whether_it_has_forests(name: str, expected: bool) -> None:
    assert load_space(name).has_forests == expected


def test_losses_searches_weights_alone() -> None:
    assert all(path.startswith("losses.") for path in load_space("losses").search)


def test_gan_reaches_every_generator_and_every_adversary() -> None:
    configs = sample_configs(load_space("gan"), 200)
    assert {config.generator.name for config in configs} == {"dcgan", "unet", "dcsrn", "fcn"}
    assert {config.adversary.name for config in configs if config.adversary} == {"dense", "pooled", "patchgan"}


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_of_the_documentation_load(text: str) -> None:
    assert parse_space(text, "example.yaml").warnings == ()


def test_the_documentation_names_every_key() -> None:
    assert len(EXAMPLES) >= 4
    for key in ("description", "objectives", "budget", "sampler", "pruner", "resources", "fixed", "search", "trials"):
        assert f"| `{key}` |" in DOCS.read_text(encoding="utf-8")


def test_a_space_as_a_dictionary_is_a_space() -> None:
    """What `to_dict` gives can be written to a file and loaded, and is the same."""
    for name in [*SEARCHING, "question-seams"]:
        space = load_space(name)
        again = parse_space(json.dumps({key: v for key, v in space.to_dict().items() if key != "name"}), f"{name}.yaml")
        assert again.to_dict() == space.to_dict()
