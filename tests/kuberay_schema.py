"""What KubeRay takes as a RayJob and a RayCluster (ray.io/v1), as far as we write them.

Written down by hand after KubeRay's published types and what its operator refuses, not after its CRDs: of each field
that we use its type, and which fields must be there. A field that is not named here is refused, as strict validation
by the API server does. Pod templates are Kubernetes' own, and are checked against its schemas.
"""

import jsonschema

COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}
TEMPLATE = {"type": "object", "required": ["spec"]}


def fields(required, **types):
    """An object with these fields and no others."""
    return {"type": "object", "required": required, "properties": types, "additionalProperties": False}


HEAD = fields(["rayStartParams", "template"], rayStartParams=PARAMETERS, template=TEMPLATE)
WORKERS = fields(
    ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
    groupName={"type": "string", "minLength": 1},
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=PARAMETERS,
    template=TEMPLATE,
)
CLUSTER = fields(
    ["headGroupSpec"],
    rayVersion={"type": "string"},
    authOptions=fields(["mode"], mode={"enum": ["disabled", "token"]}),
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
JOB = fields(
    ["rayClusterSpec"],
    entrypoint={"type": "string"},
    backoffLimit=COUNT,
    # It is "only working when" the cluster is shut down after the job.
    shutdownAfterJobFinishes={"const": True},
    ttlSecondsAfterFinished=COUNT,
    submitterPodTemplate=TEMPLATE,
    rayClusterSpec=CLUSTER,
)
METADATA = fields(
    ["name"],
    name={"type": "string", "pattern": r"^[a-z]([a-z0-9-]{0,45}[a-z0-9])?$"},
    namespace={"type": "string"},
    labels=PARAMETERS,
)


def refuse_what_kuberay_does_not_take(document):
    """Hold a RayJob or a RayCluster against what is written above.

    Raises:
        jsonschema.ValidationError: a field is unknown, missing, or of another type.
    """
    spec = {"RayJob": JOB, "RayCluster": CLUSTER}[document["kind"]]
    kind = fields(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "ray.io/v1"},
        kind={"type": "string"},
        metadata=METADATA,
        spec=spec,
    )
    jsonschema.validate(document, kind)
    cluster = document["spec"].get("rayClusterSpec", document["spec"])
    for group in cluster.get("workerGroupSpecs", []):
        if not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            raise jsonschema.ValidationError(f"{group['groupName']}: replicas out of their bounds")
