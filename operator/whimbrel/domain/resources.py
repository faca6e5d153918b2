"""The kinds that Whimbrel reads and writes, by group, version and plural.

Used by decisions (what is written) and by `kube` (how it is reached). No discovery is needed for kinds known here.
"""

from dataclasses import dataclass

from whimbrel.api.definition import GROUP, VERSION


@dataclass(frozen=True, slots=True)
class Resource:
    """Where a kind is served. `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


MIGRATION_PLANS = Resource(GROUP, VERSION, "migrationplans", "MigrationPlan")
HOST_PROFILES = Resource(GROUP, VERSION, "hostprofiles", "HostProfile", namespaced=False)
VIRTUAL_MACHINE_MOVES = Resource(GROUP, VERSION, "virtualmachinemoves", "VirtualMachineMove")
VIRTUAL_MACHINES = Resource("kubevirt.io", "v1", "virtualmachines", "VirtualMachine")
INSTANCES = Resource("kubevirt.io", "v1", "virtualmachineinstances", "VirtualMachineInstance")
MIGRATIONS = Resource("kubevirt.io", "v1", "virtualmachineinstancemigrations", "VirtualMachineInstanceMigration")
KUBEVIRTS = Resource("kubevirt.io", "v1", "kubevirts", "KubeVirt")
MIGRATION_POLICIES = Resource(
    "migrations.kubevirt.io", "v1alpha1", "migrationpolicies", "MigrationPolicy", namespaced=False
)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
CSI_NODES = Resource("storage.k8s.io", "v1", "csinodes", "CSINode", namespaced=False)
ATTACHMENTS = Resource("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", namespaced=False)
QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
LIMITS = Resource("", "v1", "limitranges", "LimitRange")
NETWORK_ATTACHMENTS = Resource("k8s.cni.cncf.io", "v1", "network-attachment-definitions", "NetworkAttachmentDefinition")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")

OWN_KINDS = (MIGRATION_PLANS, HOST_PROFILES, VIRTUAL_MACHINE_MOVES)
"""Kinds whose CRDs Whimbrel brings along."""

WATCHED_BY_REFLECTORS = (
    VIRTUAL_MACHINES,
    INSTANCES,
    MIGRATIONS,
    VIRTUAL_MACHINE_MOVES,
    NODES,
    NAMESPACES,
    PODS,
    KUBEVIRTS,
    MIGRATION_POLICIES,
    CLAIMS,
    VOLUMES,
    CSI_NODES,
    ATTACHMENTS,
    QUOTAS,
    LIMITS,
    NETWORK_ATTACHMENTS,
)
"""Kinds that the reflectors list and watch; Kopf brings MIGRATION_PLANS and HOST_PROFILES."""

OPTIONAL_KINDS = frozenset({NETWORK_ATTACHMENTS})
"""Kinds that a cluster may do without: where they are not served, there are none."""
