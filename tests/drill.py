"""A driver of a real, small search that kills itself at a given moment: python drill.py FOLDER MOMENT

FOLDER is the sweep: it is started, or resumed, on the store beside its results folder. For moments see
`mrisynth.search.drill.traps`.
"""

import sys
from pathlib import Path

from mrisynth.search.drill.traps import Trap, arm


def drive(sweep):
    from search_fixtures import SPACE

    from mrisynth.search.driver import resume_sweep, start_sweep
    from mrisynth.search.launch import Launch, NewSweep
    from mrisynth.search.space import parse_space

    launch = Launch(max_concurrent=1)
    if sweep.exists():
        resume_sweep(sweep, launch=launch)
    else:
        space, store = parse_space(SPACE, "small.yaml"), sweep.parent.parent / "store"
        start_sweep(NewSweep(space, store, sweep.parent, sweep.name, seed=3), launch=launch)


if __name__ == "__main__":
    trap = Trap.parse(sys.argv[2])
    arm(lambda: trap)
    drive(Path(sys.argv[1]))
