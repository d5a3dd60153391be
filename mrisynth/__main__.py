"""`python -m mrisynth`."""

from mrisynth.cli import main

main()
