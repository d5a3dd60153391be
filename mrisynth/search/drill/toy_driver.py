"""A driver of a toy sweep that may kill itself: python -m mrisynth.search.drill.toy_driver FOLDER"""

import sys
from pathlib import Path

from mrisynth.results.store import SweepDirectory
from mrisynth.search.drill.traps import SetTrap, arm, trap_file


def main(folder: Path) -> None:
    """Start the sweep or go on with it, to its end or into a trap."""
    sweep = SweepDirectory(folder)
    arm(SetTrap(trap_file(sweep)).look)
    from mrisynth.search.drill.toy_sweep import toy_search
    from mrisynth.search.driver import drive_and_index
    from mrisynth.search.lease import hold

    with hold(sweep) as lease:
        outcome = drive_and_index(toy_search(sweep, lease, progress=_say), lease)
    _say(f"{outcome.state} {outcome.signal}")


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
