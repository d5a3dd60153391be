"""Preparation over Ray: the same bits as by processes, whoever dies."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mrisynth.data.cohort import read_pairs
from mrisynth.data.jobs import Ended, Needs, Started, Workers
from mrisynth.data.preparation.cohort import PreparationConfig, prepare
from mrisynth.data.store.verification import verify_store
from mrisynth.errors import ClusterError, InvalidInputError, MrisynthError
from mrisynth.search.engine import ray_session

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

QUICK = {"registration": {"method": "affine", "levels": 1, "affine_iterations": 3}, "bias": {"enabled": False}}
CONFIG = PreparationConfig.model_validate(QUICK)
SPLITS = {"phantom-01": "train", "phantom-02": "validation", "phantom-03": "test"}
SMALL = Needs(2**20)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Ray with a node for the driver alone, and one that works; workers find this file."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.add_node(num_cpus=2)
    with ray_session(cluster.address):
        yield cluster
    cluster.shutdown()
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


def run(function, jobs, **options):
    from mrisynth.search.tasks import run_tasks

    return run_tasks(function, jobs, **{"needs": [SMALL] * len(jobs), **options})


def prepared(phantom_scans, store, workers, **options):
    """Prepare the phantom cohort; what came out: key -> digest of its volumes, and the cohort."""
    pairs = read_pairs(phantom_scans)
    report = prepare(pairs, store, config=CONFIG, splits=SPLITS, seed=5, workers=workers, **options)
    assert {part.state for part in verify_store(store)} == {"whole"}
    volumes = {path.parent.name: path.read_bytes() for path in (store / "subjects").glob("*/volumes.arrow")}
    return report, {key: hashlib.sha256(data).hexdigest() for key, data in volumes.items()}


@pytest.fixture(scope="module")
def expected(phantom_scans, tmp_path_factory):
    """What processes of this machine make of the phantom cohort."""
    report, volumes = prepared(phantom_scans, tmp_path_factory.mktemp("expected") / "store", Workers(2))
    return report.data_key, volumes


def workers(limit=None):
    from mrisynth.search.tasks import run_tasks

    return Workers(limit, run_tasks)


# Jobs: importable by name in the workers


def note_and_wait(folder):
    """Tell who runs, the first time, and wait to be killed; the second time be done."""
    note = folder / "pid"
    if note.exists():
        return os.getpid()
    note.write_text(str(os.getpid()), encoding="utf-8")
    return signal.sigwait({signal.SIGUSR1})


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(name):
    raise InvalidInputError(f"{name} is bad")


def count_threads(_):
    import SimpleITK

    return SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads(), os.getpid()


def read_note(folder):
    deadline = time.monotonic() + 60
    while not (folder / "pid").exists() or not (text := (folder / "pid").read_text(encoding="utf-8")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(text)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_end_of(pid):
    deadline = time.monotonic() + 30
    while is_alive(pid):
        assert time.monotonic() < deadline, f"{pid} lives on"
        time.sleep(0.02)


def test_the_same_volumes_keys_and_steps_as_from_processes(phantom_scans, tmp_path, expected):
    steps = []
    report, volumes = prepared(phantom_scans, tmp_path / "store", workers(), progress=steps.append)
    assert (report.data_key, volumes) == expected
    assert sorted(report.built) == sorted(SPLITS)
    assert sorted((step.subject, step.event) for step in steps) == sorted(
        (subject, event) for subject in SPLITS for event in ("started", "built")
    )
    assert (steps[-1].done, steps[-1].remaining) == (3, 0)


def test_every_task_has_a_process_of_its_own_and_one_thread():
    results = [event.result for event in run(count_threads, [0, 1, 2], limit=1) if isinstance(event, Ended)]
    assert [threads for threads, _ in results] == [1, 1, 1]
    assert len({pid for _, pid in results}) == 3


def test_a_limit_holds():
    events = list(run(count_threads, [0, 1], limit=1))
    assert [(type(event), event.index) for event in events] == [(Started, 0), (Ended, 0), (Started, 1), (Ended, 1)]


def test_a_killed_worker_is_replaced(tmp_path):
    events = run(note_and_wait, [tmp_path])
    assert next(events) == Started(0)
    killed = read_note(tmp_path)
    os.kill(killed, signal.SIGKILL)
    again, end = events
    assert again == Started(0)
    assert end.error is None
    assert end.result != killed


def test_a_job_that_kills_every_worker_ends_after_a_few_and_as_a_death():
    *_, end = run(die, [0])
    assert end.died
    assert end.error == "its worker died, 4 times; look at that node's memory"


def test_what_a_job_refuses_is_refused_at_once():
    events = list(run(refuse, ["ant"]))
    assert events == [Started(0), Ended(0, error="ant is bad")]


def test_closing_the_events_ends_the_tasks(tmp_path):
    events = run(note_and_wait, [tmp_path])
    next(events)
    pid = read_note(tmp_path)
    events.close()
    wait_for_end_of(pid)


DRIVER = """
import sys
from pathlib import Path

from mrisynth.cli.signals import stoppable
from mrisynth.search.engine import ray_session

with stoppable("hint") as catch, ray_session(sys.argv[1]):
    catch()
    from test_tasks import note_and_wait, run

    list(run(note_and_wait, [Path(sys.argv[2])]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_driver_that_is_stopped_or_killed_takes_its_tasks_along(cluster, tmp_path, number):
    command = [sys.executable, "-c", DRIVER, cluster.address, str(tmp_path)]
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")
    pid = read_note(tmp_path)
    driver.send_signal(number)
    _, said = driver.communicate(timeout=60)
    wait_for_end_of(pid)
    assert ("stopped: hint" in said) == (number != signal.SIGKILL)


def test_a_file_that_a_node_does_not_see_stops_the_preparation_and_asks_for_a_shared_folder(tmp_path):
    *_, end = run(refuse, ["ant"], needs=[Needs(2**20, (tmp_path, tmp_path / "gone.nii"))])
    assert end.machine
    assert f"{tmp_path / 'gone.nii'} does not exist on the node" in end.error
    assert "shared folder" in end.error


def test_another_version_on_a_node_is_refused(monkeypatch):
    from mrisynth.search import tasks

    monkeypatch.setattr(tasks, "__version__", "999")
    *_, end = run(refuse, ["ant"])
    assert end.machine
    assert "not 999; install the same version on every node" in end.error


def test_a_job_too_large_for_every_node_is_refused_at_once():
    with pytest.raises(ClusterError, match=r"asks for a CPU core and 1000000\.0 GB of memory, and no node"):
        next(run(refuse, ["ant"], needs=[Needs(10**15)]))


def test_code_that_a_node_does_not_have_is_one_sentence(monkeypatch):
    import types

    module = types.ModuleType("only_here")
    exec("def job(_): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(ClusterError, match=r"cannot run mrisynth .*only_here.*install the same version"):
        list(run(module.job, [0]))


# The node itself


def test_a_node_that_dies_in_the_middle_takes_no_subject_along(cluster, tmp_path, phantom_scans, expected):
    (node,) = cluster.worker_nodes
    events = run(note_and_wait, [tmp_path])
    assert next(events) == Started(0)
    pid = read_note(tmp_path)
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=2)
    again, end = events
    assert again == Started(0)
    assert (end.error, end.result == pid) == (None, False)

    (node,) = cluster.worker_nodes

    def kill_node(step):
        if step.event == "built" and node in cluster.worker_nodes:
            cluster.add_node(num_cpus=2)
            cluster.remove_node(node, allow_graceful=False)

    report, volumes = prepared(phantom_scans, tmp_path / "store", workers(), progress=kill_node)
    assert node not in cluster.worker_nodes
    assert (report.data_key, volumes) == expected
    assert sorted(report.built + report.reused) == sorted(SPLITS)


def test_a_subject_whose_workers_keep_dying_is_never_skipped(phantom_scans, tmp_path, monkeypatch):
    from mrisynth.search import tasks

    monkeypatch.setattr(tasks, "TRIES", 1)

    def kill_all(function, jobs, *, limit, needs):
        return run(die, [0] * len(jobs), limit=limit, needs=needs)

    with pytest.raises(MrisynthError, match="may not lie in the scans") as caught:
        prepared(phantom_scans, tmp_path / "store", Workers(run=kill_all), skip_invalid=True)
    assert all(name in str(caught.value) for name in SPLITS)
    assert not (tmp_path / "store" / "cohort.json").exists()
