"""Node: what it offers and whether it takes pods (KubeVirt contract §10 for the labels)."""

from whimbrel.domain.records import Node, Taint
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.amounts import amounts
from whimbrel.inventory.projections.reading import Json

HEARTBEAT_ANNOTATION = "kubevirt.io/heartbeat"
_COUNTED_APART = frozenset({"cpu", "memory", "pods"})


def project(raw: Json) -> Node | None:
    """The record of a Node; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    ready = reading.condition(raw, "Ready")
    return Node(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        labels=reading.labels_of(raw),
        ready=ready is not None and ready.status == "True",
        unschedulable=reading.flag(raw, "spec", "unschedulable"),
        taints=tuple(
            Taint(reading.word(taint, "key"), reading.word(taint, "value"), reading.word(taint, "effect"))
            for taint in reading.items(raw, "spec", "taints")
        ),
        allocatable_memory_bytes=reading.memory_bytes(raw, "status", "allocatable", "memory"),
        allocatable_cpu_millicores=reading.millicores(raw, "status", "allocatable", "cpu"),
        allocatable_pods=reading.count(raw, "status", "allocatable", "pods"),
        allocatable=amounts(raw, "status", "allocatable", without=_COUNTED_APART),
        heartbeat_at=reading.moment(raw, "metadata", "annotations", HEARTBEAT_ANNOTATION),
    )
