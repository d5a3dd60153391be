"""A sweep as a job of a running Ray cluster: the cluster runs the driver, and whoever submitted may go home."""

import os
import time
from importlib.util import find_spec
from typing import Any

from mrisynth.errors import ClusterError, UsageError
from mrisynth.search.submission.entry import Entry, checked, command, plain

_ENDED = {"STOPPED", "SUCCEEDED", "FAILED"}
_SWEEP = "mrisynth-sweep"


def submit(entry: Entry, address: str, *, program: str = "mrisynth") -> str:
    """Submit the sweep, unless a job of the cluster drives it already.

    Args:
        entry: what shall be run.
        address: of the cluster's dashboard, like "http://127.0.0.1:8265".
        program: how the head calls mrisynth; the whole path where it is in an environment of its own.

    Returns:
        The job's id.

    Raises:
        UsageError: a job that has not ended drives this sweep, or the address is not a URL.
        ClusterError: the cluster cannot be reached, or refuses us, or Ray's part for jobs is not installed here.
    """
    checked(entry)
    plain("--program", program)
    if not address.startswith(("http://", "https://")):
        raise UsageError(
            f"--address is {address!r}; give the URL of the cluster's dashboard, like http://127.0.0.1:8265"
        )
    if find_spec("aiohttp") is None:
        raise ClusterError("submitting jobs needs more of Ray than searching: pip install 'mrisynth[cluster]'")
    # Before Ray is imported, which looks once. A cluster without a token is left to those who set it to "disabled".
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
        _refuse_twice(client, entry)
        return str(
            client.submit_job(
                entrypoint=command(entry, program=program),
                submission_id=f"mrisynth-{entry.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}",
                metadata={_SWEEP: entry.folder},
            )
        )
    except AuthenticationError:
        raise ClusterError(
            f"the Ray cluster at {address} does not take our token; show it the token of its head: "
            "RAY_AUTH_TOKEN_PATH=FILE or ~/.ray/auth_token"
        ) from None
    except (ConnectionError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ClusterError(f"the Ray cluster at {address} cannot be used: {reason}") from error


def _refuse_twice(client: Any, entry: Entry) -> None:
    """A sweep has one driver; a second one would only be refused later."""
    for job in client.list_jobs():
        if (job.metadata or {}).get(_SWEEP) == entry.folder and str(job.status.value) not in _ENDED:
            raise UsageError(f"job {job.submission_id} drives {entry.folder} already; ray job status tells how far")
