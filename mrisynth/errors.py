"""What a user's mistake or a user's machine can do wrong, each with its exit code.

A `MrisynthError` is printed as one sentence without a traceback; anything else is a bug and crashes loudly.
"""


class MrisynthError(Exception):
    """Something failed while running, for a reason that the user can act on."""

    exit_code = 1


class UsageError(MrisynthError):
    """The command was called in a way that makes no sense."""

    exit_code = 2


class InvalidInputError(MrisynthError):
    """A config, a space or data is not valid."""

    exit_code = 3


class NewerError(InvalidInputError):
    """A newer mrisynth wrote a file, in a form that this one does not know."""


class NotFoundError(MrisynthError):
    """A sweep, a trial, a store or a file that was named does not exist."""

    exit_code = 4


class NoCompletedTrialError(MrisynthError):
    """A sweep ended and none of its trials completed."""

    exit_code = 5


class HeldError(MrisynthError):
    """Another driver holds the sweep, and lives."""

    exit_code = 6


class ClusterError(MrisynthError):
    """The Ray cluster cannot be reached, or refuses us."""

    exit_code = 7
