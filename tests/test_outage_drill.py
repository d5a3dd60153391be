"""Outages in the middle of a real search over Ray, as a user starts it: none may lose or double anything.

`MRISYNTH_OUTAGE=60 pytest tests/test_outage_drill.py` makes each last a minute.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from optuna.trial import TrialState
from prepared_fixtures import make_store
from search_fixtures import SPACE, epochs_trained, kinds, outcomes

from mrisynth.results.index import read_index
from mrisynth.results.store import SweepDirectory, read_events, read_yaml, sweep_state
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.storage.claim import study_name
from mrisynth.search.study import open_study

LASTS = float(os.environ.get("MRISYNTH_OUTAGE", "6"))
TRIALS, EPOCHS = 8, 40

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300 + 10 * LASTS)]


def command(*words):
    return [sys.executable, "-m", "mrisynth", *map(str, words)]


def sweep_command(folder, storage="journal"):
    """What a user types to search with networks that train in seconds, on data that are made here."""
    space = folder / "small.yaml"
    space.write_text(SPACE.replace("epochs: 2", f"epochs: {EPOCHS}"), encoding="utf-8")
    make_store(folder / "store")
    where = ["--data", folder / "store", "--results", folder / "results", "--name", "mine", "--storage", storage]
    return command("sweep", space, *where, "--max-trials", TRIALS, "--max-concurrent", 2)


class Drive:
    """`mrisynth sweep` in a process of its own."""

    def __init__(self, folder, storage):
        self.sweep = SweepDirectory(folder / "results" / "mine")
        self.start(sweep_command(folder, storage))

    def start(self, words):
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")

    def wait_for(self, event, times):
        deadline = time.monotonic() + 120
        while not self.sweep.root.is_dir() or kinds(self.sweep).count(event) < times:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, f"there was no {event}"
            time.sleep(0.05)

    def end(self):
        """Wait for its end: what it said."""
        _, said = self.process.communicate(timeout=250)
        return said


@pytest.fixture
def drives(tmp_path):
    """Starts a drive, and ends what a failed test left of it."""
    started = []

    def start(*arguments):
        started.append(Drive(*arguments))
        return started[-1]

    yield start
    for drive in started:
        drive.process.kill()
        drive.process.communicate()


def assert_whole(sweep):
    """Exactly the trials of the budget, each trained to its end, told and counted once, and none left running."""
    assert outcomes(sweep) == dict.fromkeys(range(TRIALS), "completed")
    assert epochs_trained(sweep) == {number: list(range(1, EPOCHS + 1)) for number in range(TRIALS)}
    storage = read_yaml(sweep.sweep_yaml)["storage"]
    study = open_study(
        sweep.journal,
        objectives={"psnr": "maximize"},
        sampler=SeededSampler("tpe", 0),
        storage=storage,
        name=study_name(sweep, storage),
    )
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * TRIALS
    told = [event["number"] for event in read_events(sweep) if event["kind"] == "told"]
    assert sorted(told) == list(range(TRIALS))
    assert sorted(read_index(sweep).trials["trial"].to_pylist()) == list(range(TRIALS))
    assert sweep_state(sweep) == "done"


def test_a_database_that_stops_for_a_while(drives, tmp_path, postgres):
    drive = drives(tmp_path, postgres.url)
    drive.wait_for("epoch", 60)
    postgres.stop()
    time.sleep(LASTS)
    postgres.start()
    said = drive.end()
    assert drive.process.returncode == 0, said
    assert "cannot be used (" in said
    assert "can be used again" in said
    assert "Ray Tune broke" not in said
    assert_whole(drive.sweep)


def test_ctrl_c_while_the_database_is_gone_ends_it_and_it_goes_on_later(drives, tmp_path, postgres):
    drive = drives(tmp_path, postgres.url)
    drive.wait_for("epoch", 60)
    postgres.stop()
    time.sleep(3)
    drive.process.send_signal(signal.SIGINT)
    said = drive.end()
    postgres.start()
    assert drive.process.returncode == 130, said
    assert "nothing is lost; go on with:" in said
    drive.start(command("resume", drive.sweep.root))
    drive.end()
    assert_whole(drive.sweep)


def test_a_suspended_driver_keeps_its_sweep_from_a_second_one(drives, tmp_path, postgres):
    drive = drives(tmp_path, postgres.url)
    drive.wait_for("epoch", 60)
    drive.process.send_signal(signal.SIGSTOP)
    time.sleep(1.5 * LASTS)
    second = subprocess.run(command("resume", drive.sweep.root), capture_output=True, encoding="utf-8", check=False)
    assert second.returncode == 6
    assert f"is held by process {drive.process.pid} on" in second.stderr
    drive.process.send_signal(signal.SIGCONT)
    said = drive.end()
    assert drive.process.returncode == 0, said
    assert_whole(drive.sweep)


SMALL_DISK = """
import subprocess, sys, time
from pathlib import Path
here, lasts = Path(sys.argv[1]), float(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", here / "results"], check=True)
events = here / "results" / "mine" / "events.jsonl"
driver = subprocess.Popen(sys.argv[3:])
while not events.is_file() or events.read_text().count('"epoch"') < 60:
    time.sleep(0.05)
ballast = here / "results" / "ballast"
with ballast.open("wb", buffering=0) as stream:
    try:
        while stream.write(bytes(4096)): pass
    except OSError as error:
        print(error, file=sys.stderr)
time.sleep(lasts)
ballast.unlink()
code = driver.wait()
subprocess.run(["cp", "-a", here / "results" / "mine", here / "kept"], check=True)
sys.exit(code)
"""
NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def can_mount():
    probe = [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="no file system may be mounted here")
def test_a_disk_that_is_full_for_a_while(tmp_path):
    (tmp_path / "results").mkdir()
    # Longer than Ray takes to shut down: a driver that meets the full disk in Tune's loop looks for room only then.
    lasts = max(LASTS, 15.0)
    script = [sys.executable, "-c", SMALL_DISK, str(tmp_path), str(lasts), *sweep_command(tmp_path)]
    ended = subprocess.run([*NAMESPACE, *script], capture_output=True, encoding="utf-8", check=False)
    assert ended.returncode == 0, ended.stderr
    assert "No space left on device" in ended.stderr
    assert_whole(SweepDirectory(tmp_path / "kept"))
