"""What may not change between two drives of one sweep: the space that it searches, and what its trials are drawn by."""

from difflib import ndiff
from typing import Any

from mrisynth.errors import InvalidInputError
from mrisynth.files import read_json
from mrisynth.results.store import SweepDirectory

KEPT = ("seed", "set", "objectives", "constraints", "resources")
"""Of what was asked for (`sweep.yaml`): all but the budget, which `extend` changes, and where things are."""

_SHOWN = 6


def what_was_asked(space: str, asked: dict[str, Any]) -> dict[str, Any]:
    """What `lineage.json` keeps of it, to be compared later.

    Args:
        space: the text of the space.
        asked: the content of `sweep.yaml`.
    """
    return {"space": space, **{key: asked.get(key) for key in KEPT}}


def refuse_changes(sweep: SweepDirectory, asked: dict[str, Any]) -> None:
    """Refuse to go on with a sweep whose files say something else than when it began.

    Raises:
        InvalidInputError: the space or what was set has changed; the message names the lines.
    """
    begun = read_json(sweep.lineage).get("asked")
    if begun is None:  # made by a version that did not keep it
        return
    lines = _changed_lines(begun["space"], sweep.space_yaml.read_text(encoding="utf-8"))
    if lines:
        more = f" and {len(lines) - _SHOWN} lines more" if len(lines) > _SHOWN else ""
        raise InvalidInputError(
            f"{sweep.space_yaml} has changed since the sweep began: {'; '.join(lines[:_SHOWN])}{more}; put it back, "
            "or start a new sweep (a larger budget: mrisynth extend)"
        )
    for key in KEPT:
        if asked.get(key) != begun.get(key):
            raise InvalidInputError(
                f"{sweep.sweep_yaml}: {key} was {begun.get(key)} when the sweep began and is {asked.get(key)}; "
                "put it back, or start a new sweep"
            )


def _changed_lines(before: str, after: str) -> list[str]:
    """The lines that differ: "- as it was", "+ as it is"."""
    return [line.rstrip() for line in ndiff(before.splitlines(), after.splitlines()) if line[0] in "-+"]
