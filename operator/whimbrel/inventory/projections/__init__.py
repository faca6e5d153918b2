"""From raw objects to records, one file per kind. A raw object is let go as soon as it was projected.

Every projection answers any JSON object with a record or None, and never raises. Called by `kube.Store`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from whimbrel.domain import resources
from whimbrel.domain.networks import NetworkAttachment
from whimbrel.domain.quotas import Limits, Quota
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
from whimbrel.domain.storage import Attachment, Claim, CsiNode, Volume
from whimbrel.inventory.projections import (
    attachment,
    claim,
    csi_node,
    host_profile,
    instance,
    kubevirt,
    limits,
    migration,
    migration_plan,
    migration_policy,
    namespace,
    network_attachment,
    node,
    pod,
    quota,
    virtual_machine,
    virtual_machine_move,
    volume,
)

Record = (
    Plan
    | Profile
    | Move
    | VirtualMachine
    | Instance
    | Migration
    | Node
    | Namespace
    | Pod
    | KubeVirt
    | Policy
    | Claim
    | Volume
    | CsiNode
    | Attachment
    | Quota
    | Limits
    | NetworkAttachment
)

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
    resources.CLAIMS: claim.project,
    resources.VOLUMES: volume.project,
    resources.CSI_NODES: csi_node.project,
    resources.ATTACHMENTS: attachment.project,
    resources.QUOTAS: quota.project,
    resources.LIMITS: limits.project,
    resources.NETWORK_ATTACHMENTS: network_attachment.project,
}
