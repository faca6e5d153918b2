"""How virt-api answers who wants to evict a pod: a launcher whose guest is to migrate is never evicted, its node is named.

`kubectl drain` asks again after each 429. What follows from the mark is `evacuation`'s business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whimbrel.simulation.kubevirt.admission import Refused
from whimbrel.simulation.kubevirt.evacuation import strategy
from whimbrel.simulation.kubevirt.values import (
    DOMAIN_ANNOTATION,
    annotations,
    condition_true,
    final,
    labels,
    metadata,
    name,
    namespace,
    spec,
    status,
)

REQUESTED_BY_ANNOTATION = "requested-by"
DESCHEDULER = "sigs.k8s.io/descheduler"
TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Answer:
    """`refused` None: the pod may be evicted. `names_node`: the instance is marked to leave its node."""

    refused: Refused | None = None
    names_node: bool = False


def concerns(pod: Mapping[str, Any]) -> str:
    """The name of the instance that an eviction of this pod is about; empty where KubeVirt has no say."""
    if labels(pod).get("kubevirt.io") != "virt-launcher" or final(pod):
        return ""
    return annotations(pod).get(DOMAIN_ANNOTATION, "")


def review(pod: Mapping[str, Any], instance: Mapping[str, Any], kubevirt: Mapping[str, Any] | None = None) -> Answer:
    """What an eviction of an instance's launcher is answered."""
    chosen, movable = strategy(instance, kubevirt), condition_true(instance, "LiveMigratable")
    if chosen == "LiveMigrate" and not movable:
        text = f"VMI {name(instance)} is configured with an eviction strategy but is not live-migratable"
        return Answer(_refused(text))
    if chosen not in ("LiveMigrate", "External") and not (chosen == "LiveMigrateIfPossible" and movable):
        return Answer()
    triggered = f'Eviction triggered evacuation of VMI "{namespace(instance)}/{name(instance)}"'
    if status(instance).get("evacuationNodeName"):
        return Answer(_refused(f"Evacuation in progress: {triggered}"))
    if status(instance).get("nodeName") != spec(pod).get("nodeName"):
        return Answer(_refused("Eviction request for target Pod"))
    return Answer(_refused(triggered), names_node=True)


def by_descheduler(eviction: Mapping[str, Any]) -> bool:
    """Whether the descheduler asks: its evacuations have the lowest priority of KubeVirt's own."""
    found: Mapping[str, str] = metadata(eviction).get("annotations") or {}
    return found.get(REQUESTED_BY_ANNOTATION) == DESCHEDULER


def _refused(message: str) -> Refused:
    return Refused(message, TOO_MANY, "TooManyRequests")
