"""The search space: read, checked, asked of a trial."""

import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial

from mrisynth.errors import InvalidInputError, NotFoundError, UsageError
from mrisynth.models import ADVERSARIES, GENERATORS
from mrisynth.search.space import (
    Infeasible,
    Space,
    list_spaces,
    load_space,
    parse_space,
    sample_configs,
    trial_sizes,
    with_overrides,
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

SMALL = """\
description: small
budget: {trials: 5}
fixed: {epochs: 3, patchgan.filters: 4, unet.levels: 5}
search:
  generator: [dcgan, unet]
  dcgan.kernel_size: [3, 5]
  unet.filters: {int: [4, 8]}
  adversary: [none, patchgan, pooled]
  pooled.filters: [[8, 8], [16, 16, 16]]
  patchgan.layers: {int: [1, 2]}
  patches.size: [32, 64]
  stitching.stride: {choice: [20, 40], when: {patches.size: 64}}
  losses.l1: {float: [0.1, 10], log: true}
  losses.adversarial: {float: [0.01, 1], log: true}
"""


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def small() -> Space:
    return parse_space(SMALL, "small.yaml")


def minimal(search: str, head: str = "budget: {trials: 3}\n") -> str:
    return f"{head}search:\n  generator: [unet, dcgan]\n" + "".join(f"  {line}\n" for line in search.splitlines())


def mistakes(text: str) -> list[str]:
    with pytest.raises(InvalidInputError) as caught:
        parse_space(text, "my.yaml")
    return str(caught.value).splitlines()


def only_mistake(text: str) -> str:
    found = mistakes(text)
    assert len(found) == 1, found
    return found[0]


def asked(space: Space, params: dict[str, Any]) -> dict[str, Any]:
    return space.suggest(FixedTrial(params))


# Shipped spaces and the documentation's


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


# Finding a space


def test_a_space_is_found_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL, encoding="utf-8")
    space = load_space(path)
    assert (space.name, space.text) == ("mine", SMALL)


def test_a_shipped_name_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke").mkdir()
    assert load_space("smoke").name == "smoke"


def test_an_unknown_name_is_not_found_and_the_nearest_is_named() -> None:
    with pytest.raises(NotFoundError, match="did you mean 'smoke'"):
        load_space("smokee")
    with pytest.raises(NotFoundError, match=r"nowhere/gan\.yaml does not exist"):
        load_space("nowhere/gan.yaml")
    with pytest.raises(NotFoundError, match="is a folder"):
        load_space(Path(__file__).parent)


# What is read


def test_everything_is_read() -> None:
    head = (
        "description: all\nobjectives: {ssim: maximize, mae: minimize}\nbudget: {trials: 7, hours: 1.5}\n"
        "sampler: random\npruner: {halving: {rungs: [0.1, 0.3], keep: 0.5}}\nresources: {cpu: 2, gpu: 0.5}\n"
    )
    space = parse_space(minimal("epochs: {int: [1, 3]}", head), "my.yaml")
    assert space.objectives == {"ssim": "maximize", "mae": "minimize"}
    assert list(space.objectives) == ["ssim", "mae"]
    assert (space.budget.trials, space.budget.hours, space.sampler) == (7, 1.5, "random")
    assert space.pruner is not None
    assert (space.pruner.rungs, space.pruner.keep) == ((0.1, 0.3), 0.5)
    assert (space.resources.cpu, space.resources.gpu) == (2, 0.5)
    assert list(space.search) == ["generator", "epochs"]


def test_defaults() -> None:
    space = small()
    assert (space.objectives, space.sampler, space.pruner) == ({"psnr": "maximize"}, "tpe", None)
    assert (space.resources.cpu, space.resources.gpu, space.published) == (1, "auto", ())


def test_pruner_none_is_a_word() -> None:
    assert parse_space(minimal("", "budget: {trials: 1}\npruner: none\n"), "my.yaml").pruner is None


def test_small_numbers_are_numbers_and_words_are_words() -> None:
    space = parse_space(
        minimal("optimizer.generator_lr: {float: [1e-5, 1e-2], log: true}\nadversary: [none]"), "my.yaml"
    )
    config = asked(space, {"generator": "unet", "optimizer.generator_lr": 1e-5, "adversary": "none"})
    assert config["optimizer"]["generator_lr"] == 0.00001
    assert config["adversary"] == "none"


def test_anchors_and_merges_are_resolved() -> None:
    text = "budget: {trials: 1}\nfixed: &f {epochs: 2}\nsearch:\n  generator: [unet]\n"
    text += "trials:\n  a: {<<: *f, generator: unet}\n"
    assert parse_space(text, "my.yaml").trials["a"].epochs == 2


def test_conditions_that_exclude_one_another_over_what_they_depend_on_are_refused() -> None:
    text = "dcgan.depth: {int: [3, 4]}\nepochs: {int: [5, 6], when: {dcgan.depth: 4, generator: unet}}"
    assert "epochs is never used: it needs" in only_mistake(minimal(text))
    assert parse_space(minimal(text.replace("generator: unet", "generator: dcgan")), "my.yaml").warnings == ()


def test_what_a_parameter_needs_by_itself_and_its_when_may_not_exclude_one_another() -> None:
    text = "adversary: [none, pooled]\nlosses.adversarial: {choice: [1], when: {adversary: none}}"
    assert "it needs adversary: not none and adversary: none, which exclude one another" in only_mistake(minimal(text))


def test_mistakes_inside_a_value_have_their_column() -> None:
    assert only_mistake(minimal("epochs: {int: [0, 3]}")).startswith("space my.yaml, line 4, column 18: epochs is 0")
    assert only_mistake(minimal("select: [last, bset]")).startswith("space my.yaml, line 4, column 18: select is bset")


# Constraints


def constrained(constraints: str) -> str:
    return minimal("unet.filters: {int: [4, 32]}", f"budget: {{trials: 3}}\nconstraints: {constraints}\n")


def test_constraints_are_read() -> None:
    space = parse_space(constrained("{seam: {max: 1.5}, generator_parameters: {min: 1e3, max: 2e6}}"), "my.yaml")
    assert list(map(str, space.bounds)) == [
        "seam <= 1.5",
        "generator_parameters >= 1,000",
        "generator_parameters <= 2,000,000",
    ]
    assert with_overrides(space, ["constraints.seam.max=2"]).limits["seam"] == {"max": 2.0}


def test_a_suggestion_beyond_a_size_is_infeasible_and_says_by_how_much() -> None:
    space = parse_space(constrained("{generator_parameters: {max: 1e6}}"), "my.yaml")
    with pytest.raises(
        Infeasible, match="generator_parameters is 1,829,025; the space wants at most 1,000,000"
    ) as caught:
        asked(space, {"generator": "unet", "unet.filters": 16})
    assert caught.value.excesses == {"generator_parameters <= 1,000,000": pytest.approx(0.829025)}
    assert asked(space, {"generator": "unet", "unet.filters": 8})["unet"]["filters"] == 8
    assert space.feasibility.broken["generator_parameters <= 1,000,000"] == space.feasibility.beyond > 0


def test_what_a_trial_does_not_have_is_not_bounded() -> None:
    space = parse_space(constrained("{adversary_parameters: {max: 1}}"), "my.yaml")
    assert space.feasibility.beyond == 0


def test_a_named_trial_beyond_a_size_is_no_point_of_the_space() -> None:
    space = parse_space(constrained("{generator_parameters: {max: 1e6}}"), "my.yaml")
    encoding = space.encode(TrialConfig.parse({"generator": "unet", "unet": {"filters": 16}}))
    assert encoding.params is None
    assert "at most 1,000,000" in encoding.misfits[0]


@pytest.mark.parametrize(
    ("constraints", "sentence"),
    [
        ("{seam: 1.5}", "constraints.seam is 1.5; write {max: 1.5} or {min: 30}"),
        ("{seem: {max: 1}}", "'seem' is neither a metric nor a size; did you mean 'seam'?"),
        ("{seam: {maximum: 1}}", "unknown key 'constraints.seam.maximum'; did you mean 'max'?"),
        ("{seam: {max: 2M}}", "constraints.seam.max is 2M; it must be a number"),
        ("{seam: {max: -1}}", "no trial can keep to seam <= -1: seam is never below 0"),
        ("{psnr: {min: 101}}", "psnr is never above 100"),
        ("{ssim: {min: 0.9, max: 0.8}}", "has a min of 0.9 above its max of 0.8"),
        ("{ssim: {}}", "has no bound"),
        ("seam", "it must be a mapping"),
        ("{generator_parameters: {max: 10}}", "of 1000 random suggestions break generator_parameters <= 10"),
    ],
)
def test_mistakes_in_constraints(constraints: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrialConfig, "count_parameters", lambda _: (1000, None))
    found = only_mistake(constrained(constraints))
    assert found.startswith("space my.yaml, line 2, column ")
    assert sentence in found


# What is suggested


def test_only_the_chosen_generators_parameters_are_asked_for() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = small()
    for _ in range(30):
        trial = study.ask()
        config = space.suggest(trial)
        assert ("unet.filters" in trial.params) == (config["generator"] == "unet")
        assert ("dcgan.kernel_size" in trial.params) == (config["generator"] == "dcgan")
        assert ("losses.adversarial" in trial.params) == (config["adversary"] != "none")


def test_a_suggestion_is_the_whole_configuration() -> None:
    params = {"generator": "unet", "unet.filters": 6, "adversary": "none", "patches.size": 32, "losses.l1": 2.5}
    config = asked(small(), params)
    assert config["unet"] == {"filters": 6, "levels": 5, "dropout": 0.0}
    assert config["losses"] == {"l1": 2.5}
    assert (config["epochs"], config["patches"]["size"], config["patches"]["per_subject"]) == (3, 32, 300)
    assert TrialConfig.parse(config).dump() == config


def test_fixed_parameters_apply_only_where_they_exist() -> None:
    params = {"generator": "dcgan", "dcgan.kernel_size": 3, "patches.size": 32, "losses.l1": 1.0}
    without = asked(small(), {**params, "adversary": "none"})
    assert not {"unet", "patchgan"} & set(without)
    against = asked(small(), {**params, "adversary": "patchgan", "patchgan.layers": 1, "losses.adversarial": 0.5})
    assert against["patchgan"]["filters"] == 4


def test_when_decides_whether_a_parameter_exists() -> None:
    params = {
        "generator": "dcgan",
        "dcgan.kernel_size": 3,
        "losses.l1": 1.0,
        "adversary": "none",
        "stitching.stride": 40,
    }
    assert asked(small(), {**params, "patches.size": 64})["stitching"]["stride"] == 40
    assert asked(small(), {**params, "patches.size": 32})["stitching"]["stride"] == 20  # the default


@pytest.mark.parametrize(
    ("when", "sizes"),
    [
        ("32", {32}),
        ("[32, 48]", {32, 48}),
        ("{not: 32}", {48, 64}),
        ("{not: [32, 48]}", {64}),
    ],
)
def test_forms_of_when(when: str, sizes: set[int]) -> None:
    text = f"patches.size: [32, 48, 64]\nepochs: {{int: [5, 6], when: {{patches.size: {when}}}}}"
    space = parse_space(minimal(text, "budget: {trials: 1}\nfixed: {unet.levels: 4}\n"), "my.yaml")
    params = {"generator": "dcgan", "epochs": 5}
    found = {size for size in (32, 48, 64) if asked(space, {**params, "patches.size": size})["epochs"] == 5}
    assert found == sizes


def test_a_condition_on_what_does_not_exist_never_holds() -> None:
    text = "dcgan.depth: {int: [3, 4]}\nepochs: {int: [5, 6], when: {dcgan.depth: {not: 3}}}"
    space = parse_space(minimal(text), "my.yaml")
    assert asked(space, {"generator": "unet", "epochs": 5})["epochs"] == 30
    assert asked(space, {"generator": "dcgan", "dcgan.depth": 4, "epochs": 5})["epochs"] == 5


def test_a_parameter_is_asked_after_those_that_it_depends_on_wherever_it_stands() -> None:
    text = "budget: {trials: 1}\nsearch:\n  unet.filters: {int: [4, 8]}\n  generator: [unet]\n"
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    parse_space(text, "my.yaml").suggest(trial)
    assert list(trial.params) == ["generator", "unet.filters"]


def test_lists_are_choices_that_optuna_stores_as_json() -> None:
    params = {"generator": "unet", "unet.filters": 4, "adversary": "pooled", "patches.size": 32}
    params |= {"losses.l1": 1.0, "losses.adversarial": 0.1, "pooled.filters": "[16,16,16]"}
    assert asked(small(), params)["pooled"]["filters"] == [16, 16, 16]


def test_true_and_one_are_different_choices() -> None:
    space = parse_space(minimal("output.tanh: [true, false]"), "my.yaml")
    config = asked(space, {"generator": "unet", "output.tanh": False})
    assert config["output"]["tanh"] is False


def test_a_stored_trial_asked_again_answers_the_same() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    space = small()
    for _ in range(10):
        trial = study.ask()
        first = space.suggest(trial)
        stored = optuna.Trial(study, trial._trial_id)
        assert space.suggest(stored) == first


def test_a_half_asked_trial_is_completed() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    half = study.ask()
    half.suggest_categorical("generator", ["dcgan", "unet"])
    before = dict(half.params)
    config = small().suggest(optuna.Trial(study, half._trial_id))
    stored = study.trials[0].params
    assert stored.items() >= before.items()
    assert config["generator"] == before["generator"]
    assert "losses.l1" in stored


def test_an_infeasible_suggestion_says_why_and_what_it_was() -> None:
    space = parse_space(minimal("patches.size: [32, 64]"), "my.yaml")
    with pytest.raises(Infeasible, match="64") as caught:  # the default U-net halves six times
        asked(space, {"generator": "unet", "patches.size": 32})
    assert isinstance(caught.value, ValueError)
    assert caught.value.config == {"generator": "unet", "patches": {"size": 32}}


def test_sampled_configurations_repeat_with_their_seed() -> None:
    space = small()
    one, same, other = (sample_configs(space, 5, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_sampled_configurations_keep_to_ranges_and_steps() -> None:
    text = "epochs: {int: [3, 9], step: 3}\nlosses.l1: {float: [0.5, 1.0], step: 0.25}\n"
    text += "optimizer.generator_lr: {float: [0.001, 0.1], log: true}"
    configs = sample_configs(parse_space(minimal(text), "my.yaml"), 60)
    assert {config.epochs for config in configs} == {3, 6, 9}
    assert {config.losses["l1"] for config in configs} == {0.5, 0.75, 1.0}
    rates = [config.optimizer.generator_lr for config in configs]
    assert all(0.001 <= rate <= 0.1 for rate in rates)
    assert 15 < sum(rate < 0.01 for rate in rates) < 45  # half of them below the geometric mean


# A configuration as a point of the study


def test_what_was_suggested_encodes_to_the_parameters_of_its_trial() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=5))
    space = load_space("gan")
    for _ in range(30):
        trial = study.ask()
        config = TrialConfig.parse(space.suggest(trial))
        encoding = space.encode(config)
        assert encoding.params == trial.params
        assert encoding.differences == ()


def test_an_encoded_configuration_can_be_enqueued() -> None:
    space = small()
    config = sample_configs(space, 1, seed=4)[0]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    params = space.encode(config).params
    assert params is not None
    study.enqueue_trial(params)
    assert TrialConfig.parse(space.suggest(study.ask())) == config


def test_a_configuration_out_of_range_does_not_fit_and_says_where() -> None:
    config = TrialConfig.parse({"generator": "unet", "unet": {"filters": 16, "levels": 5}, "losses": {"l1": 1}})
    encoding = small().encode(config)
    assert encoding.params is None
    assert encoding.misfits == ("unet.filters is 16; the space has from 4 to 8",)


def test_a_configuration_given_by_layers_does_not_fit_a_space_of_the_shorthand() -> None:
    encoding = small().encode(TrialConfig.parse({"generator": "dcgan", "losses": {"l1": 1}}))
    assert encoding.params is None
    assert encoding.misfits == ("dcgan.kernel_size is not given; the space has one of 3, 5",)


def test_a_loss_that_is_not_named_has_the_weight_0() -> None:
    text = minimal("losses.l2: {choice: [0, 1]}", "budget: {trials: 1}\nfixed: {losses.l1: 1}\n")
    space = parse_space(text, "my.yaml")
    encoding = space.encode(TrialConfig.parse({"generator": "unet"}))
    assert encoding.params == {"generator": "unet", "losses.l2": 0.0}
    assert encoding.differences == ()


def test_differences_in_what_is_not_searched_are_named() -> None:
    config = TrialConfig.parse(
        {"generator": "unet", "unet": {"filters": 8, "levels": 5}, "losses": {"l1": 1}, "epochs": 10}
    )
    encoding = small().encode(config)
    assert encoding.params is not None
    assert encoding.differences == ("epochs is 10; the space has 3",)


# Named trials

NAMED = """\
trials:
  one: {generator: unet, epochs: 2}
  two: {generator: dcgan, adversary: pooled, losses: {adversarial: 1, l1: 2}}
"""


def test_a_space_of_trials_alone_runs_them_all_and_needs_no_budget() -> None:
    space = parse_space(NAMED, "my.yaml")
    assert space.published == ("one", "two")
    assert space.search == {}
    assert space.trials["two"].losses == {"adversarial": 1.0, "l1": 2.0}


def test_beside_a_search_only_the_published_run() -> None:
    assert parse_space(minimal("") + NAMED, "my.yaml").published == ()
    assert parse_space(minimal("") + NAMED + "published: [two]\n", "my.yaml").published == ("two",)


def test_the_sizes_of_named_trials() -> None:
    one, two = trial_sizes(parse_space(NAMED, "my.yaml"))
    assert (one["generator_parameters"], one["adversary_parameters"]) == (1_829_025, None)  # the paper's U-net
    assert (two["generator_parameters"], two["adversary_parameters"]) == (458_385, 75_585)  # its DCGAN 2
    assert two["config"]["adversary"] == "pooled"


def test_mistakes_in_named_trials_have_their_line() -> None:
    text = "trials:\n  one:\n    generator: unet\n    unet:\n      levelz: 3\n  two: 3\npublished: [onee, two]\n"
    assert mistakes(text) == [
        "space my.yaml, line 5, column 7: trial one: unknown parameter 'unet.levelz'; did you mean 'unet.levels'?",
        "space my.yaml, line 6, column 3: trial two: a trial's config must be a mapping of parameters, not int",
        "space my.yaml, line 7, column 13: unknown trial onee; did you mean 'one'?",
    ]


def test_fixed_parameters_beside_named_trials_alone_are_refused() -> None:
    assert "changes nothing" in only_mistake(NAMED + "fixed: {epochs: 3}\n")


# Mistakes


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("losses.ll1: [1, 2]", "unknown parameter 'losses.ll1'; did you mean 'losses.l1'?"),
        ("unet: {int: [1, 2]}", "unknown parameter 'unet'; it is a block"),
        ("epochs: {int: [0, 3]}", "epochs is 0; it must be an integer"),
        ("epochs: {int: [3, 3]}", "epochs is a range from 3 to 3; low must be less than high"),
        ("epochs: {int: [3]}", "a range has two bounds"),
        ("epochs: {int: 3}", "a range has two bounds"),
        ("epochs: {float: [1, 3]}", "write 'int:', not 'float:'"),
        ("losses.l1: {int: [1, 3]}", "write 'float:', not 'int:'"),
        ("losses.l1: {float: [0, 3], log: true}", "low must be greater than 0"),
        ("losses.l1: {float: [1, 3], log: on}", "it must be true or false"),
        ("losses.l1: {float: [1, 3], log: true, step: 1}", "only a range without log"),
        ("epochs: {int: [1, 4], step: 2}", "does not lead from 1 to 4"),
        ("epochs: {int: [1, 4], step: 0}", "it must be a positive int"),
        ("epochs: {int: [1, 4], choice: [3]}", "needs one of float"),
        ("epochs: {log: true}", "needs one of float"),
        ("epochs: {intt: [1, 4], int: [1, 4]}", "unknown key 'intt'; did you mean 'int'?"),
        ("epochs: 3", "write it under 'fixed'"),
        ("epochs: []", "has no values to choose from"),
        ("epochs: [1, 2, 1]", "epochs has 1 twice"),
        ("epochs: [1, 2.5]", "epochs is 2.5; it must be an integer"),
        ("epochs: [1, two]", "epochs is two; it must be an integer"),
        ("select: [last, bset]", "did you mean 'best'?"),
        ("select: {int: [1, 2]}", "write a list of choices"),
        ("output.tanh: [true, 1]", "it must be true or false"),
        ("dcgan.filters: [[16, 0]]", "dcgan.filters is [16, 0]"),
        ("dcsrn.units: {int: [1, 2]}", "dcsrn.units is never used: it needs generator: dcsrn"),
        ("patchgan.layers: {int: [1, 2]}", "patchgan.layers is never used: it needs adversary: patchgan"),
        ("losses.adversarial: {float: [1, 2]}", "losses.adversarial is never used"),
        ("epochs: {int: [1, 2], when: {seed: 1}}", "seed is neither fixed nor searched here"),
        ("epochs: {int: [1, 2], when: {sead: 1}}", "unknown parameter 'sead'; did you mean 'seed'?"),
        ("epochs: {int: [1, 2], when: {generator: fcn}}", "generator is never fcn here"),
        ("epochs: {int: [1, 2], when: {generator: {not: [unet, dcgan]}}}", "epochs is never used"),
        ("epochs: {int: [1, 2], when: {generator: {is: unet}}}", "write {generator: value}"),
        ("epochs: {int: [1, 2], when: {generator: }}", "write {generator: value}"),
        ("epochs: {int: [1, 2], when: unet}", "write {parameter: value}"),
        ("epochs: {int: [1, 2], when: {epochs: 1}}", "wait for one another"),
        (
            "dcgan.depth: {choice: [2], when: {generator: unet}}",
            "dcgan.depth is never used: it needs generator: dcgan and generator: unet, which exclude one another",
        ),
    ],
)
def test_mistakes_in_the_search_are_named_with_their_line(line: str, sentence: str) -> None:
    found = only_mistake(minimal(line))
    assert found.startswith("space my.yaml, line ")
    assert sentence in found
    if "wait" not in sentence:
        assert found.startswith("space my.yaml, line 4, column ")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("objectivs: {psnr: maximize}", "unknown key 'objectivs'; did you mean 'objectives'?"),
        ("objectives: {psnrr: maximize}", "unknown metric 'psnrr'; did you mean 'psnr'?"),
        ("objectives: {psnr: minimize}", "write 'psnr: maximize'"),
        ("objectives: {mae: max}", "write 'mae: minimize'"),
        ("objectives: {}", "objectives is empty"),
        ("objectives: psnr", "it must be a mapping"),
        ("sampler: tpee", "sampler is tpee; it must be tpe, nsga2, random or grid"),
        ("pruner: halving", "write {halving: "),
        ("pruner: {median: {}}", "unknown pruner 'median'"),
        ("pruner: {halving: {rungs: [0.3, 0.1], keep: 0.5}}", "each larger than the one before"),
        ("pruner: {halving: {rungs: [0.3, 1.0], keep: 0.5}}", "fractions between 0 and 1"),
        ("pruner: {halving: {rungs: [0.3], keep: 1}}", "pruner.halving.keep is 1; it must be less than 1"),
        ("pruner: {halving: {rungs: [0.3]}}", "pruner.halving.keep is missing"),
        ("pruner: {halving: {rungs: [0.3], keep: 0.3, quota: -1}}", "pruner.halving.quota is -1; it must be greater"),
        ("pruner: {halving: {rungs: [0.3], keep: 0.3, quoat: 1}}", "did you mean 'quota'?"),
        ("resources: {cpu: 0}", "resources.cpu is 0; it must be greater than 0"),
        ("resources: {gpu: 1.5}", "resources.gpu is 1.5; it must be auto"),
        ("resources: {gpus: 1}", "unknown key 'resources.gpus'; did you mean 'gpu'?"),
        ("fixed: {epochs: 0}", "epochs is 0; it must be an integer"),
        ("fixed: {epochs: '3'}", "it must be an integer"),
        ("fixed: {generator: unet}", "generator is both fixed and searched"),
        ("fixed: {output: {tahn: true}}", "unknown parameter 'output.tahn'; did you mean 'output.tanh'?"),
        ("fixed: {dcsrn.units: 3}", "dcsrn.units is never used: it needs generator: dcsrn"),
        ("fixed: {unet: {}}", "unknown parameter 'unet'; it is a block"),
        ("fixed: [epochs]", "'fixed' is [\"epochs\"]; it must be a mapping"),
        ("published: [one]", "unknown trial one"),
        ("published: one", "it must be a list of names"),
        ("trials: [one]", "it must be a mapping of names"),
        ("description: 2020-01-01", 'description is "2020-01-01"'),
    ],
)
def test_mistakes_elsewhere_are_named_with_their_line(line: str, sentence: str) -> None:
    found = mistakes(minimal("", f"budget: {{trials: 3}}\n{line}\n"))
    assert sentence in found[0]
    assert all(
        mistake.startswith(("space my.yaml, line 2, column ", "space my.yaml, line 4, column ")) for mistake in found
    )
    assert len(found) == 1


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        ("", "budget is missing"),
        ("budget: {trials: 0}", "budget.trials is 0"),
        ("budget: {trials: many}", "budget.trials is many"),
        ("budget: {trials: 1.5}", "budget.trials is 1.5"),
        ("budget: {hours: -1}", "budget.hours is -1"),
        ("budget: 100", "budget is 100; it must be a mapping, like {trials: ...}"),
        ("budget: {gpus: 1}", "unknown key 'budget.gpus'"),
    ],
)
def test_a_budget_is_positive_and_required(budget: str, sentence: str) -> None:
    assert sentence in only_mistake(minimal("", f"{budget}\n"))


def test_all_mistakes_are_reported_in_the_order_of_the_file() -> None:
    found = mistakes(minimal("epochs: {int: [3, 1]}\nlosses.ll1: [1]\nseed: 3", "sampler: x\nbudget: {trials: 0}\n"))
    assert [int(re.findall(r"line (\d+)", mistake)[0]) for mistake in found] == [1, 2, 5, 6, 7]


def test_a_mistake_in_one_parameter_causes_none_in_those_that_depend_on_it() -> None:
    text = "budget: {trials: 1}\nsearch:\n  generator: [unte]\n  unet.filters: [4, 8]\n"
    assert "generator is unte; it must be one of" in only_mistake(text)


def test_a_range_of_what_must_be_odd_needs_a_step() -> None:
    text = "budget: {trials: 1}\nsearch:\n  generator: [dcsrn]\n  dcsrn.kernel_size: {int: [3, 7]}\n"
    assert "write step: 2" in only_mistake(text)
    space = parse_space(text.replace("[3, 7]}", "[3, 7], step: 2}"), "my.yaml")
    kernels = {config.dump()["dcsrn"]["kernel_size"] for config in sample_configs(space, 40)}
    assert kernels == {3, 5, 7}


def test_a_generator_is_required() -> None:
    assert "generator is missing" in only_mistake("budget: {trials: 1}\nsearch:\n  epochs: [1, 2]\n")


def test_something_must_be_searched() -> None:
    assert "nothing is searched" in only_mistake("budget: {trials: 1}\nfixed: {generator: unet}\n")


def test_a_space_that_suggests_nothing_feasible_is_refused() -> None:
    text = "budget: {trials: 1}\nsearch:\n  generator: [unet]\n  patches.size: [32]\n"
    assert "nothing that this space suggests can be trained" in only_mistake(text)


def test_a_space_that_is_sometimes_infeasible_warns() -> None:
    (warning,) = parse_space(minimal("patches.size: [32, 64]"), "my.yaml").warnings
    assert re.search(r"\d+ of 50 random suggestions cannot be trained", warning)


def test_two_numbers_for_a_float_warn_because_a_range_was_probably_meant() -> None:
    (warning,) = parse_space(minimal("losses.l1: [0.1, 300]"), "my.yaml").warnings
    assert warning.startswith("space my.yaml, line 4, column 3: losses.l1 is a choice between two numbers")
    assert "{float: [0.1, 300], log: true}" in warning
    assert parse_space(minimal("losses.l1: {choice: [0.1, 300]}"), "my.yaml").warnings == ()
    assert parse_space(minimal("losses.l1: [0.1, 1, 300]"), "my.yaml").warnings == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("- a\n", "is a list, not a mapping"),
        ("a: [1\nb: 2\n", "line 2, column 2: not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", 'line 3, column 1: not valid YAML: found duplicate key "a"'),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: \x00\n", "not valid YAML"),
        ("a:\n\tb: 1\n", "indent with spaces, not with tabs"),
        ("search: [generator]\nbudget: {trials: 1}\n", "'search' is [\"generator\"]; it must be a mapping"),
    ],
)
def test_what_is_not_a_space_is_refused(text: str, sentence: str) -> None:
    assert sentence in mistakes(text)[0]


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InvalidInputError, match="not a text file"):
        load_space(tmp_path / "x.yaml")


# Overrides


def test_an_override_fixes_what_was_searched() -> None:
    space = with_overrides(small(), ["patches.size=64", "epochs=7"])
    assert "patches.size" not in space.search
    assert (space.fixed["patches.size"], space.fixed["epochs"]) == (64, 7)


def test_an_override_of_the_generator_leaves_out_what_only_others_have() -> None:
    space = with_overrides(small(), ["generator=unet"])
    assert "dcgan.kernel_size" not in space.search
    assert "unet.filters" in space.search
    assert {config.generator.name for config in sample_configs(space, 10)} == {"unet"}


def test_an_override_that_takes_the_adversary_away_takes_its_loss_along() -> None:
    space = with_overrides(small(), ["adversary=none"])
    assert not {"losses.adversarial", "patchgan.layers", "pooled.filters"} & set(space.search)
    assert "patchgan.filters" not in space.fixed


def test_an_override_of_what_a_condition_names() -> None:
    assert "stitching.stride" in with_overrides(small(), ["patches.size=64"]).search
    assert "stitching.stride" not in with_overrides(small(), ["patches.size=32"]).search


def test_overrides_can_search_and_can_set_everything_else() -> None:
    given = ["search.epochs={int: [2, 4]}", "budget.trials=9", "pruner.halving={rungs: [0.5], keep: 0.5}"]
    space = with_overrides(small(), [*given, "objectives={ssim: maximize}", "search.generator=[unet]"])
    assert "epochs" in space.search
    assert "epochs" not in space.fixed
    assert space.budget.trials == 9
    assert space.pruner is not None
    assert space.objectives == {"ssim": "maximize"}
    assert "dcgan.kernel_size" not in space.search


def test_an_override_reaches_into_a_nested_block() -> None:
    text = minimal("", "budget: {trials: 1}\nfixed: {unet: {filters: 8, levels: 5}}\n")
    space = with_overrides(parse_space(text, "my.yaml"), ["unet.filters=4"])
    assert space.fixed == {"unet.levels": 5, "unet.filters": 4}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("epochz=3", "--set epochz: unknown parameter 'epochz'; did you mean 'epochs'?"),
        ("epochs=three", "--set epochs: epochs is three; it must be an integer"),
        ("epochs='3'", "--set epochs: epochs is 3; it must be an integer"),
        ("epochs=[1", "--set epochs, line 1, column 3: not valid YAML"),
        ("generator=unte", "--set generator: generator is unte"),
        ("budget.trials=x", "--set budget.trials: budget.trials is x"),
        ("budget.trialz=3", "--set budget.trialz: unknown key 'budget.trialz'"),
        ("search.epochs={int: [3, 1]}", "--set search.epochs: epochs is a range from 3 to 1"),
        ("sampler=gird", "--set sampler: sampler is gird"),
        ("sampler=grid", "space small.yaml, line 13, column 3: losses.l1 is a range"),
    ],
)
def test_a_wrong_override_is_refused_by_its_name(override: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        with_overrides(small(), [override])
    assert str(caught.value).startswith(sentence)


def test_an_override_is_key_and_value() -> None:
    with pytest.raises(UsageError, match="KEY=VALUE"):
        with_overrides(small(), ["epochs"])


# Overrides of named trials

FEW = """\
trials:
  trees: {generator: forest}
  plain: {generator: dcsrn, losses: {l2: 1}}
  rival: {generator: unet, adversary: pooled, losses: {adversarial: 1, l1: 2}, epochs: 7}
"""


def few(*overrides: str, text: str = FEW) -> Space:
    return with_overrides(parse_space(text, "few.yaml"), overrides)


def test_an_override_is_set_in_every_named_trial_that_has_the_parameter() -> None:
    trials = few("epochs=2", "patches.per_subject=40", "pooled.filters=[4, 4]").trials
    assert [trials[name].dump().get("epochs") for name in ("trees", "plain", "rival")] == [None, 2, 2]
    assert {config.patches.per_subject for config in trials.values()} == {40}
    assert trials["rival"].dump()["pooled"]["filters"] == [4, 4]
    assert trials["plain"].losses == {"l2": 1}


def test_an_override_of_one_loss_leaves_the_others_of_a_named_trial() -> None:
    text = FEW + "  silent: {generator: dcsrn}\n"
    trials = few("losses.gradient=0.5", text=text).trials
    assert trials["rival"].losses == {"adversarial": 1, "l1": 2, "gradient": 0.5}
    assert trials["silent"].losses == {"l1": 1, "gradient": 0.5}  # it has the default, and keeps it


def test_an_override_of_the_adversary_leaves_out_what_a_named_trial_cannot_have_any_more() -> None:
    rival = few("adversary=none").trials["rival"]
    assert (rival.adversary, rival.losses) == (None, {"l1": 2})


def test_changed_named_trials_are_warned_of_in_one_line() -> None:
    warning = "named trials are not run exactly as published: epochs=2, patches.axes=[0, 1]"
    assert few("epochs=2", "patches.axes=[0, 1]").warnings == (warning,)
    assert few("trials.plain.epochs=2").warnings == (
        "named trials are not run exactly as published: trials.plain.epochs=2",
    )


@pytest.mark.parametrize("override", ["published=[plain]", "resources.cpu=2", "perceptual.weights=/somewhere/vgg.pth"])
def test_what_leaves_named_trials_as_they_are_is_not_warned_of(override: str) -> None:
    assert few(override).warnings == ()


def test_some_of_the_named_trials_can_be_chosen_and_the_others_are_left_alone() -> None:
    space = few("patches.size=32", "published=[plain, trees]")  # the U-net cannot take 32 px, and need not
    assert space.published == ("plain", "trees")
    assert [space.trials[name].patches.size for name in ("trees", "plain", "rival")] == [32, 32, 64]


def test_what_is_set_for_one_trial_wins_over_what_is_set_for_all() -> None:
    trials = few("trials.plain.epochs=3", "epochs=2").trials
    assert (trials["plain"].epochs, trials["rival"].epochs) == (3, 2)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("epochs=0", "--set epochs: trials plain, rival: epochs is 0; it must be an integer from 1 to"),
        ("fixed.epochs=0", "--set fixed.epochs: trials plain, rival: epochs is 0"),
        ("patches.size=32", "--set patches.size: trial rival: patches.size is 32; unet takes multiples of 64"),
        ("stitching.stride=60", "--set stitching.stride: trials plain, rival: stitching: stride 60 leaves gaps"),
        ("trials.plain.epochs=0", "--set trials.plain.epochs: trial plain: epochs is 0"),
        ("dcgan.width=8", "--set dcgan.width: none of the trials has dcgan.width: trees, plain, rival"),
        ("epochz=3", "--set epochz: unknown parameter 'epochz'; did you mean 'epochs'?"),
        ("published=plain", "--set published: 'published' is plain; it must be a list of names, like [a, b]"),
        ("published=[plan]", "--set published: unknown trial plan; did you mean 'plain'?"),
    ],
)
def test_a_wrong_override_of_named_trials_names_them(override: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        few(override)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(sentence)


def test_an_override_changes_the_search_and_the_trials_that_run_before_it() -> None:
    text = minimal("", "budget: {trials: 3}\nfixed: {epochs: 5}\n") + FEW + "published: [rival]\n"
    space = with_overrides(parse_space(text, "my.yaml"), ["epochs=2"])
    assert space.fixed["epochs"] == 2
    assert (space.trials["rival"].epochs, space.trials["plain"].epochs) == (2, 30)  # which does not run


def test_an_override_of_what_only_a_named_trial_has_leaves_the_search_alone() -> None:
    text = minimal("", "budget: {trials: 3}\n") + FEW + "published: [plain]\n"
    space = with_overrides(parse_space(text, "my.yaml"), ["dcsrn.units=2"])
    assert "dcsrn.units" not in space.fixed
    assert space.trials["plain"].dump()["dcsrn"]["units"] == 2
    with pytest.raises(InvalidInputError, match=r"dcsrn\.units is never used"):
        with_overrides(parse_space(minimal(""), "my.yaml"), ["dcsrn.units=2"])


def test_overrides_of_named_trials_that_a_sweep_kept_make_the_same_space() -> None:
    space = with_overrides(few("published=[rival, plain]", "epochs=2", "trials.plain.epochs=4"), {"budget.trials": 9})
    again = with_overrides(parse_space(space.text, "few.yaml"), space.overrides)
    assert again == space
    assert again.trials == space.trials


def test_a_file_of_weights_is_kept_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = few("perceptual.weights=vgg.pth", "losses.perceptual=1").trials["plain"]
    assert plain.perceptual.weights == str(tmp_path / "vgg.pth")
    assert few("perceptual.weights=vgg.pth").trials["plain"].perceptual.weights is None


@pytest.mark.parametrize("name", ["cnn", "gan"])
def test_a_forest_alone_drops_everything_of_networks_from_a_search(name: str) -> None:
    space = with_overrides(load_space(name), ["search.generator=[forest]", "search.forest.depth={int: [4, 8]}"])
    assert {config.family for config in sample_configs(space, 3)} == {"forest"}
    both = with_overrides(load_space(name), ["search.generator=[forest, unet]"])
    assert {config.family for config in sample_configs(both, 40)} >= {"forest", "cnn"}


def test_a_list_of_trials_without_any_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no trial would run"):
        few("published=[]")


def test_no_overrides_change_nothing() -> None:
    space = small()
    assert with_overrides(space, []) is space


def test_a_sweep_can_keep_the_text_and_the_overrides_and_load_the_same_space(tmp_path: Path) -> None:
    space = with_overrides(with_overrides(load_space("gan"), ["generator=unet"]), ["epochs=3", "budget.trials=4"])
    assert space.text == (search_spaces() / "gan.yaml").read_text(encoding="utf-8")
    (tmp_path / "space.yaml").write_text(space.text, encoding="utf-8")
    again = with_overrides(load_space(tmp_path / "space.yaml"), space.overrides)
    assert {**again.to_dict(), "name": ""} == {**space.to_dict(), "name": ""}


def test_a_space_as_a_dictionary_is_a_space() -> None:
    """What `to_dict` gives can be written to a file and loaded, and is the same."""
    for name in [*SEARCHING, "question-seams"]:
        space = load_space(name)
        again = parse_space(json.dumps({key: v for key, v in space.to_dict().items() if key != "name"}), f"{name}.yaml")
        assert again.to_dict() == space.to_dict()
