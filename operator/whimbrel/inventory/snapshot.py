"""One consistent view of the cluster that a tick decides on.

Made by `kube.Store` by copying dictionaries, never records. Everything that decides takes a Snapshot and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from whimbrel.domain.networks import NetworkAttachment
from whimbrel.domain.quotas import Limits, Quota
from whimbrel.domain.records import (
    Capabilities,
    Instance,
    Key,
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
from whimbrel.domain.resources import (
    ATTACHMENTS,
    CLAIMS,
    CSI_NODES,
    HOST_PROFILES,
    INSTANCES,
    KUBEVIRTS,
    LIMITS,
    MIGRATION_PLANS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    NAMESPACES,
    NETWORK_ATTACHMENTS,
    NODES,
    PODS,
    QUOTAS,
    VIRTUAL_MACHINE_MOVES,
    VIRTUAL_MACHINES,
    VOLUMES,
    Resource,
)
from whimbrel.domain.samples import GuestReadings, MigrationSample
from whimbrel.domain.storage import Attachment, Claim, CsiNode, Volume

FIELDS: Mapping[Resource, str] = {
    MIGRATION_PLANS: "plans",
    HOST_PROFILES: "profiles",
    VIRTUAL_MACHINE_MOVES: "moves",
    VIRTUAL_MACHINES: "virtual_machines",
    INSTANCES: "instances",
    MIGRATIONS: "migrations",
    NODES: "nodes",
    NAMESPACES: "namespaces",
    PODS: "pods",
    KUBEVIRTS: "kubevirts",
    MIGRATION_POLICIES: "policies",
    CLAIMS: "claims",
    VOLUMES: "volumes",
    CSI_NODES: "csi_nodes",
    ATTACHMENTS: "attachments",
    QUOTAS: "quotas",
    LIMITS: "limits",
    NETWORK_ATTACHMENTS: "networks",
}
"""Where the records of a kind are in a Snapshot."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A create of a migration that the API server did not accept, remembered in memory until `until`."""

    message: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cluster at one instant, our own answered writes included."""

    now: datetime
    plans: Mapping[Key, Plan] = field(default_factory=dict)
    profiles: Mapping[Key, Profile] = field(default_factory=dict)
    moves: Mapping[Key, Move] = field(default_factory=dict)
    virtual_machines: Mapping[Key, VirtualMachine] = field(default_factory=dict)
    instances: Mapping[Key, Instance] = field(default_factory=dict)
    migrations: Mapping[Key, Migration] = field(default_factory=dict)
    nodes: Mapping[Key, Node] = field(default_factory=dict)
    namespaces: Mapping[Key, Namespace] = field(default_factory=dict)
    pods: Mapping[Key, Pod] = field(default_factory=dict)
    kubevirts: Mapping[Key, KubeVirt] = field(default_factory=dict)
    policies: Mapping[Key, Policy] = field(default_factory=dict)
    claims: Mapping[Key, Claim] = field(default_factory=dict)
    volumes: Mapping[Key, Volume] = field(default_factory=dict)
    csi_nodes: Mapping[Key, CsiNode] = field(default_factory=dict)
    attachments: Mapping[Key, Attachment] = field(default_factory=dict)
    quotas: Mapping[Key, Quota] = field(default_factory=dict)
    limits: Mapping[Key, Limits] = field(default_factory=dict)
    networks: Mapping[Key, NetworkAttachment] = field(default_factory=dict)
    samples: Mapping[Key, MigrationSample] = field(default_factory=dict)
    """The newest, by key of the instance; only of migrations that are in flight."""
    courses: Mapping[Key, tuple[MigrationSample, ...]] = field(default_factory=dict)
    """Samples of each migration in flight since it began, by key of the instance, the oldest first."""
    readings: Mapping[Key, GuestReadings] = field(default_factory=dict)
    """What metrics last told of guests that run, by key of the instance; of an hour at most. Nobody need tell anything."""
    refusals: Mapping[Key, Refusal] = field(default_factory=dict)
    """By key of the migration whose create was refused."""
    unread: frozenset[str] = frozenset()
    """Fields of this snapshot (`FIELDS`) that nobody may read or that are not served: empty there means unknown."""
    denied: tuple[str, ...] = ()
    """What a migration takes and the API server does not permit the operator, as "verb resource.group", sorted."""
    capabilities: Capabilities | None = None
    """What KubeVirt can be told; None while its schemas have not been read."""
    blocked: Mapping[str, datetime] | None = None
    """Virtual machines that keep their hosts from being emptied, or did not long ago, as `namespace/name`, with when that was
    seen last: remembered in memory. None: this process has not looked yet; the profiles' statuses tell what is known."""
    generation: int = 0
    """Grows with every change of the store."""
    outlook_due: bool = True
    """Whether this tick may spend the time to quote anew; between two outlooks stored quotes stand and admission checks
    each start."""

    @property
    def kubevirt(self) -> KubeVirt | None:
        """The KubeVirt installation, or None where there is none; the oldest key wins where there are several."""
        return self.kubevirts[min(self.kubevirts)] if self.kubevirts else None
