"""The recipes for containers and Kubernetes: what can be said of them without a container engine or a cluster."""

import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
from compose_spec import ComposeSpecification
from jsonschema import ValidationError
from kuberay_schema import refuse_what_kuberay_does_not_take
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
KUBERAY = sorted((DOCKER / "kuberay").glob("*.yaml"))
SCRIPTS = [DOCKER / "make-secrets.sh", *sorted((DOCKER / "slurm").glob("*.sbatch"))]


def documents(path):
    return list(YAML(typ="safe").load_all(path.read_text(encoding="utf-8")))


def tool(name):
    """A linter that came with the environment."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or name


def pinned(package):
    found = re.search(rf"^{package}==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1]


def compose():
    (content,) = documents(DOCKER / "compose.yaml")
    return {name: value for name, value in content.items() if not name.startswith("x-")}


def pods(document):
    """The pod templates of a document, wherever it has them."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name in ("template", "submitterPodTemplate"):
                yield value
            else:
                yield from pods(value)
    elif isinstance(document, list):
        for value in document:
            yield from pods(value)


def test_the_dockerfile_has_no_findings():
    ended = subprocess.run(
        [tool("hadolint"), DOCKER / "Dockerfile"], capture_output=True, encoding="utf-8", check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_have_no_findings(script):
    command = [tool("shellcheck"), "--exclude=SC1091", script]  # what `source` reads lies on the cluster
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert ended.returncode == 0, ended.stdout


def test_compose_keeps_to_its_specification_and_to_loopback():
    content = compose()
    ComposeSpecification.model_validate(content)
    published = [port for service in content["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_what_kubernetes_itself_knows_is_valid(path):
    for document in documents(path):
        if not document["apiVersion"].startswith("ray.io"):
            kubernetes_validate.validate(document, desired_version="1.30", strict=True)
        for number, template in enumerate(pods(document.get("spec", {}))):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}"}, "spec": template["spec"]}
            kubernetes_validate.validate(pod, desired_version="1.30", strict=True)


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycluster.yaml"])
def test_kuberay_takes_its_own_kinds(name):
    refuse_what_kuberay_does_not_take(documents(DOCKER / "kuberay" / name)[-1])


@pytest.mark.parametrize(
    "changed",
    [
        {"spec": {"rayClusterSpec": {}, "entryPoint": "true"}},
        {"spec": {"rayClusterSpec": {"headGroupSpec": {"rayStartParams": {"num-cpus": 0}, "template": {}}}}},
        {"metadata": {"name": "First"}},
    ],
)
def test_what_kuberay_does_not_take_is_found(changed):
    job = documents(DOCKER / "kuberay" / "rayjob.yaml")[-1]
    with pytest.raises(ValidationError):
        refuse_what_kuberay_does_not_take({**job, **changed})


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_no_pod_is_root_or_may_become_it(path):
    for document in documents(path):
        for template in pods(document.get("spec", {})):
            assert template["spec"]["securityContext"]["runAsNonRoot"]
            for container in template["spec"]["containers"]:
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_ray_and_python_are_the_same_everywhere():
    versions = {
        document["spec"].get("rayClusterSpec", document["spec"])["rayVersion"]
        for path in KUBERAY
        for document in documents(path)
        if document["apiVersion"].startswith("ray.io")
    }
    assert versions == {pinned("ray")}
    python = re.search(r"ARG PYTHON_VERSION=(.+)", (DOCKER / "Dockerfile").read_text(encoding="utf-8"))[1]
    least = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert least == f">={python}"


def test_every_ray_of_the_recipes_asks_for_a_token():
    for path in KUBERAY:
        for document in documents(path):
            if document["kind"] in ("RayCluster", "RayJob"):
                spec = document["spec"].get("rayClusterSpec", document["spec"])
                assert spec["authOptions"] == {"mode": "token"}
    nodes = [service for service in compose()["services"].values() if "ray_token" in service.get("secrets", [])]
    assert len(nodes) == 2
    assert {node["environment"]["RAY_AUTH_MODE"] for node in nodes} == {"token"}
    assert all("RAY_AUTH_MODE=token" in script.read_text(encoding="utf-8") for script in SCRIPTS[1:])


def test_nothing_stops_the_ray_of_others():
    files = [path for path in DOCKER.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert [path for path in files if re.search(r"^\s*ray stop", path.read_text(encoding="utf-8"), re.MULTILINE)] == []


def test_secrets_are_drawn_once_and_are_their_owners_alone(tmp_path):
    for _ in range(2):
        subprocess.run(["sh", DOCKER / "make-secrets.sh", tmp_path / "secrets"], check=True, capture_output=True)
        drawn = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "secrets").iterdir()}
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()}
        assert modes == {0o600}
    again = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "secrets").iterdir()}
    assert again == drawn
    assert len(drawn["ray_token"]) == 64
    assert drawn["pgpass"] == f"postgresql:5432:mrisynth:mrisynth:{drawn['database_password']}\n"


def test_nodes_bring_what_their_health_checks_ask():
    dockerfile = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert "52365" in dockerfile  # Ray's agent, which plain `ray` does not bring
    assert re.search(r"dependencies\.py pyproject\.toml search .*\bcluster\b", dockerfile)


def test_the_dashboards_image_needs_neither_torch_nor_ray():
    command = [sys.executable, DOCKER / "dependencies.py", ROOT / "pyproject.toml", "dashboard"]
    listed = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    assert "streamlit" in listed
    assert not re.search(r"^(torch|ray|SimpleITK|optuna)\b", listed, re.MULTILINE)
