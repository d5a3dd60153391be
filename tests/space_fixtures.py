"""Small spaces as text, and what is wrong with one."""

from typing import Any

import pytest
from optuna.trial import FixedTrial

from mrisynth.errors import InvalidInputError
from mrisynth.search.space import Space, parse_space

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
