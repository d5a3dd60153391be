"""The search space: found, read, asked of a trial, and a configuration as one of its points."""

from pathlib import Path

import optuna
import pytest
from space_fixtures import SMALL, asked, minimal, only_mistake, small

from mrisynth.errors import NotFoundError
from mrisynth.search.space import Infeasible, load_space, parse_space, sample_configs
from mrisynth.training.config import TrialConfig


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


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
