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


def refuse_other_search(sweep: SweepDirectory, space: str, asked: dict[str, Any]) -> None:
    """Refuse to go on with a sweep as if it were another one of the same name.

    Args:
        sweep: what is there.
        space: the text of the space that is asked for now.
        asked: what is asked for now, as `sweep.yaml` would hold it; `KEPT` of it are looked at, but for budgets.

    Raises:
        InvalidInputError: it searches something else; the message says what.
    """
    begun = read_json(sweep.lineage).get("asked") or {}
    lines = _changed_lines(begun.get("space", space), space)
    differences = [f"the space: {'; '.join(lines[:_SHOWN])}"] if lines else []
    for key in KEPT:
        before, now = (_without_budget(value) for value in (begun.get(key, asked[key]), asked[key]))
        if before != now:
            differences.append(f"{key} was {before} and is {now}")
    if differences:
        raise InvalidInputError(
            f"{sweep.root} exists and searches something else ({'; '.join(differences)}); take another name"
        )


def _without_budget(value: Any) -> Any:
    """What was set on top of a space, without the budgets: they may grow."""
    if not isinstance(value, dict):
        return value
    return {key: part for key, part in value.items() if not key.startswith("budget")}


def _changed_lines(before: str, after: str) -> list[str]:
    """The lines that differ: "- as it was", "+ as it is"."""
    return [line.rstrip() for line in ndiff(before.splitlines(), after.splitlines()) if line[0] in "-+"]
