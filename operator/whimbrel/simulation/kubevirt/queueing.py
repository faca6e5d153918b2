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
    final,
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


def outbound_node(instance: Mapping[str, Any]) -> str:
    """The node whose outbound limit a migration of this instance counts against."""
    return str(status(instance).get("nodeName") or migration_state(instance).get("sourceNode") or "")


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


def backoff_left_s(migration: Mapping[str, Any], earlier: Iterable[Mapping[str, Any]], now: datetime) -> float:
    """Seconds until a migration that backs off may start: 20 s doubled per consecutive failure before it."""
    if not backs_off(migration):
        return 0.0
    ended = sorted((each for each in earlier if final(each) and backs_off(each)), key=_ended_at, reverse=True)
    failures = 0
    for each in ended:
        if phase(each) == "Succeeded":
            break
        failures += 1
    if not failures:
        return 0.0
    since = age_s(_ended_at(ended[0]), now)
    return max(0.0, float(BACKOFF_FIRST_S * 2 ** (failures - 1)) - since)


def _ended_at(migration: Mapping[str, Any]) -> str:
    for each in reversed(status(migration).get("phaseTransitionTimestamps") or ()):
        if each["phase"] in ("Succeeded", "Failed"):
            return str(each["phaseTransitionTimestamp"])
    return str(metadata(migration).get("creationTimestamp") or "")
