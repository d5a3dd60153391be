"""Complete configurations under names: read, checked, measured."""

from space_fixtures import minimal, mistakes, only_mistake

from mrisynth.search.space import parse_space, trial_sizes

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
        "space my.yaml, line 6, column 3: "
        "trial two: a trial's config is 3; it must be a mapping, like {generator: unet}",
        "space my.yaml, line 7, column 13: unknown trial onee; did you mean 'one'?",
    ]


def test_fixed_parameters_beside_named_trials_alone_are_refused() -> None:
    assert "changes nothing" in only_mistake(NAMED + "fixed: {epochs: 3}\n")
