"""What is wrong in a space file: one sentence each, with line, column and remedy."""

import re
from pathlib import Path

import pytest
from space_fixtures import minimal, mistakes, only_mistake

from mrisynth.errors import InvalidInputError
from mrisynth.search.space import (
    load_space,
    parse_space,
    sample_configs,
)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("losses.ll1: [1, 2]", "unknown parameter 'losses.ll1'; did you mean 'losses.l1'?"),
        ("unet: {int: [1, 2]}", "unknown parameter 'unet'; it is a block"),
        ("epochs: {int: [0, 3]}", "epochs is 0; it must be an integer"),
        ("epochs: {int: [3, 3]}", "epochs is a range from 3 to 3; low must be less than high: fix it instead"),
        ("epochs: {int: [3]}", "a range has two bounds"),
        ("epochs: {int: 3}", "a range has two bounds"),
        ("losses.l1: {float: 3}", "a range has two bounds"),
        ("losses.l1: {float: }", "a range has two bounds"),
        ("dcgan.depth: {int: [null, 3]}", "has null, which is no number, for an end of its range"),
        ("epochs: {float: [1, 3]}", "write 'int:', not 'float:'"),
        ("losses.l1: {int: [1, 3]}", "write 'float:', not 'int:'"),
        ("losses.l1: {float: [0, 3], log: true}", "low must be greater than 0"),
        ("losses.l1: {float: [1, 3], log: on}", "it must be true or false"),
        ("losses.l1: {float: [1, 3], log: true, step: 1}", "only a range without log"),
        ("epochs: {int: [1, 4], step: 2}", "does not lead from 1 to 4"),
        ("epochs: {int: [1, 4], step: 0}", "it must be a positive integer"),
        ("epochs: {int: [1, 4], choice: [3]}", "has both int and choice; keep one of them"),
        ("epochs: {log: true}", "needs one of float"),
        ("epochs: {intt: [1, 4], int: [1, 4]}", "unknown key 'intt'; did you mean 'int'?"),
        ("epochs: 3", "write it under 'fixed'"),
        ("epochs:", "has no values; write a list like [a, b], or a range like {int: [low, high]}"),
        ("losses.l1: {float: (0.1, 1)}", "a range has two bounds: float: [low, high], in brackets"),
        ("losses.l1: {float: [0,1, 1,0]}", "decimals have a point, not a comma"),
        ("losses.l1: {low: 0.1, high: 1}", "losses.l1 has low, high, and needs one of float: [low, high]"),
        ("epochs: {int: [3, 1]}", "low must be less than high: swap them: [1, 3]"),
        ("epochs: {int: [1, 10], step: 4}", "write [1, 9]"),
        ("epochs: ['1', 2]", 'epochs is "1"; it must be an integer from 1 to 100000; write it without quotes'),
        ("select: [Last, best]", "did you mean 'last'?"),
        ("lr: [1, 2, 3]", "did you mean 'optimizer.generator_lr' or 'optimizer.discriminator_lr'?"),
        ("batch_size: [1, 2]", "did you mean 'optimizer.batch_size'?"),
        ("epochs: {int: [1, 2], when: {generator: not unet}}", "to exclude a value, write {not: unet}"),
        ("epochs: {int: [1, 2], when: {or: [{generator: unet}]}}", "{a: [1, 2]} where either does"),
        ("epochs: []", "has no values to choose from"),
        ("epochs: [1, 2, 1]", "epochs has 1 twice; remove one of them"),
        ("epochs: [1, 2.5]", "epochs is 2.5; it must be an integer"),
        ("epochs: [1, 2.0]", "epochs is 2.0; it must be an integer from 1 to 100000; did you mean 2?"),
        ("epochs: [1, two]", "epochs is two; it must be an integer"),
        ("select: [last, bset]", "did you mean 'best'?"),
        ("select: {int: [1, 2]}", "write a list of choices"),
        ("output.tanh: [true, no]", "output.tanh is no; it must be true or false; did you mean false?"),
        ("dcgan.filters: [[16, 0]]", "dcgan.filters is [16, 0]"),
        ("dcgan.filters: [16, 32]", "a choice between lists, but 16 is none; write [[16, 32]], a list of lists"),
        ("dcsrn.units: {int: [1, 2]}", "dcsrn.units is never used: it needs generator: dcsrn"),
        ("patchgan.layers: {int: [1, 2]}", "patchgan.layers is never used: it needs adversary: patchgan"),
        ("losses.adversarial: {float: [1, 2]}", "losses.adversarial is never used"),
        ("epochs: {int: [1, 2], when: {seed: 1}}", "seed is neither fixed nor searched here"),
        ("epochs: {int: [1, 2], when: {sead: 1}}", "unknown parameter 'sead'; did you mean 'seed'?"),
        ("epochs: {int: [1, 2], when: {generator: fcn}}", "generator is never fcn here"),
        ("epochs: {int: [1, 2], when: {generator: unett}}", "it is one of unet, dcgan; did you mean 'unet'?"),
        ("epochs: {int: [1, 2], when: {generator: {not: [unet, dcgan]}}}", "epochs is never used"),
        ("epochs: {int: [1, 2], when: {generator: {is: unet}}}", "write {generator: value}"),
        ("epochs: {int: [1, 2], when: {generator: }}", "write {generator: value}"),
        ("epochs: {int: [1, 2], when: unet}", "write {parameter: value}"),
        ("epochs: {int: [1, 2], when: {epochs: 1}}", "epochs depends on itself; take that condition away"),
        (
            "dcgan.depth: {choice: [2], when: {generator: unet}}",
            "dcgan.depth is never used: it needs generator: dcgan and generator: unet, which exclude one another",
        ),
    ],
)
def test_mistakes_in_the_search_are_named_with_their_line(line: str, sentence: str) -> None:
    found = only_mistake(minimal(line))
    assert found.startswith("space my.yaml, line 4, column ")
    assert sentence in found


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("objectivs: {psnr: maximize}", "unknown key 'objectivs'; did you mean 'objectives'?"),
        ("objectives: {psnrr: maximize}", "unknown metric 'psnrr'; did you mean 'psnr'?"),
        ("objectives: {psnr: minimize}", "write 'psnr: maximize'"),
        ("objectives: {mae: max}", "write 'mae: minimize'"),
        ("objectives: {}", "objectives is empty"),
        ("objectives: psnr", "it must be a mapping"),
        ("objectives: {generator_parameters: minimize}", "bound it instead: 'constraints: {generator_parameters: "),
        ("sampler: TPE", "sampler is TPE; it must be tpe, nsga2, random or grid; did you mean 'tpe'?"),
        ("pruner: halving", "write {halving: "),
        ("pruner: {median: {}}", "unknown pruner 'median'"),
        ("pruner: {halving: 3}", "pruner.halving is 3; it must be a mapping, like {rungs: [0.05, 0.15], keep: 0.4}"),
        ("pruner: {halving: }", "it needs settings; write {halving: "),
        ("pruner: {halving: {rungs: [0.3, 0.1], keep: 0.5}}", "larger than the one before: write [0.1, 0.3]"),
        ("pruner: {halving: {rungs: [0.3, 1.2], keep: 0.5}}", "rungs has 1.2; it must be a fraction between 0 and 1"),
        ("pruner: {halving: {rungs: [30%], keep: 0.5}}", "rungs has 30%; it must be a fraction between 0 and 1"),
        ("pruner: {halving: {rungs: [], keep: 0.5}}", "rungs is []; it must be a list of fractions, like [0.05, 0.15]"),
        ("pruner: {halving: {rungs: [0.3], keep: 1}}", "keep is 1; it must be a fraction between 0 and 1, like 0.3"),
        ("pruner: {halving: {rungs: [0.3]}}", "pruner.halving.keep is missing"),
        ("pruner: {halving: {rungs: [0.3], keep: 0.3, quota: -1}}", "pruner.halving.quota is -1; it must be greater"),
        ("pruner: {halving: {rungs: [0.3], keep: 0.3, quoat: 1}}", "did you mean 'quota'?"),
        ("resources: {cpu: 0}", "resources.cpu is 0; it must be greater than 0"),
        ("resources: {gpu: 1.5}", "resources.gpu is 1.5; it must be auto"),
        ("resources: {int: 1}", "unknown key 'resources.int'; known: cpu, gpu"),
        ("epochs: 3", "unknown key 'epochs'; it is a parameter: write it under 'fixed' or 'search'"),
        ("unet: {filters: 8}", "unknown key 'unet'; it is a parameter: write it under 'fixed' or 'search'"),
        ("fixed: {epochs: ''}", 'epochs is ""; it must be an integer'),
        ("resources: {gpus: 1}", "unknown key 'resources.gpus'; did you mean 'gpu'?"),
        ("fixed: {epochs: 0}", "epochs is 0; it must be an integer"),
        ("fixed: {epochs: '3'}", "it must be an integer"),
        ("fixed: {epochs: [3, 4]}", "where it has one value; write a list of choices under 'search'"),
        ("fixed: {losses.l1: {float: [0.1, 1]}}", "a range or a condition stands under 'search'"),
        ("objectives: [psnr, ssim]", "it must be a mapping, like {psnr: maximize}"),
        ("objectives: {PSNR: maximize}", "did you mean 'psnr'?"),
        ("pruner: {halving: {rungs: 0.3, keep: 0.5}}", "it must be a list of fractions, like [0.05, 0.15]"),
        ("description: [a]", "it must be one line of text"),
        ("fixed: {generator: unet}", "generator is both fixed and searched"),
        ("fixed: {output: {tahn: true}}", "unknown parameter 'output.tahn'; did you mean 'output.tanh'?"),
        ("fixed: {dcsrn.units: 3}", "dcsrn.units is never used: it needs generator: dcsrn"),
        ("fixed: {unet: {}}", "unknown parameter 'unet'; it is a block"),
        ("fixed: [epochs]", "'fixed' is [\"epochs\"]; it must be a mapping"),
        ("published: [one]", "unknown trial one; there are none: write configurations under 'trials'"),
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
        ("budget: {trials: 1.5}", "budget.trials is 1.5; it must be a whole number"),
        ("budget: {wall: 2h}", "budget.wall is 2h; it must be a number of hours, like 1.5"),
        ("budgets: {trials: 3}", "unknown key 'budgets'; did you mean 'budget'?"),
        ("budget:{trials: 3}", "unknown key 'budget:{trials'; write a space after ':'"),
        ("budget {trials: 3}", "unknown key 'budget {trials'; write ': ' (colon and space) behind a key"),
        ("budget: {hours: -1}", "budget.hours is -1"),
        ("budget: 100", "budget is 100; it must be a mapping, like {trials: 100}"),
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


def test_conditions_in_a_circle_are_told_along_it_where_one_of_them_stands() -> None:
    text = "seed: {int: [1, 2], when: {epochs: 1}}\nepochs: {int: [1, 2], when: {select: last}}\n"
    text += "select: {choice: [last, best], when: {seed: 1}}"
    assert only_mistake(minimal(text)) == (
        "space my.yaml, line 4, column 23: seed depends on epochs, epochs depends on select and select depends on "
        "seed; take one of these conditions away"
    )


def test_one_choice_warns_that_nothing_is_searched_unless_it_has_a_condition() -> None:
    (warning,) = parse_space(minimal("epochs: [3]"), "my.yaml").warnings
    assert warning.endswith("epochs has one choice, so that nothing is searched; write epochs: 3 under 'fixed'")
    assert parse_space(minimal("epochs: {choice: [3], when: {generator: unet}}"), "my.yaml").warnings == ()


def test_a_condition_on_exact_numbers_of_a_range_warns() -> None:
    ranged = "losses.l1: {float: [0.1, 1]}\nepochs: {int: [1, 2], when: {losses.l1: 0.5}}"
    (warning,) = parse_space(minimal(ranged), "my.yaml").warnings
    assert warning.startswith("space my.yaml, line 5, column 32: losses.l1 is any number from 0.1 to 1, and so never")
    assert parse_space(minimal(ranged.replace("1]}", "1], step: 0.1}", 1)), "my.yaml").warnings == ()


def test_a_search_that_is_a_list_is_one_mistake() -> None:
    found = only_mistake("search: [generator]\nbudget: {trials: 1}\n")
    assert "'search' is [\"generator\"]; it must be a mapping" in found


def test_a_misspelt_section_or_generator_is_one_mistake() -> None:
    assert "did you mean 'search'?" in only_mistake("budget: {trials: 1}\nsaerch:\n  generator: [unet]\n")
    text = "budget: {trials: 1}\nsearch:\n  generater: [unet]\n  unet.filters: {int: [4, 8]}\n"
    assert "did you mean 'generator'?" in only_mistake(text)


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


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"a: 1\nb:\xfa\n")
    with pytest.raises(InvalidInputError, match="line 2, column 3: not a text in UTF-8; save the file"):
        load_space(tmp_path / "x.yaml")
