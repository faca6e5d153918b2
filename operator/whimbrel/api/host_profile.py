"""HostProfile: what a class of nodes can do for live migration. Declared by an administrator, cluster-scoped.

The profile that names a node, else the one with the most matched selector keys, applies to it, whole; profiles never merge
(`inventory.hosts`).
"""

from ipaddress import ip_network
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from whimbrel.api.definition import PrinterColumn, ResourceDefinition
from whimbrel.api.scalars import (
    MAX_NODES,
    ApiModel,
    Condition,
    LabelKey,
    LabelMap,
    ObjectName,
    Reason,
    ShortText,
    Timestamp,
    conditions_field,
    names_field,
)


def _subnet(text: str) -> str:
    """Checked here alone: CEL knows CIDRs only from Kubernetes 1.30 on."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not a subnet (expected something like 10.20.0.0/24 or fd00:20::/64)") from None
    return text


Subnet = Annotated[str, Field(max_length=49), AfterValidator(_subnet)]


class MigrationNetwork(ApiModel):
    """The link that migrations use, and the networks that guests find behind these nodes."""

    name: ShortText | None = Field(
        None,
        description="Name of the network that migrations use, the same for all nodes that are on it. A guest moves only "
        "between nodes that do not declare different names.",
    )
    subnets: tuple[Subnet, ...] | None = Field(
        None,
        min_length=1,
        max_length=16,
        description="Subnets of the addresses that these nodes have on it, as 10.20.0.0/24 or fd00:20::/64. Nodes with IPv4 "
        "only and nodes with IPv6 only do not move guests to one another.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    link_speed_mbps: int = Field(
        1000, ge=10, le=1_000_000, description="Speed of the migration link in Mbit/s, per direction."
    )
    single_stream_mbps: int | None = Field(
        None,
        ge=10,
        le=1_000_000,
        description="Most that one stream of a migration reaches between these nodes in Mbit/s: encryption and one processor's "
        "copying bound it. KubeVirt uses one stream through 1.4, then eight for most guests. Absent: the link is the bound.",
    )
    mtu: int | None = Field(
        None,
        ge=576,
        le=65_535,
        description="MTU of the migration link in bytes. A guest moves only between nodes that do not declare different ones.",
    )
    segments: tuple[ShortText, ...] | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="Layer-2 segments that guests reach from these nodes: what a network's CNI configuration names (bridge, "
        "master, physicalNetworkName), with its VLAN if it has one (br-prod/120, br-prod/trunk-100-199,300); the device "
        "plugin's resource of an SR-IOV network; or, where its configuration names none, the network itself (prod/lan). A "
        "guest whose network names a segment moves to no node that declares segments without that one.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


class HostLimits(ApiModel):
    """How many migrations at once; everybody's count."""

    parallel_outbound: int = Field(2, ge=1, le=64, description="Most migrations that leave a node at once.")
    parallel_inbound: int = Field(2, ge=1, le=64, description="Most migrations that arrive at a node at once.")
    share_percent: int = Field(
        100,
        ge=1,
        le=100,
        description="Percent of the migration link that migrations may take, where other traffic uses it too.",
    )


class HostMigration(ApiModel):
    """Live migration on these nodes."""

    enabled: bool = Field(description="True: these nodes may be source and target of plans.")
    network: MigrationNetwork = Field(default=MigrationNetwork(), description="The link that migrations use.")
    limits: HostLimits = Field(default=HostLimits(), description="How many migrations at once.")


class HostCpu(ApiModel):
    """What these nodes' processors have in common with other nodes'."""

    baseline: ShortText | None = Field(
        None,
        description="Name shared by nodes with identical processors, microcode and settings. A guest with the CPU model "
        "host-passthrough moves only between nodes that declare the same name; where it is absent, not at all.",
    )
    performance_counters: ShortText | None = Field(
        None,
        description="Name shared by nodes with compatible performance counters. A guest whose VirtualMachine has the "
        "annotation whimbrel.dev/performance-counters: Required moves only between nodes that declare the same name or, "
        "where one of them declares none, the same baseline. Guests with host-passthrough do not move between nodes that "
        "declare different names either.",
    )


class FrameBuffer(ApiModel):
    """The size of a GPU's frame buffer."""

    resource: LabelKey = Field(description="Resource of the device plugin, as nvidia.com/GRID_T4-2Q.")
    mebibytes: int = Field(ge=1, le=1_048_576, description="Size of its frame buffer in MiB.")


class HostDevices(ApiModel):
    """What these nodes' devices are like."""

    frame_buffers: tuple[FrameBuffer, ...] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Frame buffers of the GPUs that guests have. A guest whose GPU has more than 1024 MiB moves only over "
        "links of at least 10000 Mbit/s. Of a resource that neither source nor target names here it is not known.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["resource"]},
    )


class HostGraphics(ApiModel):
    """What these nodes render guests' 3D graphics with."""

    render_gpu: bool = Field(
        False,
        description="True: a GPU of these nodes renders guests' 3D graphics. A guest whose VirtualMachine has the "
        "annotation whimbrel.dev/graphics-3d: Hardware, and no GPU of its own, moves only to such nodes.",
    )


class NodeSelection(ApiModel):
    """Which nodes a profile is of."""

    node_selector: LabelMap = Field(
        description="Labels that the nodes of this class carry. Empty: all nodes. A node can give itself most labels, but none "
        "under node-restriction.kubernetes.io/: see the how-to on nodes that may lie."
    )
    node_names: tuple[ObjectName, ...] | None = names_field(
        "Names of the nodes of this class; of these those that have the labels, too. A profile that names a node goes before "
        "all that do not, and a node cannot choose its name.",
        MAX_NODES,
    )


class HostProfileSpec(NodeSelection):
    """What the administrator declares."""

    migration: HostMigration = Field(description="Live migration on these nodes.")
    cpu: HostCpu = Field(
        default=HostCpu(), description="What these nodes' processors have in common with other nodes'."
    )
    devices: HostDevices = Field(default=HostDevices(), description="What these nodes' devices are like.")
    graphics: HostGraphics = Field(
        default=HostGraphics(), description="What these nodes render guests' 3D graphics with."
    )


class OverriddenNode(ApiModel):
    """A node that this profile selects and another profile has."""

    node: ShortText = Field(description="Name of the node.")
    profile: ShortText = Field(description="Name of the profile that applies to it.")


class BlockedHost(ApiModel):
    """A virtual machine that keeps its host from being emptied."""

    node: ShortText = Field(description="Name of the node that it runs on.")
    virtual_machine: ShortText = Field(description="Namespace and name of the virtual machine, `namespace/name`.")
    code: Reason = Field(
        description="The most telling reason when this was written; `kubectl whimbrel hosts NODE` shows all that hold now."
    )


class ClearedBlocker(ApiModel):
    """A virtual machine that kept its host from being emptied and does not any more."""

    virtual_machine: ShortText = Field(description="Namespace and name of the virtual machine, `namespace/name`.")
    cleared_at: Timestamp = Field(description="When that was seen.")


class HostEvacuation(ApiModel):
    """Whether the nodes can be emptied now, each by itself, without any plan."""

    hosts: int = Field(0, ge=0, description="How many nodes were looked at.")
    evacuable: int = Field(0, ge=0, description="How many of them nobody keeps from being emptied.")
    blocked: tuple[BlockedHost, ...] = Field(
        (), max_length=100, description="The first 100 virtual machines that keep their node from being emptied."
    )
    omitted: int = Field(0, ge=0, description="How many more there are.")
    cleared: tuple[ClearedBlocker, ...] = Field(
        (),
        max_length=100,
        description="The last 100 virtual machines that stood in the way within the hour before this was written: one that "
        "comes back within an hour is written again, and no Event is made of it.",
    )


class UnknownFact(ApiModel):
    """A fact that this profile does not declare and somebody needs."""

    field: ShortText = Field(description="Where to declare it, as `spec.cpu.baseline`.")
    why: ShortText = Field(description="Who needs it, and what comes of its absence.")


class HostProfileStatus(ApiModel):
    """Where the profile is in effect, written by the operator alone."""

    observed_generation: int | None = Field(None, ge=0, description="Generation of the spec that this status is of.")
    node_count: int = Field(0, ge=0, description="How many nodes this profile applies to.")
    nodes: tuple[ShortText, ...] | None = names_field("The first 100 nodes that this profile applies to.", 100)
    overridden: tuple[OverriddenNode, ...] = Field(
        (), max_length=100, description="The first 100 nodes that this profile selects but another profile has."
    )
    unknown: tuple[UnknownFact, ...] = Field(
        (),
        max_length=32,
        description="What is not declared here although running guests, or other profiles to compare with, make it matter. "
        "Whatever has a default is known.",
    )
    evacuation: HostEvacuation | None = Field(
        None,
        description="Whether these nodes can be emptied now. Written only when other virtual machines stand in the way than "
        "before; absent while migration is not enabled here.",
    )
    conditions: tuple[Condition, ...] = conditions_field()


class HostProfile(ApiModel):
    """What a class of nodes can do for live migration."""

    spec: HostProfileSpec = Field(description="What the administrator declares.")
    status: HostProfileStatus = Field(default=HostProfileStatus(), description="Where the profile is in effect.")

    CRD: ClassVar[ResourceDefinition] = ResourceDefinition(
        kind="HostProfile",
        plural="hostprofiles",
        singular="hostprofile",
        short_names=("hprof",),
        scope="Cluster",
        printer_columns=(
            PrinterColumn("Enabled", ".spec.migration.enabled", "boolean"),
            PrinterColumn("Mbps", ".spec.migration.network.linkSpeedMbps", "integer"),
            PrinterColumn("Out", ".spec.migration.limits.parallelOutbound", "integer"),
            PrinterColumn("In", ".spec.migration.limits.parallelInbound", "integer"),
            PrinterColumn("Nodes", ".status.nodeCount", "integer"),
            PrinterColumn("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
