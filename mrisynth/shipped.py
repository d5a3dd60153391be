"""What comes with the code, in an installed wheel and in a clone alike: spaces, the dashboard, recipes for clusters."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def search_spaces() -> Path:
    """The folder of the shipped spaces."""
    return _shipped("search_spaces")


def dashboard_script() -> Path:
    """The script that Streamlit runs."""
    return _shipped("dashboard") / "main.py"


def recipe(scheduler: str, file: str) -> Path:
    """A file that tells a scheduler how to run a sweep: of "kuberay" or "slurm"."""
    return _shipped("docker") / scheduler / file


def _shipped(name: str) -> Path:
    """Package data of a wheel; in a clone the folder stands beside the package."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
