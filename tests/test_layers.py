"""Imports point downward only, and each heavy library has one door."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {"cli": 4, "dashboard": 4, "search": 3, "training": 2, "models": 1, "results": 1, "data": 0}
DOORS = {
    "SimpleITK": {"data"},
    "ray": {"search"},
    "optuna": {"search", "results"},
    "sklearn": {"models"},
    "streamlit": {"dashboard"},
    "torch": {"data", "models", "training"},
}
FILES = sorted((ROOT / "mrisynth").rglob("*.py")) + sorted((ROOT / "dashboard").rglob("*.py"))


def room_of(path: Path) -> str | None:
    """The part of the house that a file belongs to; None for the foundation (errors, files, config)."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "dashboard":
        return "dashboard"
    room = "cli" if parts[1] == "__main__" else parts[1]
    return room if room in LAYERS else None


def imported(path: Path) -> set[str]:
    """Every module that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_every_part_of_the_house_is_checked() -> None:
    rooms = {room_of(path) for path in FILES}
    assert rooms == set(LAYERS) | {None}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    room = room_of(path)
    layer = LAYERS[room] if room else -1
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "mrisynth" and len(parts) > 1 and parts[1] in LAYERS:
            target = parts[1]
            assert target == room or LAYERS[target] < layer, f"{path} ({room}) imports {name}"
            if room == "dashboard":
                assert target == "results", f"{path}: the dashboard reads mrisynth.results only, not {name}"
        assert parts[0] != "dashboard" or room == "dashboard", f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_have_one_door(path: Path) -> None:
    room = room_of(path)
    for name in imported(path):
        library = name.split(".")[0]
        if library in DOORS:
            assert room in DOORS[library], f"{path}: {library} is imported in {sorted(DOORS[library])} only"


def test_optuna_stays_out_of_reading_results() -> None:
    for path in (ROOT / "mrisynth" / "results").glob("*.py"):
        if path.name != "importance.py":
            assert not any(name.split(".")[0] in ("optuna", "torch", "ray") for name in imported(path)), path
