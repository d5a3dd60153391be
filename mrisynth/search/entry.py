"""One command for a scheduler, which starts a job from its beginning again and again: the sweep, or the rest of it."""

import time
from collections.abc import Callable

from mrisynth.errors import UsageError
from mrisynth.results.store import SweepDirectory, open_sweep, read_yaml
from mrisynth.search.changes import refuse_other_search
from mrisynth.search.driver import resume_sweep, start_sweep
from mrisynth.search.launch import Again, Launch, NewSweep, Progress, SweepOutcome
from mrisynth.search.lease import wait_until_free
from mrisynth.search.space import Space


def start_or_resume(
    new: NewSweep,
    *,
    launch: Launch | None = None,
    progress: Progress = lambda _: None,
    pause: Callable[[float], None] = time.sleep,
) -> SweepOutcome:
    """Start a sweep, or go on with the one of that name: called with the same arguments again, it does what is left.

    A larger budget than the sweep's is taken over, a smaller one is not; a sweep that exists keeps its storage. A
    driver on another host that died within the last minute is waited for.

    Args:
        new: what it begins with.
        launch: where and how it runs.
        progress: called with one sentence whenever something happened.
        pause: called with the seconds to wait.

    Raises:
        InvalidInputError: the sweep of that name searches something else, or other data.
        HeldError: another driver has it, and lives.
        MrisynthError: as `start_sweep` and `resume_sweep`.
    """
    sweep, space = SweepDirectory(new.results / new.name), new.space
    if not sweep.root.exists():
        try:
            return start_sweep(new, launch=launch, progress=progress)
        except UsageError:
            if not sweep.root.exists():
                raise  # somebody else made it a moment ago: then it is his, or free again
    open_sweep(sweep.root)
    asked = {
        "seed": new.seed,
        "set": space.overrides,
        "objectives": dict(space.objectives),
        "constraints": space.limits,
        "resources": space.resources.model_dump(),
    }
    refuse_other_search(sweep, space.text, asked)
    wait_until_free(sweep, say=progress, pause=pause)
    progress(f"{sweep.root} exists; going on with it")
    return resume_sweep(
        sweep.root, store=new.store, launch=launch, again=_larger_budget(sweep, space), progress=progress
    )


def _larger_budget(sweep: SweepDirectory, space: Space) -> Again:
    """What the space asks for beyond the sweep's budget."""
    has, wants = read_yaml(sweep.sweep_yaml)["budget"], space.budget.model_dump()
    more = {
        f"budget_{name}": limit
        for name, limit in wants.items()
        if limit is not None and has.get(name) is not None and limit > has[name]
    }
    return Again(**more)
