"""The built-in kinds: generic storage, with the few defaults and checks that clients rely on.

There is no schema for them: unknown fields are kept. What the real server does beyond this is proved on the real one.
"""

import base64
from functools import partial

from whimbrel_lab.controlplane.embedded import columns, events
from whimbrel_lab.controlplane.embedded.errors import (
    FieldError,
    Object,
    bad_request,
    forbidden_field,
    invalid_value,
    required,
    too_long,
)
from whimbrel_lab.controlplane.embedded.kinds import Kind
from whimbrel_lab.controlplane.embedded.typed import check_lease

_RBAC = "rbac.authorization.k8s.io"
MAXIMUM_DATA_BYTES = 1_048_576


def _pod_defaults(pod: Object) -> None:
    spec = pod.setdefault("spec", {})
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("schedulerName", "default-scheduler")
    pod.setdefault("status", {}).setdefault("phase", "Pending")


def _pod_check(pod: Object) -> list[FieldError]:
    containers = pod["spec"].get("containers")
    if not containers:
        return [required("spec.containers")]
    return [
        required(f"spec.containers[{index}].{field}")
        for index, container in enumerate(containers)
        for field in ("name", "image")
        if not container.get(field)
    ]


_POD_CHANGES = frozenset(
    {"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"}
)  # fmt: skip
_POD_FIXED = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def _pod_update(new: Object, old: Object) -> list[FieldError]:
    return [] if _fixed_part(new["spec"]) == _fixed_part(old["spec"]) else [forbidden_field("spec", _POD_FIXED)]


def _fixed_part(spec: Object) -> Object:
    fixed = {key: value for key, value in spec.items() if key not in _POD_CHANGES}
    for field in ("containers", "initContainers"):
        if field in fixed:
            fixed[field] = [{key: value for key, value in each.items() if key != "image"} for each in fixed[field]]
    return fixed


def _role_ref_update(new: Object, old: Object) -> list[FieldError]:
    if new.get("roleRef") == old.get("roleRef"):
        return []
    return [invalid_value("roleRef", new.get("roleRef"), "cannot change roleRef")]


def _namespace_defaults(namespace: Object) -> None:
    metadata = namespace["metadata"]
    labels = metadata.setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = metadata["name"]
    namespace.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    namespace.setdefault("status", {}).setdefault("phase", "Active")


def _phase(first: str, document: Object) -> None:
    document.setdefault("status", {}).setdefault("phase", first)


def _node_defaults(node: Object) -> None:
    node.setdefault("spec", {})


def _secret_defaults(secret: Object) -> None:
    secret.setdefault("type", "Opaque")
    for key, text in (secret.pop("stringData", None) or {}).items():
        secret.setdefault("data", {})[key] = base64.b64encode(str(text).encode()).decode()


def _service_defaults(service: Object) -> None:
    spec = service.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")


def _deployment_defaults(deployment: Object) -> None:
    deployment.setdefault("spec", {}).setdefault("replicas", 1)


def _size_check(field: str, document: Object) -> list[FieldError]:
    for name in ("data", "binaryData"):
        if not all(isinstance(text, str) for text in (document.get(name) or {}).values()):
            struct = document["kind"]
            text = f"json: cannot unmarshal into Go struct field {struct}.{name} of type string"
            raise bad_request(f'{struct} in version "v1" cannot be handled as a {struct}: {text}')
    texts = [*(document.get("data") or {}).values(), *(document.get("binaryData") or {}).values()]
    return [too_long(field, MAXIMUM_DATA_BYTES)] if sum(len(text) for text in texts) > MAXIMUM_DATA_BYTES else []


_CORE: tuple[Kind, ...] = (
    Kind(
        "", "v1", "Namespace", "namespaces", False, short_names=("ns",), status=True, returns_deleted=True,
        other_subresources=(("finalize", "Namespace"),), columns=columns.NAMESPACE, defaults=_namespace_defaults,
    ),
    Kind(
        "", "v1", "Node", "nodes", False, short_names=("no",), status=True, status_on_create=True,
        columns=columns.NODE, defaults=_node_defaults,
    ),
    Kind(
        "", "v1", "Pod", "pods", True, short_names=("po",), categories=("all",), status=True, returns_deleted=True,
        other_subresources=(("binding", "Binding"), ("eviction", "Eviction")), columns=columns.POD,
        generation=True, defaults=_pod_defaults, check=_pod_check, check_update=_pod_update,
    ),
    Kind(
        "", "v1", "ConfigMap", "configmaps", True, short_names=("cm",), columns=columns.CONFIG_MAP,
        check=partial(_size_check, "[]"),
    ),
    Kind(
        "", "v1", "Secret", "secrets", True, columns=columns.SECRET, defaults=_secret_defaults,
        check=partial(_size_check, "data"),
    ),
    Kind(
        "", "v1", "Service", "services", True, short_names=("svc",), categories=("all",), status=True,
        returns_deleted=True, columns=columns.SERVICE, defaults=_service_defaults,
    ),
    Kind(
        "", "v1", "ServiceAccount", "serviceaccounts", True, short_names=("sa",), returns_deleted=True,
        other_subresources=(("token", "TokenRequest"),),
    ),
    Kind(
        "", "v1", "Event", "events", True, short_names=("ev",), creates_on_update=True, checked=True, columns=columns.EVENT,
        check=events.check_core,
    ),
    Kind(
        "", "v1", "PersistentVolume", "persistentvolumes", False, short_names=("pv",), status=True,
        returns_deleted=True, columns=columns.VOLUME, defaults=partial(_phase, "Pending"),
    ),
    Kind(
        "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, short_names=("pvc",), status=True,
        returns_deleted=True, columns=columns.CLAIM, defaults=partial(_phase, "Pending"),
    ),
    Kind(
        "", "v1", "ResourceQuota", "resourcequotas", True, short_names=("quota",), status=True, returns_deleted=True,
        stored_only=True,
    ),
    Kind("", "v1", "LimitRange", "limitranges", True, short_names=("limits",), creates_on_update=True, stored_only=True),
)  # fmt: skip

_GROUPS: tuple[Kind, ...] = (
    Kind(
        "apps", "v1", "DaemonSet", "daemonsets", True, short_names=("ds",), categories=("all",), status=True,
        generation=True, columns=columns.DAEMON_SET,
    ),
    Kind(
        "apps", "v1", "Deployment", "deployments", True, short_names=("deploy",), categories=("all",), status=True,
        generation=True, columns=columns.DEPLOYMENT, defaults=_deployment_defaults,
    ),
    Kind(
        "coordination.k8s.io", "v1", "Lease", "leases", True, creates_on_update=True, checked=True,
        columns=columns.LEASE, check=check_lease,
    ),
    Kind("storage.k8s.io", "v1", "CSINode", "csinodes", False, stored_only=True),
    Kind("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", False, status=True, stored_only=True),
    Kind(_RBAC, "v1", "Role", "roles", True, columns=columns.ROLE),
    Kind(_RBAC, "v1", "RoleBinding", "rolebindings", True, check_update=_role_ref_update),
    Kind(_RBAC, "v1", "ClusterRole", "clusterroles", False, columns=columns.ROLE),
    Kind(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", False, check_update=_role_ref_update),
    Kind(
        "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, short_names=("pdb",), status=True,
        generation=True, needs_version_on_update=True, columns=columns.BUDGET,
    ),
    Kind(
        "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False,
        verbs=("create",), storage=False,
    ),
    Kind(
        "authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", False,
        verbs=("create",), storage=False,
    ),
    Kind(
        "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", False,
        verbs=("create",), storage=False,
    ),
)  # fmt: skip


class _NewEvent(Kind):
    """An events.k8s.io Event lives in the core group's storage."""

    __slots__ = ()

    def __post_init__(self) -> None:
        Kind.__post_init__(self)
        object.__setattr__(self, "resource", "events")


_NEW_EVENT = _NewEvent(
    "events.k8s.io", "v1", "Event", "events", True, short_names=("ev",), creates_on_update=True, checked=True,
    columns=columns.EVENT, from_stored=events.to_events_group, to_stored=events.to_core,
    check=events.check_times, check_new=events.check_new,
    check_update=events.check_update,
    storage=False,
)  # fmt: skip

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def builtin_kinds(definition: Kind) -> tuple[Kind, ...]:
    """All built-in kinds; `definition` is CustomResourceDefinition, which `crds.py` makes."""
    return (*_CORE, *_GROUPS, _NEW_EVENT, definition)
