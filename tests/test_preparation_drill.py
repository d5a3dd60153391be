"""A preparation is killed at random moments, and run on a disk that is really full; the next one completes it.

`MRISYNTH_KILLS=20 pytest tests/test_preparation_drill.py` kills twenty times.
"""

import ast
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mrisynth.data.store.records import is_prepared
from mrisynth.data.store.verification import BROKEN, verify_store
from mrisynth.errors import NotFoundError

KILLS = int(os.environ.get("MRISYNTH_KILLS", "6"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200 + 20 * KILLS)]

CONFIG = "bias: {enabled: false}\nregistration: {method: affine, levels: 1, affine_iterations: 3}\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "preparation.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def prepare(phantom_scans, config):
    """The command that prepares the phantom cohort into a store."""
    return lambda store: [
        *(sys.executable, "-m", "mrisynth", "data", "prepare", phantom_scans / "pairs.csv", store),
        *("--config", config, "--jobs", "2"),
    ]


def start(command):
    """The command as the leader of a process group of its own."""
    return subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        encoding="utf-8",
    )


def complete(command):
    """Run the command to its end, without anybody's help."""
    process = start(command)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said


def results(store):
    """What may not depend on who was killed: the digest of every volume by its key, and the cohort."""
    volumes = {path.parent.name: path.read_bytes() for path in (store / "subjects").glob("*/volumes.arrow")}
    cohort = json.loads((store / "cohort.json").read_bytes())
    return {key: hashlib.sha256(data).hexdigest() for key, data in volumes.items()}, cohort


def look(store):
    """What any reader sees at any time: whole subjects, and JSON that can be parsed."""
    for path in store.glob("[!.]*.json"):
        json.loads(path.read_bytes())
    for folder in store.glob("subjects/[!.]*"):
        assert is_prepared(folder), f"{folder} is visible before it is whole"
        json.loads((folder / "record.json").read_bytes())


def kill(process, victim, random_):
    """Kill the whole group, the parent alone, or one of its workers."""
    try:
        if victim == "group":
            os.killpg(process.pid, signal.SIGKILL)
        elif victim == "parent":
            process.kill()
        else:
            children = psutil.Process(process.pid).children(recursive=True)
            if children:
                random_.choice(children).kill()
    except (ProcessLookupError, psutil.NoSuchProcess):
        pass


def check_rest(store):
    """Nothing that was left is damaged; what is no finished subject is hidden and of ours."""
    try:
        parts = verify_store(store)
    except NotFoundError:
        return
    broken = [part for part in parts if part.state in BROKEN and part.path != "cohort.json"]
    assert not broken


def drill(command, store, moment, *, victim, random_):
    """One run that is disturbed after `moment` seconds, read all the while; then what is left is checked."""
    began = time.monotonic()
    process = start(command)
    while process.poll() is None and time.monotonic() - began < moment:
        look(store)
        time.sleep(0.01)
    kill(process, victim, random_)
    while process.poll() is None:
        look(store)
        time.sleep(0.01)
    check_rest(store)
    return process.stderr.read()


@pytest.fixture(scope="module")
def undisturbed(prepare, tmp_path_factory):
    """A store that nobody disturbed, and how many seconds it took."""
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    began = time.monotonic()
    complete(prepare(store))
    return store, time.monotonic() - began


def test_killed_at_random_moments_it_ends_like_an_undisturbed_preparation(prepare, undisturbed, tmp_path):
    random_ = random.Random(20261126)
    whole, duration = undisturbed
    store = tmp_path / "store"
    for draw in range(KILLS):
        victim = ("group", "parent", "worker")[draw % 3]
        moment = (draw + random_.random()) / KILLS * duration
        said = drill(prepare(store), store, moment, victim=victim, random_=random_)
        message = f"draw {draw}: {victim} killed after {moment:.2f} of {duration:.2f} s\n{said}"
        complete(prepare(store))
        assert results(store) == results(whole), message
        assert {part.state for part in verify_store(store)} == {"whole"}, message
        assert not list(store.rglob(".*")), message
        shutil.rmtree(store)


# A disk that is full

NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]

FULL = """
import os, subprocess, sys
from pathlib import Path

from mrisynth.data.store.verification import verify_store

disk, kilobytes, scans, config = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]


def mount(*options):
    subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", disk], check=True)


def prepare():
    command = [sys.executable, "-m", "mrisynth", "data", "prepare", scans, disk / "store", "--config", config]
    done = subprocess.run([*map(str, command), "--jobs", "2"], capture_output=True, encoding="utf-8", timeout=100)
    return done.returncode, done.stderr


def state():
    if not (disk / "store" / "store.json").exists():
        return {}
    return {part.path: part.state for part in verify_store(disk / "store")}


mount("-o", f"size={kilobytes}k")
first, before = prepare(), state()
hidden = [str(path) for path in disk.rglob(".*")]
mount("-o", "remount,size=64m")
second = prepare()
volumes = {path.parent.name: path.read_bytes() for path in disk.glob("store/subjects/*/volumes.arrow")}
cohort = (disk / "store" / "cohort.json").read_text(encoding="utf-8")
print(repr((first, before, hidden, second, state(), volumes, cohort)))
"""


def can_mount():
    probe = [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.call(probe, stderr=subprocess.DEVNULL) == 0


def on_a_disk_of(kilobytes, *, folder, scans, config):
    """What `FULL` found on a disk of that size, in a name space of its own."""
    folder.mkdir(exist_ok=True)
    arguments = [folder, kilobytes, scans / "pairs.csv", config]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [*NAMESPACE, sys.executable, "-c", FULL, *map(str, arguments)]
    return ast.literal_eval(subprocess.check_output(command, env=environment, encoding="utf-8"))


@pytest.mark.skipif(not can_mount(), reason="no file system may be mounted here")
def test_on_a_full_disk_it_says_so_and_goes_on_once_there_is_space(phantom_scans, config, undisturbed, tmp_path):
    whole, _ = undisturbed
    volumes, cohort = results(whole)
    pages = sum(-(-path.stat().st_size // 4096) for path in whole.rglob("*") if path.is_file())
    # Nothing at all, before the first subject, in one of them, and all but the list of the cohort.
    for kilobytes in (4, 16, 2 * pages, 4 * (pages - 1)):
        first, before, hidden, second, after, found, written = on_a_disk_of(
            kilobytes, folder=tmp_path / "disk", scans=phantom_scans, config=config
        )
        assert first[0] == 1, f"{kilobytes} kB: {first}"
        sentence = r"error: .*No space left on device.*; free space there and run the same command again"
        assert re.search(sentence, first[1]), first[1]
        assert "Traceback" not in first[1]
        assert not {state for path, state in before.items() if path != "cohort.json"} & set(BROKEN)
        assert hidden == []
        assert second[0] == 0, second[1]
        assert set(after.values()) == {"whole"}
        assert {key: hashlib.sha256(data).hexdigest() for key, data in found.items()} == volumes
        assert json.loads(written) == cohort
