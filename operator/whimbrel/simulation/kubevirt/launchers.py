"""How launcher pods are made: an instance's first one, and the target pod of a migration.

What a virtual machine needs of a node becomes node selectors here; the scheduler then refuses in silence.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from whimbrel.simulation.kubevirt import quantities
from whimbrel.simulation.kubevirt.policies import observed_release
from whimbrel.simulation.kubevirt.values import (
    CREATED_BY_LABEL,
    DOMAIN_ANNOTATION,
    JOB_NAME_ANNOTATION,
    JOB_UID_LABEL,
    OBSERVED_VERSIONS,
    OVERHEAD_ANNOTATION,
    SCHEDULABLE_LABEL,
    UNPAUSED_GATE,
    Object,
    annotations,
    clone,
    deleting,
    final,
    labels,
    metadata,
    name,
    namespace,
    owner_reference,
    phase,
    spec,
    status,
    uid,
)

MODEL = "cpu-model.node.kubevirt.io/"
MODEL_FOR_MIGRATION = "cpu-model-migration.node.kubevirt.io/"
FEATURE = "cpu-feature.node.kubevirt.io/"
VENDOR = "cpu-vendor.node.kubevirt.io/"
HOST_MODEL = "host-model-cpu.node.kubevirt.io/"
HOST_MODEL_FEATURE = "host-model-required-features.node.kubevirt.io/"
MACHINE_TYPE = "machine-type.node.kubevirt.io/"
HOST_MODEL_NEEDS = (MODEL_FOR_MIGRATION, FEATURE)
"""What a target pod asks of its node on behalf of a host-model guest."""
OBSOLETE_HOST_MODEL = "node-labeller.kubevirt.io/obsolete-host-model"
HOSTNAME = "kubernetes.io/hostname"
DEVICES = ("devices.kubevirt.io/kvm", "devices.kubevirt.io/tun", "devices.kubevirt.io/vhost-net")
LAUNCHER_IMAGE = "quay.io/kubevirt/virt-launcher:lab"
EPHEMERAL_STORAGE = "50M"
"""What a launcher asks of its node's disk for itself."""
PROCESSES_MIB = 25 + 100 + 25 + 40 + 30
"""Launcher and its monitor, libvirt's two daemons, QEMU without its guest."""
NOT_PASSED_ON = ("kubectl.kubernetes.io", *OBSERVED_VERSIONS)
"""Annotations of an instance that its launchers do not get."""
MEBIBYTE = 1024**2
CPU_ALLOCATION_RATIO = 10
OVERHEAD_GATE = "VmiMemoryOverheadReport"
"""Where this gate is on, an instance shows what its launcher takes beside its memory."""


def overhead_bytes(instance: Mapping[str, Any]) -> int:
    """What a launcher takes beside guest memory: page tables, processes, virtual CPUs and I/O thread, video memory."""
    domain = spec(instance).get("domain") or {}
    asked = ((domain.get("resources") or {}).get("requests") or {}).get("memory")
    kilobytes = -(-quantities.value(asked) // 1000) if asked is not None else 0
    video = 32 if (domain.get("devices") or {}).get("autoattachGraphicsDevice", True) else 0
    return kilobytes * 1000 // 512 + (PROCESSES_MIB + 8 * _processors(instance) + 8 + video) * MEBIBYTE


def launcher(instance: Mapping[str, Any], kubevirt: Mapping[str, Any] | None = None) -> Object:
    """The pod that starts an instance."""
    target = name(instance)
    overhead = overhead_bytes(instance)
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"virt-launcher-{target}-",
            "namespace": namespace(instance),
            "labels": {
                **labels(instance),
                "kubevirt.io": "virt-launcher",
                CREATED_BY_LABEL: uid(instance),
                "vm.kubevirt.io/name": target,
                "vmi.kubevirt.io/id": target,
            },
            "annotations": {
                **{key: each for key, each in annotations(instance).items() if not key.startswith(NOT_PASSED_ON)},
                DOMAIN_ANNOTATION: target,
                "kubevirt.io/migrationTransportUnix": "true",
                "kubectl.kubernetes.io/default-container": "compute",
                OVERHEAD_ANNOTATION: str(overhead),
            },
            "ownerReferences": [owner_reference(instance)],
        },
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "compute",
                    "image": LAUNCHER_IMAGE,
                    "command": ["/usr/bin/virt-launcher-monitor", "--name", target, "--uid", uid(instance)],
                    "resources": _resources(instance, overhead, kubevirt),
                }
            ],
            "nodeSelector": _selectors(instance, kubevirt),
            "affinity": _affinity(instance),
            "readinessGates": [{"conditionType": UNPAUSED_GATE}],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 60,
        },
    }
    wanted = spec(instance)
    if volumes := _volumes(instance):
        pod["spec"]["volumes"] = volumes
    if tolerations := wanted.get("tolerations"):
        pod["spec"]["tolerations"] = clone(tolerations)
    if priority_class := wanted.get("priorityClassName"):
        pod["spec"]["priorityClassName"] = priority_class
    return pod


def target_launcher(
    instance: Mapping[str, Any],
    migration: Mapping[str, Any],
    source_node: Mapping[str, Any],
    source_pod: Mapping[str, Any] | None,
    kubevirt: Mapping[str, Any] | None = None,
) -> Object:
    """The target pod of a migration. What the instance needs wins over the migration's addedNodeSelector."""
    pod = launcher(instance, kubevirt)
    pod["metadata"]["labels"][JOB_UID_LABEL] = uid(migration)
    pod["metadata"]["annotations"][JOB_NAME_ANNOTATION] = name(migration)
    selectors: dict[str, str] = pod["spec"]["nodeSelector"]
    if machine := (status(instance).get("machine") or {}).get("type"):
        selectors[f"{MACHINE_TYPE}{machine}"] = "true"
    if _model(instance) == "host-model":
        selectors.update(host_model_selectors(source_node, source_pod))
    if not any(key.startswith(VENDOR) for key in selectors):
        selectors.update({key: "true" for key in labels(source_node) if key.startswith(VENDOR)})
    if observed_release(kubevirt).added_node_selector:
        pod["spec"]["nodeSelector"] = {**(spec(migration).get("addedNodeSelector") or {}), **selectors}
    _never_the_same_node(pod["spec"]["affinity"], uid(instance))
    return pod


def host_model_selectors(source_node: Mapping[str, Any], source_pod: Mapping[str, Any] | None) -> dict[str, str]:
    """What a host-model guest needs of its next node: what its pod asked for after an earlier move, else what its node is."""
    asked = spec(source_pod or {}).get("nodeSelector") or {}
    earlier = {key: each for key, each in asked.items() if key.startswith(HOST_MODEL_NEEDS)}
    if earlier:
        return earlier
    selectors = {}
    for key in labels(source_node):
        if key.startswith(HOST_MODEL):
            selectors[MODEL_FOR_MIGRATION + key.removeprefix(HOST_MODEL)] = "true"
        if key.startswith(HOST_MODEL_FEATURE):
            selectors[FEATURE + key.removeprefix(HOST_MODEL_FEATURE)] = "true"
    return selectors


def suits_host_model(node: Mapping[str, Any], selectors: Mapping[str, str]) -> bool:
    """Whether a node carries all labels that a host-model guest needs."""
    return all(labels(node).get(key) == wanted for key, wanted in selectors.items())


def source_pod_of(instance: Mapping[str, Any], launchers: Iterable[Object]) -> Object | None:
    """The live launcher on the instance's node, the newest if there are several; never an unfinished migration's target."""
    node = status(instance).get("nodeName")
    here = [each for each in launchers if spec(each).get("nodeName") == node and not final(each)]
    here.sort(key=lambda each: (str(metadata(each).get("creationTimestamp") or ""), name(each)))
    return here[-1] if here and node else None


def containers_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the launcher runs and all beside it is ready; the pod's own Ready also waits for the readiness gate."""
    states = status(pod).get("containerStatuses") or ()
    return (
        phase(pod) == "Running"
        and not deleting(pod)
        and all(
            "running" in each.get("state", {}) if each["name"] == "compute" else each.get("ready") for each in states
        )
    )


def _volumes(instance: Mapping[str, Any]) -> list[Object]:
    """The claims that the guest's disks are on, by the names that the instance gives them."""
    found: list[Object] = []
    for volume in spec(instance).get("volumes") or ():
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName") or (volume.get("dataVolume") or {}).get(
            "name"
        )
        if claim:
            found.append({"name": volume["name"], "persistentVolumeClaim": {"claimName": claim}})
    return found


def _resources(instance: Mapping[str, Any], overhead: int, kubevirt: Mapping[str, Any] | None) -> Object:
    domain = spec(instance).get("domain") or {}
    stated = domain.get("resources") or {}
    requests = dict(stated.get("requests") or {})
    limits = dict(stated.get("limits") or {})
    hugepages = ((domain.get("memory") or {}).get("hugepages") or {}).get("pageSize")
    guest = _guest_bytes(instance)
    asked = quantities.value(requests.get("memory")) or guest
    if hugepages:
        requests[f"hugepages-{hugepages}"] = limits[f"hugepages-{hugepages}"] = str(guest)
        asked -= guest
    requests["memory"] = str(max(0, asked) + overhead)
    requests.setdefault("ephemeral-storage", EPHEMERAL_STORAGE)
    if "memory" in limits:
        limits["memory"] = str(quantities.value(limits["memory"]) + overhead)
    processors = _processors(instance)
    if (domain.get("cpu") or {}).get("dedicatedCpuPlacement"):
        requests["cpu"] = limits["cpu"] = str(processors)
        limits["memory"] = requests["memory"]
    else:
        requests.setdefault("cpu", f"{processors * 1000 // CPU_ALLOCATION_RATIO}m")
    for device in DEVICES:
        if not (device == DEVICES[0] and _developer(kubevirt).get("useEmulation")):
            requests[device] = limits[device] = "1"
    for kind in ("hostDevices", "gpus"):
        for each in (domain.get("devices") or {}).get(kind) or ():
            count = int(requests.get(each["deviceName"], "0")) + 1
            requests[each["deviceName"]] = limits[each["deviceName"]] = str(count)
    return {"limits": limits, "requests": requests}


def _selectors(instance: Mapping[str, Any], kubevirt: Mapping[str, Any] | None) -> dict[str, str]:
    wanted = spec(instance)
    selectors = {SCHEDULABLE_LABEL: "true"}
    if architecture := wanted.get("architecture"):
        selectors["kubernetes.io/arch"] = architecture
    selectors.update(_developer(kubevirt).get("nodeSelectors") or {})
    selectors.update(wanted.get("nodeSelector") or {})
    cpu = (wanted.get("domain") or {}).get("cpu") or {}
    model = cpu.get("model")
    if model and model not in ("host-model", "host-passthrough"):
        selectors[MODEL + model] = "true"
    for feature in cpu.get("features") or ():
        if feature.get("policy", "require") in ("require", ""):
            selectors[FEATURE + feature["name"]] = "true"
    return selectors


def _affinity(instance: Mapping[str, Any]) -> Object:
    affinity: Object = clone(spec(instance).get("affinity") or {})
    if _model(instance) == "host-model":
        needed = [{"key": OBSOLETE_HOST_MODEL, "operator": "DoesNotExist"}]
        required = affinity.setdefault("nodeAffinity", {}).setdefault(
            "requiredDuringSchedulingIgnoredDuringExecution", {"nodeSelectorTerms": []}
        )
        if required["nodeSelectorTerms"]:
            for term in required["nodeSelectorTerms"]:
                term.setdefault("matchExpressions", []).extend(clone(needed))
        else:
            required["nodeSelectorTerms"] = [{"matchExpressions": needed}]
    return affinity


def _never_the_same_node(affinity: Object, instance_uid: str) -> None:
    rule = {"labelSelector": {"matchLabels": {CREATED_BY_LABEL: instance_uid}}, "topologyKey": HOSTNAME}
    apart = affinity.setdefault("podAntiAffinity", {})
    apart.setdefault("requiredDuringSchedulingIgnoredDuringExecution", []).append(rule)


def _guest_bytes(instance: Mapping[str, Any]) -> int:
    domain = spec(instance).get("domain") or {}
    stated = (domain.get("memory") or {}).get("guest")
    requested = ((domain.get("resources") or {}).get("requests") or {}).get("memory")
    return quantities.value(stated if stated is not None else requested)


def _processors(instance: Mapping[str, Any]) -> int:
    cpu = (spec(instance).get("domain") or {}).get("cpu") or {}
    return int(cpu.get("cores", 1)) * int(cpu.get("sockets", 1)) * int(cpu.get("threads", 1))


def _model(instance: Mapping[str, Any]) -> str:
    return str(((spec(instance).get("domain") or {}).get("cpu") or {}).get("model") or "")


def _developer(kubevirt: Mapping[str, Any] | None) -> Mapping[str, Any]:
    stated: Mapping[str, Any] = (spec(kubevirt or {}).get("configuration") or {}).get("developerConfiguration") or {}
    return stated
