"""Pod: what it takes from its node; of launchers and virt-handlers also whose they are and how to reach them (§6.3, §9.3).

A launcher is what KubeVirt counts as one: a pod that an instance controls. Labels prove nothing, anybody can write them. Nor
does an owner reference prove that the instance is of the pod's namespace: whoever asks whose launcher it is compares that, too.

Requests follow the scheduler's rule: containers and native sidecars add up, ordinary init containers count with their
maximum, a request for the whole pod replaces both, and the runtime's overhead comes on top.
"""

from collections.abc import Callable

from whimbrel.domain.records import Pod
from whimbrel.domain.resources import INSTANCES
from whimbrel.domain.scheduling import Amounts
from whimbrel.inventory.projections import admission, amounts, reading, scheduling
from whimbrel.inventory.projections.reading import Json

_KUBEVIRT = f"{INSTANCES.group}/"
_COUNTED_APART = frozenset({"cpu", "memory"})
_OF_ONE_POD = frozenset(
    {
        "kubevirt.io/created-by",
        "kubevirt.io/migrationJobUID",
        "kubevirt.io/nodeName",
        "vm.kubevirt.io/name",
        "vmi.kubevirt.io/id",
    }
)
"""Labels that KubeVirt gives launchers, that differ from pod to pod, and that are fields here or facts of the instance; left
out of `labels`, so that all launchers of an application share one map. Of no other pod is anything left out."""


def project(raw: Json) -> Pod | None:
    """The record of a Pod; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    role = reading.word(raw, "metadata", "labels", "kubevirt.io")
    handler, attachment = role == "virt-handler", role == "hotplug-disk"
    instance_uid = _controlling_instance(raw)
    launcher = bool(instance_uid)
    as_kubevirt_made_it = launcher and reading.text(raw, "metadata", "labels", "kubevirt.io/created-by") == instance_uid
    left_out = _OF_ONE_POD if as_kubevirt_made_it else frozenset[str]()
    return Pod(
        key=key,
        uid=reading.word(raw, "metadata", "uid"),
        labels=reading.shared(reading.string_map(raw, "metadata", "labels", without=left_out)),
        node=reading.word(raw, "spec", "nodeName"),
        phase=reading.word(raw, "status", "phase"),
        deleting=reading.deleting(raw),
        memory_bytes=reading.one_of(_requested(raw, "memory", reading.optional_bytes)),
        cpu_millicores=reading.one_of(_requested(raw, "cpu", reading.optional_millicores)),
        instance_uid=instance_uid,
        migration_uid=reading.text(raw, "metadata", "labels", "kubevirt.io/migrationJobUID") if launcher else "",
        handler=handler,
        ip=reading.text(raw, "status", "podIP") if launcher or handler else "",
        metrics_port=_metrics_port(raw) if handler else 0,
        requests=_other_requests(raw),
        claims=_claims(raw, key.name),
        admission=admission.admission(raw) if launcher or attachment else None,
        scheduling=scheduling.scheduling(raw) if launcher or scheduling.keeps_others_away(raw) else None,
        nomination=scheduling.nomination(raw),
        launcher_uid=_controlling_pod(raw) if attachment else "",
    )


def _controlling_instance(raw: Json) -> str:
    """UID of the VirtualMachineInstance that controls the pod, or empty."""
    for owner in reading.items(raw, "metadata", "ownerReferences"):
        if owner.get("controller") is True:
            ours = owner.get("kind") == INSTANCES.kind and reading.text(owner, "apiVersion").startswith(_KUBEVIRT)
            return reading.word(owner, "uid") if ours else ""
    return ""


def _controlling_pod(raw: Json) -> str:
    """UID of the Pod that controls the pod, or empty."""
    owners = (each for each in reading.items(raw, "metadata", "ownerReferences") if each.get("controller") is True)
    return next((reading.word(owner, "uid") for owner in owners if owner.get("kind") == "Pod"), "")


def _claims(raw: Json, pod: str) -> tuple[str, ...]:
    """By name; that of a volume which lives as long as the pod follows from the pod's."""
    found = []
    for volume in reading.items(raw, "spec", "volumes"):
        if "ephemeral" in volume:
            found.append(f"{pod}-{reading.text(volume, 'name')}")
        elif claim := reading.text(volume, "persistentVolumeClaim", "claimName"):
            found.append(claim)
    return tuple(found)


def _other_requests(raw: Json) -> Amounts:
    names = {
        str(name)
        for part in ("containers", "initContainers")
        for container in reading.items(raw, "spec", part)
        for kind in ("requests", "limits")
        for name in reading.member(container, "resources", kind)
    } | {str(name) for name in reading.member(raw, "spec", "overhead")}
    asked = ((name, _requested(raw, name, reading.optional_bytes)) for name in names - _COUNTED_APART)
    return amounts.shared(tuple(sorted(pair for pair in asked if pair[1])))


def _requested(raw: Json, resource: str, read: Callable[..., int | None]) -> int:
    """The pod's request of one resource, as the scheduler counts it; a limit stands for a request that is absent."""

    def of(container: Json) -> int:
        request = read(container, "resources", "requests", resource)
        return (read(container, "resources", "limits", resource) or 0) if request is None else request

    overhead = read(raw, "spec", "overhead", resource) or 0
    whole_pod = read(raw, "spec", "resources", "requests", resource)
    if whole_pod is not None:
        return whole_pod + overhead
    running = sum(of(container) for container in reading.items(raw, "spec", "containers"))
    sidecars = starting = 0
    for container in reading.items(raw, "spec", "initContainers"):
        if container.get("restartPolicy") == "Always":
            sidecars += of(container)
            starting = max(starting, sidecars)
        else:
            starting = max(starting, sidecars + of(container))
    return max(running + sidecars, starting) + overhead


def _metrics_port(raw: Json) -> int:
    for container in reading.items(raw, "spec", "containers"):
        for port in reading.items(container, "ports"):
            if port.get("name") == "metrics":
                return reading.whole(port, "containerPort")
    return 0
