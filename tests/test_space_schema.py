"""The JSON Schema of a space file takes what the check takes, and refuses what it refuses where a schema can say so."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mrisynth.errors import InvalidInputError
from mrisynth.search.space import parse_space
from mrisynth.search.space_schema import space_schema
from mrisynth.search.yaml_document import plain_value
from mrisynth.shipped import search_spaces
from mrisynth.training.config import parameters

VALIDATOR = jsonschema.Draft7Validator(space_schema())
SHIPPED = sorted(search_spaces().glob("*.yaml"))
DOCS = (Path(__file__).parents[1] / "docs" / "spaces.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)

GOOD = """\
description: small
objectives: {psnr: maximize, seam: minimize}
constraints: {seam: {max: 1.5}, generator_parameters: {max: 2e6}}
budget: {trials: 5}
sampler: tpe
pruner: {halving: {rungs: [0.1, 0.3], keep: 0.33}}
resources: {cpu: 1, gpu: auto}
fixed: {epochs: 3, unet: {levels: 5}}
search:
  generator: [dcgan, unet]
  dcgan.kernels: {choice: [[3, 3], [5, 5]], when: {generator: {not: unet}}}
  unet.filters: {int: [4, 8], log: true}
  losses.l1: {float: [0.1, 10], log: true}
  patches.size: [32, 64]
trials:
  one: {generator: unet, epochs: 2}
published: [one]
"""


def faults(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(plain(text))]


def plain(text: str) -> Any:
    return plain_value(text, "my.yaml")


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(space_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_space_keeps_to_it(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_of_the_documentation_keeps_to_it(text: str) -> None:
    assert faults(text) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("sampler: tpe", "sampler: tpee"),
        ("psnr: maximize", "psnr: minimize"),
        ("psnr: maximize", "psnrr: maximize"),
        ("seam: {max: 1.5}", "seam: {maximum: 1.5}"),
        ("seam: {max: 1.5}", "seam: 1.5"),
        ("seam: {max: 1.5}", "seem: {max: 1.5}"),
        ("trials: 5", "trials: 0"),
        ("trials: 5", "trails: 5"),
        ("budget: {trials: 5}\n", ""),
        ("pruner: {halving", "pruner: {halve"),
        ("keep: 0.33", "keep: 2"),
        ("epochs: 3", "epochs: three"),
        ("levels: 5", "levelz: 5"),
        ("[dcgan, unet]", "[dcgan, unte]"),
        ("[dcgan, unet]", "unet"),
        ("when: {generator", "when: {generatr"),
        ("{not: unet}", "{is: unet}"),
        ("{not: unet}", "{not: unte}"),
        ("[[3, 3], [5, 5]]", "[[3, x]]"),
        ("int: [4, 8]", "float: [4, 8]"),
        ("int: [4, 8]", "int: [4]"),
        ("int: [4, 8]", "int: [0, 8]"),
        ("losses.l1:", "losses.ll1:"),
        ("log: true}\n  patches", "logs: true}\n  patches"),
        ("one: {generator: unet", "one: {generater: unet"),
        ("generator: unet, epochs: 2", "epochs: 2"),
        ("search:", "serach:"),
    ],
)
def test_what_it_refuses_the_check_refuses_too(right: str, wrong: str) -> None:
    assert right in GOOD
    text = GOOD.replace(right, wrong, 1)
    assert faults(text)
    with pytest.raises(InvalidInputError, match=r"space my\.yaml, line \d+, column \d+: "):
        parse_space(text, "my.yaml")


def test_the_unchanged_space_is_right() -> None:
    assert faults(GOOD) == []
    parse_space(GOOD, "my.yaml")


def test_a_grid_needs_no_budget() -> None:
    text = "sampler: grid\nsearch:\n  generator: [unet, dcgan]\n"
    assert faults(text) == []
    parse_space(text, "my.yaml")


def test_every_parameter_is_described() -> None:
    search = space_schema()["properties"]["search"]["properties"]
    assert set(search) == set(parameters())
    assert all(len(entry["description"]) > 20 for entry in search.values())
