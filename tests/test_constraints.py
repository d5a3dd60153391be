"""Constraints of a space: read, refused, and kept to by what is suggested."""

import pytest
from space_fixtures import asked, minimal, only_mistake

from mrisynth.search.space import Infeasible, parse_space, with_overrides
from mrisynth.training.config import TrialConfig


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
        ("{seam: 1.5}", "constraints.seam is 1.5; write {max: 1.5} or {min: 1.5}"),
        ("{seem: {max: 1}}", "'seem' is neither a metric nor a size; did you mean 'seam'?"),
        ("{seam: {maximum: 1}}", "unknown key 'constraints.seam.maximum'; did you mean 'max'?"),
        ("{seam: {max: 2M}}", "constraints.seam.max is 2M; it must be a number"),
        ("{seam: {max: -1}}", "no trial can keep to seam <= -1: seam is never below 0"),
        ("{psnr: {min: 101}}", "psnr is never above 100"),
        ("{ssim: {min: 0.9, max: 0.8}}", "has a min of 0.9 above its max of 0.8"),
        ("{ssim: {}}", "has no bound"),
        ("seam", "it must be a mapping"),
        (
            "{generator_parameters: {max: 10}}",
            "<= 10: move the bound, or search other networks; for example",
        ),
    ],
)
def test_mistakes_in_constraints(constraints: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrialConfig, "count_parameters", lambda _: (1000, None))
    found = only_mistake(constrained(constraints))
    assert found.startswith("space my.yaml, line 2, column ")
    assert sentence in found
