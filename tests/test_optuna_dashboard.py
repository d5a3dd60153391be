"""The study is Optuna's own: its dashboard opens it, and shows our trials as they ended."""

import json
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from s3_fixtures import free_port
from search_fixtures import Executor, make_plan, make_sweep, open_conductor, outcomes, suggest_stub

from mrisynth.search.outcome import Outcome
from mrisynth.search.storage.database import parse_storage
from mrisynth.search.study import tell

pytestmark = pytest.mark.slow

SHOWN = {"completed": "Complete", "pruned": "Pruned", "rejected": "Pruned", "lost": "Fail", "running": "Running"}


@pytest.mark.parametrize("storage", ["journal", "sqlite", "postgresql"])
@pytest.mark.parametrize("objectives", [{"psnr": "maximize"}, {"psnr": "maximize", "ssim": "maximize"}])
def test_it_shows_every_trial_as_it_ended(tmp_path, storage, objectives, request):
    if storage == "postgresql":
        storage = parse_storage(request.getfixturevalue("postgres").new_database())
    sweep = make_sweep(tmp_path)
    plan = make_plan(tmp_path, objectives=objectives, rungs=(0.25,), keep=0.5)
    conductor = open_conductor(sweep, plan, storage=storage)
    Executor(conductor).run()
    ended = outcomes(sweep)
    rejected, lost, running = range(len(ended), len(ended) + 3)
    ends = {**ended, rejected: "rejected", lost: "lost", running: "running"}
    for number in (rejected, lost, running):
        suggest_stub(conductor.study.ask())
        if ends[number] != "running":
            tell(conductor.study, number, Outcome(ends[number], "", "diverged" if number == rejected else "worker"))
    assert {"completed", "pruned"} <= set(ends.values())
    url = {"journal": sweep.journal, "sqlite": f"sqlite:///{sweep.journal.parent / 'study.db'}"}.get(storage, storage)
    trials = shown_by_dashboard(url)["trials"]
    assert {trial["number"]: trial["state"] for trial in trials} == {number: SHOWN[end] for number, end in ends.items()}
    (shown,) = (trial for trial in trials if trial["number"] == lost)
    assert {note["key"]: note["value"] for note in shown["user_attrs"]} == {"seconds": "0.0", "outcome": "lost: worker"}


def shown_by_dashboard(storage):
    """The only study, as the dashboard's page gets it."""
    port = free_port()
    program = Path(sys.executable).with_name("optuna-dashboard")
    command = [program, storage, "--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref", "--quiet"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            (study,) = ask(server, port, "studies")["study_summaries"]
            return ask(server, port, f"studies/{study['study_id']}")
        finally:
            server.kill()


def ask(server, port, what):
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/{what}", timeout=30) as answer:
                return json.loads(answer.read())
        except URLError:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
