"""A RayJob for Kubernetes: the shipped manifest, with what was asked for in its places."""

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from mrisynth.errors import InvalidInputError, UsageError
from mrisynth.search.submission.entry import Entry, checked, command, fitting, is_file
from mrisynth.shipped import recipe

_FOLDER = "/sweep"
"""Where the head finds what the ConfigMap holds."""

_NAME = r"[a-z]([a-z0-9-]{0,45}[a-z0-9])?"
"""What KubeRay takes for the name of a RayJob."""

_NAMESPACE = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SECRET = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?"


@dataclass(frozen=True, slots=True)
class Pods:
    """What is asked of Kubernetes.

    Attributes:
        image: of every pod, like "registry.example.org/mrisynth:gpu".
        workers: pods that run trials.
        cpus: cores of each worker.
        gpus: of each worker; 0 for none.
        memory: of each worker, like "32Gi".
        data_claim: the volume claim that pods see at /data.
        results_claim: the one at /results.
        database_secret: the secret whose `password` opens the study's database; None where there is none.
        namespace: None: kubectl's.
    """

    image: str
    workers: int = 1
    cpus: int = 8
    gpus: int = 0
    memory: str = "32Gi"
    data_claim: str = "mrisynth-data"
    results_claim: str = "mrisynth-results"
    database_secret: str | None = None
    namespace: str | None = None


def render(entry: Entry, pods: Pods) -> str:
    """The ConfigMap and the RayJob, for `kubectl apply -f -`.

    A space that is a file here travels in the ConfigMap.

    Raises:
        UsageError: a name that Kubernetes would not take, or a text that does not mean what it says.
        InvalidInputError: the space's file cannot be read.
    """
    checked(entry)
    fitting("--name", entry.name, _NAME)
    if "postgresql" in dict(entry.options).get("--storage", "") and not pods.database_secret:
        raise UsageError("a study in PostgreSQL needs --database-secret, the secret that holds its password")
    yaml = YAML()
    yaml.width = 200
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    texts, job = yaml.load_all(recipe("kuberay", "rayjob.yaml").read_text(encoding="utf-8"))
    texts.yaml_set_start_comment(f"kubectl apply -f THIS_FILE; then: kubectl get rayjob {entry.name} --watch\n")
    _write_texts(texts, entry)
    _write_job(job, entry.name, pods)
    if pods.namespace:
        for document in (texts, job):
            document["metadata"]["namespace"] = fitting("--namespace", pods.namespace, _NAMESPACE)
    stream = io.StringIO()
    yaml.dump_all([texts, job], stream)
    return stream.getvalue()


def _write_texts(texts: Any, entry: Entry) -> None:
    """The command, and the space if it is a file here. In a file of its own the command passes one shell only."""
    texts["metadata"]["name"] = f"{entry.name}-sweep"
    if is_file(entry.space):
        try:
            space = Path(entry.space).read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidInputError(f"the space {entry.space} cannot be read: {error.strerror}") from None
        texts["data"]["space.yaml"] = LiteralScalarString(space)
        entry = replace(entry, space=f"{_FOLDER}/space.yaml")
    texts["data"]["sweep.sh"] = LiteralScalarString(f"exec {command(entry)}\n")


def _write_job(job: Any, name: str, pods: Pods) -> None:
    job["metadata"]["name"] = name
    cluster = job["spec"]["rayClusterSpec"]
    head = cluster["headGroupSpec"]["template"]["spec"]
    group = cluster["workerGroupSpecs"][0]
    worker = group["template"]["spec"]["containers"][0]
    for container in (job["spec"]["submitterPodTemplate"]["spec"]["containers"][0], head["containers"][0], worker):
        container["image"] = fitting("--image", pods.image, r"[\w./:@-]+")
    for key in ("replicas", "minReplicas", "maxReplicas"):
        group[key] = pods.workers
    for kind in ("requests", "limits"):
        asked = worker["resources"][kind]
        asked["cpu"], asked["memory"] = str(pods.cpus), fitting("--memory", pods.memory, r"\d+(Mi|Gi|Ti|M|G|T)")
        asked["nvidia.com/gpu"] = pods.gpus
        if not pods.gpus:
            del asked["nvidia.com/gpu"]
    places = {"data": pods.data_claim, "results": pods.results_claim}
    for volume in head["volumes"]:  # the workers' are the same list
        if volume["name"] in places:
            claim = fitting("a volume claim", places[volume["name"]], _SECRET)
            volume["persistentVolumeClaim"]["claimName"] = claim
        elif volume["name"] == "sweep":
            volume["configMap"]["name"] = f"{name}-sweep"
    if pods.database_secret:
        secret = {"name": fitting("--database-secret", pods.database_secret, _SECRET), "key": "password"}
        head["containers"][0]["env"] = [{"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": secret}}]
