"""What an evacuation request starts: one migration per instance whose strategy leaves that to KubeVirt.

Instances with the strategy External are left to an outside controller; an eviction only names the node on them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from whimbrel.simulation.kubevirt.effects import Create, Effects
from whimbrel.simulation.kubevirt.values import (
    EVACUATION_ANNOTATION,
    EVICTION_SOURCE_ANNOTATION,
    Object,
    annotations,
    condition_true,
    deleting,
    final,
    name,
    namespace,
    spec,
    status,
)

STRATEGIES = frozenset({"LiveMigrate", "LiveMigrateIfPossible"})
_DRAIN_EFFECT = "NoSchedule"


def strategy(instance: Mapping[str, Any], kubevirt: Mapping[str, Any] | None) -> str:
    """The instance's eviction strategy, the cluster's where it has none."""
    cluster = (spec(kubevirt or {}).get("configuration") or {}).get("evictionStrategy")
    return str(spec(instance).get("evictionStrategy") or cluster or "None")


def step(
    instance: Mapping[str, Any],
    node: Mapping[str, Any] | None,
    migrations: Iterable[Mapping[str, Any]],
    launchers: Sequence[Mapping[str, Any]],
    kubevirt: Mapping[str, Any] | None = None,
    drain_taint_key: str = "kubevirt.io/drain",
) -> Effects:
    """The migration that takes an instance off its node, if it has to go and may; `migrations` are the instance's."""
    if not _must_leave(instance, node, drain_taint_key) or strategy(instance, kubevirt) not in STRATEGIES:
        return ()
    if deleting(instance) or final(instance) or not condition_true(instance, "LiveMigratable"):
        return ()
    if any(not final(each) for each in migrations) or sum(1 for each in launchers if not final(each)) > 1:
        return ()
    here = str(status(instance).get("nodeName"))
    descheduled = annotations(instance).get(EVICTION_SOURCE_ANNOTATION) == "descheduler"
    body: Object = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceMigration",
        "metadata": {
            "annotations": {EVACUATION_ANNOTATION: here},
            "generateName": "kubevirt-evacuation-",
            "namespace": namespace(instance),
        },
        "spec": {
            "priority": "system-maintenance" if descheduled else "system-critical",
            "vmiName": name(instance),
        },
    }
    return (Create(body),)


def _must_leave(instance: Mapping[str, Any], node: Mapping[str, Any] | None, drain_taint_key: str) -> bool:
    here = status(instance).get("nodeName")
    if here and status(instance).get("evacuationNodeName") == here:
        return True
    taints = spec(node or {}).get("taints") or ()
    return any(each["key"] == drain_taint_key and each.get("effect") == _DRAIN_EFFECT for each in taints)
