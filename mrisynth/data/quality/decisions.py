"""What people decided about subjects: STORE/decisions.json, written whole or not at all."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.files import read_json, write_json

Verdict = Literal["accepted", "excluded"]


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's word on one subject.

    Attributes:
        verdict: accepted (looked at, and good) or excluded (left out of the cohort).
        reason: in the person's words; may be empty for an accepted subject.
        who: the account's name.
        when: UTC, ISO 8601.
        key: the content key of the prepared subject that was looked at.
    """

    verdict: Verdict
    reason: str
    who: str
    when: str
    key: str


def read_decisions(store: Path) -> dict[str, Decision]:
    """Subject -> what was decided; empty where nothing was.

    Raises:
        InvalidInputError: the file is damaged; an exclusion must not be forgotten in silence.
    """
    path = store / "decisions.json"
    try:
        return {subject: Decision(**entry) for subject, entry in read_json(path)["decisions"].items()}
    except NotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInputError(f"{path} is damaged; repair it, or delete it to drop all decisions") from None


def write_decisions(store: Path, decisions: dict[str, Decision]) -> None:
    """Replace the file; the caller holds the lock of the cohort."""
    entries = {subject: asdict(decision) for subject, decision in sorted(decisions.items())}
    write_json(store / "decisions.json", {"schema_version": 1, "decisions": entries})
