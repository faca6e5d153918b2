"""From raw objects to records, one file per kind. A raw object is let go as soon as it was projected.

Every projection answers any JSON object with a record or None, and never raises. Called by `kube.Store`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from whimbrel.domain import resources
from whimbrel.domain.records import (
    Instance,
    KubeVirt,
    Migration,
    Move,
    Namespace,
    Node,
    Plan,
    Pod,
    Policy,
    Profile,
    VirtualMachine,
)
from whimbrel.domain.resources import Resource
from whimbrel.inventory.projections import (
    host_profile,
    instance,
    kubevirt,
    migration,
    migration_plan,
    migration_policy,
    namespace,
    node,
    pod,
    virtual_machine,
    virtual_machine_move,
)

Record = Plan | Profile | Move | VirtualMachine | Instance | Migration | Node | Namespace | Pod | KubeVirt | Policy

PROJECTIONS: Mapping[Resource, Callable[[Mapping[str, Any]], Record | None]] = {
    resources.MIGRATION_PLANS: migration_plan.project,
    resources.HOST_PROFILES: host_profile.project,
    resources.VIRTUAL_MACHINE_MOVES: virtual_machine_move.project,
    resources.VIRTUAL_MACHINES: virtual_machine.project,
    resources.INSTANCES: instance.project,
    resources.MIGRATIONS: migration.project,
    resources.NODES: node.project,
    resources.NAMESPACES: namespace.project,
    resources.PODS: pod.project,
    resources.KUBEVIRTS: kubevirt.project,
    resources.MIGRATION_POLICIES: migration_policy.project,
}
