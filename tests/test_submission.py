"""Submitting a sweep: to a running Ray cluster, as a RayJob, as a batch script."""

import os
import shlex
import stat
import subprocess
from contextlib import contextmanager
from types import SimpleNamespace

import kubernetes_validate
import pytest
from kuberay_schema import refuse_what_kuberay_does_not_take
from ruamel.yaml import YAML

from mrisynth.errors import ClusterError, UsageError
from mrisynth.search.submission import job, slurm, waiting
from mrisynth.search.submission.entry import Entry, checked
from mrisynth.search.submission.entry import command as entry_command
from mrisynth.search.submission.kuberay import Pods
from mrisynth.search.submission.kuberay import render as render_rayjob

ENTRY = Entry("gan", "/data/store", "/shared/my results", "first", (("--set", "losses.l1=1; rm -rf /"),))
WHERE = ["--data", "/data/store", "--results", "/shared/results", "--name", "first"]


@pytest.mark.parametrize(
    "entry",
    [
        Entry("gan", "/data", "/results", "first\nrm -rf /"),
        Entry("gan", "/data", "/results", "../up"),
        Entry("gan", "data", "/results", "first"),
        Entry("--help", "/data", "/results", "first"),
        Entry("gan", "/data", "/results", "first", (("--set", "a\tb"),)),
    ],
)
def test_what_could_be_taken_for_something_else_is_refused(entry):
    with pytest.raises(UsageError):
        checked(entry)


def test_a_head_runs_exactly_what_was_asked_for():
    words = shlex.split(entry_command(ENTRY))
    assert words[:7] == ["mrisynth", "sweep", "gan", "--data", "/data/store", "--results", "/shared/my results"]
    assert words[-3:] == ["--address", "auto", "--or-resume"]
    assert "losses.l1=1; rm -rf /" in words


class Client:
    """A cluster that takes jobs."""

    jobs = ()

    def __init__(self, address):
        if "away" in address:
            raise ConnectionError("no route to host")

    def list_jobs(self):
        return self.jobs

    def submit_job(self, *, entrypoint, submission_id, metadata):
        self.jobs.append(
            SimpleNamespace(
                submission_id=submission_id,
                metadata=metadata,
                status=SimpleNamespace(value="RUNNING"),
                entrypoint=entrypoint,
            )
        )
        return submission_id


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setattr(job, "find_spec", lambda name: name)
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", Client)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setattr(Client, "jobs", [])
    return Client


def test_a_sweep_is_submitted_once_as_long_as_its_job_lives(cluster, command):
    answer = command("cluster", "submit", "job", "smoke", *WHERE)
    assert answer.code == 0, answer.stderr
    assert answer.stdout.strip().startswith("mrisynth-first-")
    assert cluster.jobs[0].entrypoint.endswith("--address auto --or-resume")
    again = command("cluster", "submit", "job", "smoke", *WHERE)
    assert (again.code, "drives /shared/results/first already" in again.stderr) == (2, True)
    cluster.jobs[0].status = SimpleNamespace(value="FAILED")
    assert command("cluster", "submit", "job", "smoke", *WHERE).code == 0


def test_a_cluster_that_is_away_is_one_sentence(cluster):
    with pytest.raises(ClusterError, match="cannot be used: no route to host"):
        job.submit(ENTRY, "http://away:8265")


def test_without_rays_part_for_jobs_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(job, "find_spec", lambda name: None)
    with pytest.raises(ClusterError, match=r"pip install 'mrisynth\[cluster\]'"):
        job.submit(ENTRY, "http://127.0.0.1:8265")


@pytest.fixture
def joining(monkeypatch):
    """A cluster that a node joins at every look, and that cannot be reached at the first; no time passes for us."""
    clock, looks = iter(range(1000)), iter(range(1000))

    @contextmanager
    def session(address):
        if next(looks) == 0:
            raise ClusterError("it cannot be reached")
        yield

    monkeypatch.setattr(waiting, "ray_session", session)
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": False}] + [{"Alive": True}] * next(looks))
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))


def test_a_cluster_is_waited_for_until_all_nodes_are_there(joining):
    waiting.wait_for_nodes("10.0.0.1:6379", 4, timeout=100)


def test_nodes_that_do_not_come_in_time_are_counted(joining):
    with pytest.raises(ClusterError, match=r"\d of 50 nodes joined the cluster in time"):
        waiting.wait_for_nodes("10.0.0.1:6379", 50, timeout=10)


def test_a_rayjob_holds_the_command_and_what_was_asked_for(tmp_path):
    space = tmp_path / "mine.yaml"
    space.write_text("description: mine\nbudget: {trials: 3}\n", encoding="utf-8")
    entry = Entry(str(space), "/data/store", "/results", "first", ENTRY.options)
    text = render_rayjob(entry, Pods("registry.example.org/mrisynth:gpu", workers=3, gpus=2, cpus=16))
    texts, made = YAML(typ="safe").load_all(text)
    kubernetes_validate.validate(texts, desired_version="1.30", strict=True)
    refuse_what_kuberay_does_not_take(made)
    words = shlex.split(texts["data"]["sweep.sh"])
    assert words[:4] == ["exec", "mrisynth", "sweep", "/sweep/space.yaml"]
    assert ENTRY.options[0][1] in words
    assert texts["data"]["space.yaml"] == space.read_text(encoding="utf-8")
    (group,) = made["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    container = group["template"]["spec"]["containers"][0]
    assert (group["replicas"], container["resources"]["limits"]["nvidia.com/gpu"]) == (3, 2)
    assert container["image"] == "registry.example.org/mrisynth:gpu"


def test_a_study_in_a_database_needs_its_secret():
    entry = Entry("gan", "/data", "/results", "first", (("--storage", "postgresql://me@db/study"),))
    with pytest.raises(UsageError, match="--database-secret"):
        render_rayjob(entry, Pods("mrisynth:gpu"))


def test_a_name_that_kuberay_would_not_take_is_refused():
    with pytest.raises(UsageError, match="--name is '7t-first'"):
        render_rayjob(Entry("gan", "/data", "/results", "7t-first"), Pods("mrisynth:gpu"))


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_batch_script_is_one_that_bash_reads(symmetric):
    text = slurm.render(
        ENTRY, slurm.Allocation(nodes=2, gpus=1), setup=["source /venv/bin/activate"], symmetric=symmetric
    )
    subprocess.run(["bash", "-n"], input=text, encoding="utf-8", check=True)
    assert ("--exclusive" in text) == symmetric
    line = next(line for line in text.splitlines() if line.startswith("sweep=("))
    assert shlex.split(line.removeprefix("sweep=(").removesuffix(")")) == ENTRY.words()


@pytest.mark.parametrize(
    "asked",
    [
        {"time": "soon"},
        {"partition": "gpu --wrap=id"},
        {"more": ("--constraint=a100\n#SBATCH --uid=0",)},
        {"more": ("--nodes=9",)},
    ],
)
def test_what_sbatch_would_read_otherwise_is_refused(asked):
    with pytest.raises(UsageError):
        slurm.render(ENTRY, slurm.Allocation(**asked), setup=[])


def run_batch_script(tmp_path, *, symmetric=False):
    """Run it on two nodes with stand-ins for SLURM, Ray and mrisynth, which note how they were called: their calls."""
    tools = tmp_path / "bin"
    tools.mkdir()
    calls = shlex.quote(str(tmp_path / "calls"))
    note = f'echo "$(basename "$0") $*" >>{calls}'
    both = f'if [ "$1" = cluster ]; then until [ "$(grep -c ^srun {calls})" = 2 ]; do sleep 0.05; done; fi'
    bodies = {
        "srun": note if symmetric else f"{note}\nexec sleep 30",
        "scontrol": "printf 'localhost\\nother\\n'",
        "mrisynth": f"{note}\n{both}",  # `cluster wait` waits for both nodes
        "getent": "echo 10.0.0.1 STREAM localhost",
    }
    for name, body in bodies.items():
        (tools / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    entry = Entry("gan", "/data", "/results", "first")
    script = slurm.render(entry, slurm.Allocation(nodes=2), setup=[], symmetric=symmetric)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SLURM_JOB_ID": "12345",
        "SLURM_JOB_NODELIST": "nodes[1-2]",
    }
    environment.pop("MRISYNTH_RAY_TOKEN", None)
    ended = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, encoding="utf-8", check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return (tmp_path / "calls").read_text(encoding="utf-8").splitlines()


def test_a_batch_script_starts_a_cluster_and_the_sweep_on_it(tmp_path):
    calls = run_batch_script(tmp_path)
    assert sum(call.startswith("srun") for call in calls) == 2
    assert "mrisynth cluster wait 10.0.0.1:22345 --nodes 2 --timeout 600" in calls
    sweep = next(call for call in calls if call.startswith("mrisynth sweep"))
    assert sweep.endswith("--name first --grace 120 --or-resume --address 10.0.0.1:22345")
    token = tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_a_batch_script_over_whole_nodes_leaves_all_of_it_to_ray(tmp_path):
    (call,) = run_batch_script(tmp_path, symmetric=True)
    assert call.startswith("srun --overlap --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=8")
    assert (
        "ray symmetric-run --address 10.0.0.1:22345 --min-nodes 2 --num-cpus=8 --num-gpus=0 -- mrisynth sweep" in call
    )
    assert call.endswith("--name first --grace 120 --or-resume --address auto")
