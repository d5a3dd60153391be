"""Weights of the perceptual loss are looked for before a sweep begins."""

from pathlib import Path

import pytest

from mrisynth.errors import InvalidInputError
from mrisynth.files import write_json
from mrisynth.results.store import SweepDirectory
from mrisynth.search.space import Space, parse_space, with_overrides
from mrisynth.search.weights import check_weights

TRIALS = """\
trials:
  plain: {generator: dcsrn}
  seen: {generator: dcsrn, losses: {perceptual: 1}}
  both: {generator: unet, losses: {l1: 1, perceptual: 0.5}}
  weightless: {generator: dcsrn, losses: {l1: 1, perceptual: 0}}
  trees: {generator: forest}
"""
SEARCH = """\
budget: {trials: 3}
search:
  generator: [dcsrn]
  losses.l1: {float: [0.1, 1]}
"""


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def space(text: str, *overrides: str) -> Space:
    return with_overrides(parse_space(text, "my.yaml"), overrides)


def refusal(space: Space, begun: SweepDirectory | None = None) -> str:
    with pytest.raises(InvalidInputError) as caught:
        check_weights(space, begun)
    return str(caught.value)


def test_missing_weights_are_refused_with_the_trials_and_the_ways_out() -> None:
    message = refusal(space(TRIALS))
    assert message.startswith("seen, both: ")
    assert "--set perceptual.weights=PATH" in message
    assert message.endswith("--set 'published=[plain, weightless, trees]'")


def test_a_file_is_given_to_those_that_look_at_it(tmp_path: Path) -> None:
    given = space(TRIALS, f"perceptual.weights={tmp_path / 'vgg.pth'}").trials
    assert {name for name, config in given.items() if config.family != "forest" and config.perceptual.weights} == {
        "seen",
        "both",
    }


def test_trials_that_do_not_run_need_no_weights() -> None:
    check_weights(space(TRIALS, "published=[plain, weightless, trees]"))


def test_weights_that_are_there_are_enough(tmp_path: Path) -> None:
    (tmp_path / "vgg.pth").touch()
    check_weights(space(TRIALS, f"perceptual.weights={tmp_path / 'vgg.pth'}", "perceptual.convention=caffe"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.pth") in refusal(space(TRIALS, f"perceptual.weights={tmp_path / 'none.pth'}"))


def test_a_path_in_a_space_must_be_whole_because_trials_run_in_other_folders() -> None:
    message = refusal(space("trials: {a: {generator: dcsrn, losses: {perceptual: 1}, perceptual: {weights: vgg.pth}}}"))
    assert "perceptual.weights is vgg.pth; write the whole path" in message


@pytest.mark.parametrize("weight", ["{float: [0, 1]}", "{choice: [0, 1]}", "[0, 0.5, 1]"])
def test_a_search_that_may_draw_the_loss_needs_weights(weight: str) -> None:
    message = refusal(space(f"{SEARCH}  losses.perceptual: {weight}\n"))
    assert message.startswith("the search: ")
    assert message.endswith("--set losses.perceptual=0")


def test_a_search_without_the_loss_needs_none() -> None:
    check_weights(space(SEARCH))
    check_weights(space(f"{SEARCH}  losses.perceptual: {{float: [0, 1]}}\n", "losses.perceptual=0"))


def test_a_search_looks_for_what_it_fixes_and_for_all_that_it_chooses_from(tmp_path: Path) -> None:
    (tmp_path / "a.pth").touch()
    text = f"{SEARCH}  losses.perceptual: {{float: [0, 1]}}\n"
    found, convention = f"perceptual.weights={tmp_path / 'a.pth'}", "perceptual.convention=caffe"
    check_weights(space(text, found, convention))
    either = f"search.perceptual.weights=[{tmp_path / 'a.pth'}, {tmp_path / 'b.pth'}]"
    assert str(tmp_path / "b.pth") in refusal(space(text, either, convention))


def test_trials_that_have_ended_need_no_weights_any_more(tmp_path: Path) -> None:
    sweep = SweepDirectory(tmp_path / "sweep")
    for number, name in enumerate(["seen", "plain"]):
        write_json(sweep.trial(number).origin, {"name": name})
        write_json(sweep.trial(number).outcome, {"outcome": "completed"})
    message = refusal(space(TRIALS), sweep)
    assert message.startswith("both: ")
    assert message.endswith("put the file back where it was when the sweep began")
