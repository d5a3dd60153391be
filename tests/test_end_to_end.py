"""From scans to a leaderboard through the commands that a user types."""

import json
from pathlib import Path

import pytest
from conftest import Command

from mrisynth.results.store import SweepDirectory

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PREPARATION = "bias: {enabled: false}\nregistration: {method: affine}\n"


@pytest.fixture
def store(phantom_scans: Path, tmp_path: Path, command: Command) -> Path:
    config = tmp_path / "preparation.yaml"
    config.write_text(PREPARATION, encoding="utf-8")
    store = tmp_path / "store"
    first = command("data", "prepare", phantom_scans / "pairs.csv", store, "--config", config, "--jobs", 1)
    assert (first.code, first.stdout.strip()) == (0, str(store))
    assert "prepared 3 subjects" in first.stderr
    again = command("data", "prepare", phantom_scans / "pairs.csv", store, "--config", config)
    assert "nothing to do: all 3 subjects are prepared already" in again.stderr
    return store


def test_a_sweep_ends_with_a_leaderboard_and_its_best_trial_can_be_repeated(
    store: Path, tmp_path: Path, command: Command
) -> None:
    results = tmp_path / "results"
    asked = ("sweep", "smoke", "--data", store, "--results", results, "--name", "small", "--max-trials", 3)
    swept = command(*asked, "--set", "epochs=1")
    assert swept.code == 0, swept.stderr
    sweep = results / "small"
    status = json.loads(command("status", sweep, "--json").stdout)
    assert (status["state"], sum(status["trials"].values())) == ("done", 3)
    assert status["budget"]["trials"] == {"spent": 3, "limit": 3}
    board = json.loads(command("top", sweep, "--json").stdout)
    assert set(board["baselines"]) == {"identity", "matched"}
    best = board["trials"][0]
    assert best == {**status["best"], "gains": best["gains"]}
    assert f"│ {best['trial']} " in swept.stdout
    folder = SweepDirectory(sweep).trial(best["trial"])
    assert list(folder.images.glob("*.png"))

    # The same configuration without Ray gives the same scores, to the last digit.
    again = command("train", folder.config, "--data", store, "--out", tmp_path / "again")
    assert again.code == 0, again.stderr
    assert json.loads((tmp_path / "again" / "summary.json").read_text(encoding="utf-8"))["values"] == best["values"]

    resumed = command("resume", sweep)
    assert resumed.code == 0
    assert json.loads(command("top", sweep, "--json").stdout) == board
    taken = command(*asked)
    assert taken.code == 2
    assert "mrisynth resume" in taken.stderr
