"""`--set`: what is set on top of a space, for its search and for its named trials."""

from pathlib import Path

import pytest
from space_fixtures import minimal, small

from mrisynth.errors import InvalidInputError, UsageError
from mrisynth.search.space import (
    Space,
    load_space,
    parse_space,
    sample_configs,
    with_overrides,
)
from mrisynth.shipped import search_spaces


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
        ("epochs='3'", '--set epochs: epochs is "3"; it must be an integer'),
        ("epochs=[1", "--set epochs, line 1, column 1: not valid YAML"),
        ("generator=unte", "--set generator: generator is unte"),
        ("budget.trials=x", "--set budget.trials: budget.trials is x"),
        ("budget.trialz=3", "--set budget.trialz: unknown key 'budget.trialz'"),
        ("fixed.patchgan.filters={int: [3, 4]}", "--set fixed.patchgan.filters: unknown parameter"),
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
