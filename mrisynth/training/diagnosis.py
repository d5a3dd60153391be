"""What is wrong with a trial: why it is rejected, and what is only worth a warning."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch

from mrisynth.errors import MrisynthError

Record = Mapping[str, Any]
Reason = Literal["diverged", "collapsed", "out of memory", "infeasible"]

# A generator whose output varies from patch to patch by less than this share of what high-field patches do says
# nothing of its input. Two epochs in a row, since a first epoch may pass through such a state.
_COLLAPSED = 1e-3
# What torch and CUDA's libraries say, in plain RuntimeErrors, when memory ran out.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
# A discriminator that tells nearly every patch apart; one that is undecided has ln 2. And for how many epochs in a row
# that, while the generator's adversarial loss climbs, is no coincidence.
_FLOOR, _EPOCHS = 0.05, 3


class TrialRejected(MrisynthError):  # noqa: N818 - named as the outcome is, like Optuna's TrialPruned
    """The trial's configuration, not the machine, is why it gives no result; trying it again gives the same."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)  # both, or it could not be pickled on its way between processes
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        """The sentence alone."""
        return self.message


def as_rejection(error: Exception) -> TrialRejected | None:
    """The error as a rejection of the trial: it was one, or memory ran out; None if it is something else."""
    if isinstance(error, TrialRejected):
        return TrialRejected(error.reason, error.message)
    text = str(error)
    lacking = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in text for word in _OUT_OF_MEMORY)
    if not lacking:
        return None
    first_line, *_ = text.splitlines() or [type(error).__name__]
    return TrialRejected("out of memory", f"the trial needs more memory than there is: {first_line}")


def refuse_lost_cause(epochs: int, history: Sequence[Record]) -> None:
    """Reject a trial whose losses are no numbers any more, or whose generator has collapsed.

    Args:
        epochs: how many the trial has.
        history: the records of the epochs done, the last one being judged.

    Raises:
        TrialRejected: it is a lost cause.
    """
    epoch = history[-1]["epoch"]
    refuse_not_finite(epoch, "training loss", history[-1]["train"])
    refuse_not_finite(epoch, "validation loss", history[-1]["validation"])
    refuse_not_finite(epoch, "training loss in eval mode", history[-1]["train_eval"] or {})
    latest = [record["validation"]["deviation"] for record in history[-2:]]
    if len(latest) >= min(2, epochs) and max(latest) < _COLLAPSED:
        share = f"{latest[-1]:.1e} of what the high-field patches do"
        raise TrialRejected(
            "collapsed", f"epoch {epoch}: whatever the input, the output is the same (it varies by {share})"
        )


def refuse_not_finite(epoch: int, what: str, values: Mapping[str, float]) -> None:
    """Reject a trial one of whose values is NaN or infinite.

    Raises:
        TrialRejected: it has diverged.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrialRejected("diverged", f"epoch {epoch}: the {what} {name!r} is {value}")


def find_warnings(history: Sequence[Record]) -> list[str]:
    """What is worth a warning in the last epoch and no reason to end: a discriminator that has won.

    Its loss is at its floor while the generator's adversarial loss climbs: the generator learns from it no more. The
    other losses may still make a good image of it.
    """
    latest = [record["train"] for record in history[-_EPOCHS:]]
    if len(latest) < _EPOCHS or not all({"discriminator", "adversarial"} <= losses.keys() for losses in latest):
        return []
    adversarial = [losses["adversarial"] for losses in latest]
    climbs = all(before < after for before, after in pairwise(adversarial))
    if not climbs or max(losses["discriminator"] for losses in latest) >= _FLOOR:
        return []
    return [
        f"epoch {history[-1]['epoch']}: the discriminator tells nearly every patch apart (its loss is "
        f"{latest[-1]['discriminator']:.2g}), and in {_EPOCHS} epochs the generator's adversarial loss has climbed "
        f"from {adversarial[0]:.3g} to {adversarial[-1]:.3g}"
    ]
