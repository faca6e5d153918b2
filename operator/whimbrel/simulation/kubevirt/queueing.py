"""Who may start: the cluster's and the node's limits, the queue's priorities and delays, back-off after failures.

KubeVirt knows no inbound limit. A migration that waits here is Pending with no condition and no event.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from whimbrel.simulation.kubevirt.values import (
    EVACUATION_ANNOTATION,
    TARGET_CREATED_PHASES,
    WORKLOAD_UPDATE_ANNOTATION,
    age_s,
    annotations,
    deleting,
    metadata,
    migration_state,
    name,
    phase,
    spec,
    status,
)

ACTIVE = 1000
PRIORITIES = {"system-critical": 100, "user-triggered": 50, "system-maintenance": 20}
NONE = 0
_DELAYS_S = {100: 1.0, 50: 3.0, 20: 5.0, NONE: 5.0}
UNOBSERVED_DELAY_S = 1.0
"""When more than one launcher pod of the instance lives."""
BACKOFF_FIRST_S = 20.0


def priority(migration: Mapping[str, Any]) -> int:
    """Place in the queue, the highest first; an external client's migration has the lowest."""
    if phase(migration) == "Running":
        return ACTIVE
    return PRIORITIES.get(str(spec(migration).get("priority") or ""), NONE)


def limit_delay_s(migration: Mapping[str, Any]) -> float:
    """How long a migration that met a limit waits before it is looked at again."""
    return _DELAYS_S.get(priority(migration), _DELAYS_S[NONE])


def runs(migration: Mapping[str, Any], *, has_target_pod: bool) -> bool:
    """Whether a migration takes a slot."""
    return phase(migration) in TARGET_CREATED_PHASES or (phase(migration) == "Pending" and has_target_pod)


def outbound_nodes(instance: Mapping[str, Any]) -> frozenset[str]:
    """The nodes whose outbound limit a migration of this instance counts against.

    Where the guest is, and where the migration that its instance still shows began: two nodes between a switch-over and
    the next hand-off, so that a guest that moved on holds a slot of a node that it left long ago.
    """
    known = (status(instance).get("nodeName"), migration_state(instance).get("sourceNode"))
    return frozenset(str(node) for node in known if node)


def slot_free(configuration: Mapping[str, Any], running: int, outbound: int) -> bool:
    """Whether both limits leave room for one more; `outbound` counts those that leave the same node."""
    of_cluster = int(configuration["parallelMigrationsPerCluster"])
    of_node = int(configuration["parallelOutboundMigrationsPerNode"])
    return running < of_cluster and outbound < of_node


def woken(pending: Iterable[Mapping[str, Any]], configuration: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The pending migrations that are looked at at once when any migration ends: the first N by priority, then age."""
    ordered = sorted(
        pending, key=lambda each: (-priority(each), metadata(each).get("creationTimestamp") or "", name(each))
    )
    return ordered[: configuration["parallelMigrationsPerCluster"]]


def backs_off(migration: Mapping[str, Any]) -> bool:
    """Whether back-off applies: only to what evacuation and workload update created."""
    marks = annotations(migration)
    return EVACUATION_ANNOTATION in marks or WORKLOAD_UPDATE_ANNOTATION in marks


def backoff_left_s(migration: Mapping[str, Any], siblings: Iterable[Mapping[str, Any]], now: datetime) -> float:
    """Seconds until a migration that backs off may start: 20 s doubled per failure since the last success."""
    if not backs_off(migration):
        return 0.0
    earlier = sorted((each for each in siblings if backs_off(each)), key=_age, reverse=True)
    if not earlier or _age(earlier[0]) > _age(migration):
        return 0.0
    failures = 0
    for each in earlier:
        if phase(each) == "Succeeded":
            break
        failures += phase(each) == "Failed" and not deleting(each)
    if not failures:
        return 0.0
    since = age_s(_failed_at(earlier[0]), now)
    return max(0.0, float(BACKOFF_FIRST_S * 2 ** (failures - 1)) - since)


def _age(migration: Mapping[str, Any]) -> str:
    return str(metadata(migration).get("creationTimestamp") or "")


def _failed_at(migration: Mapping[str, Any]) -> str:
    for each in status(migration).get("phaseTransitionTimestamps") or ():
        if each["phase"] == "Failed":
            return str(each["phaseTransitionTimestamp"])
    return "0001-01-01T00:00:00Z"
