"""Records of cluster objects: the few fields that decisions need, frozen and slotted, made by `inventory.projections`.

A record replaces the raw object before anything is kept (a raw instance is 37 KiB of dictionaries, a record under 1 KiB).
Labels and annotations are shared mappings: never mutated, often interned.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from whimbrel.api import HostProfile, MigrationPlan, VirtualMachineMove
from whimbrel.api.host_profile import NodeSelection
from whimbrel.api.migration_plan import MigrationPlanStatus
from whimbrel.domain.changes import Change
from whimbrel.domain.guests import NO_HARDWARE, GuestHardware, GuestInterface, GuestVolume
from whimbrel.domain.scheduling import Admission, Amounts, Nomination, Scheduling


class Key(NamedTuple):
    """Namespace and name of an object; the namespace is empty for cluster-scoped kinds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """A VirtualMachine: its labels select, its `run_strategy` explains why no instance is there."""

    key: Key
    uid: str
    labels: Labels
    annotations: Labels
    """Only keys under whimbrel.dev/."""
    running: bool
    """Whether it is meant to run."""


@dataclass(frozen=True, slots=True)
class MigrationConfiguration:
    """`migrationConfiguration` as KubeVirt resolved it, or as a policy or the cluster states it.

    None: not stated (only in a policy, where the cluster's value then holds).
    """

    bandwidth_bytes_per_second: int | None = None
    completion_timeout_per_gib: int | None = None
    allow_auto_converge: bool | None = None
    allow_post_copy: bool | None = None
    allow_workload_disruption: bool | None = None
    progress_timeout_s: int | None = None
    max_downtime_ms: int | None = None
    """Acts only where stall detection is on."""
    stall_window_s: int | None = None
    """`experimental.stallDetector.stallProgressTimeout`."""
    compression: str | None = None
    """`experimental.compression` as KubeVirt spells it."""


@dataclass(frozen=True, slots=True)
class MigrationState:
    """`VirtualMachineInstance.status.migrationState`. Believe nothing before `migration_uid` was compared."""

    migration_uid: str
    source_node: str
    target_node: str
    target_pod: str
    mode: str
    """PreCopy, PostCopy, Paused or empty."""
    started_at: datetime | None
    ended_at: datetime | None
    completed: bool
    failed: bool
    failure_reason: str
    abort_requested: bool
    abort_status: str
    policy_name: str
    configuration: MigrationConfiguration | None


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a foreign object."""

    status: str
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class CpuDemand:
    """What the guest's processor needs of a node, by label."""

    model: str
    """A named model, `host-model`, `host-passthrough`, or empty (KubeVirt's default applies)."""
    features: tuple[tuple[str, str], ...]
    """(name, policy) pairs, sorted."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A VirtualMachineInstance: a guest that runs."""

    key: Key
    uid: str
    created_at: datetime
    deleting: bool
    labels: Labels
    annotations: Labels
    """Only keys under whimbrel.dev/."""
    phase: str
    node: str
    """`status.nodeName`."""
    active_pods: tuple[tuple[str, str], ...]
    """(pod UID, node) pairs, sorted."""
    live_migratable: Condition | None
    paused: Condition | None
    agent_connected: bool
    memory_bytes: int
    """Guest memory: `domain.memory.guest`, else the memory request."""
    architecture: str
    cpu: CpuDemand
    node_selector: Labels
    owner_vm: str
    """Name of the owning VirtualMachine, or empty."""
    evacuation_node: str
    local_disk_bytes: int | None
    """Upper bound of the local disks that are copied too and count in KubeVirt's time budget; 0: there are none; None:
    there are some of a size that the API does not tell."""
    migration: MigrationState | None
    resource_version: str
    storage_live_migratable: Condition | None = None
    hardware: GuestHardware = NO_HARDWARE
    interfaces: tuple[GuestInterface, ...] = ()
    volumes: tuple[GuestVolume, ...] = ()
    changes: tuple[Change, ...] = ()
    """What KubeVirt is changing on it just now."""
    hotplugged: bool = False
    """Whether some of its volumes are hotplugged: a pod beside its launcher holds them (KubeVirt contract §6.6)."""
    told_disk_bytes: int = 0
    """Those of its local disks that the API tells the size of; all of them where `local_disk_bytes` is known."""

    @property
    def holds_devices(self) -> bool:
        """Whether it has VFIO devices: of its host, GPUs, or SR-IOV interfaces."""
        hardware = self.hardware
        return bool(hardware.gpus or hardware.host_devices) or any(each.binding == "sriov" for each in self.interfaces)

    def machine(self, machines: Mapping[Key, VirtualMachine]) -> VirtualMachine | None:
        """The VirtualMachine that it is of; None where it has none, or that is not there."""
        return machines.get(self.key._replace(name=self.owner_vm)) if self.owner_vm else None

    @property
    def copied_bytes(self) -> int:
        """Its memory once, and its local disks as far as their size is told."""
        return self.memory_bytes + (self.told_disk_bytes if self.local_disk_bytes is None else self.local_disk_bytes)

    eviction_strategy: str = ""
    """Its own; empty: the cluster's."""
    selinux_told: bool = True
    """Whether virt-handler has written its SELinux context, be it that there is none."""
    decentralized_failure: Condition | None = None
    """Why its move between clusters or namespaces does not get on; None: nothing of the kind."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A VirtualMachineInstanceMigration, anybody's."""

    key: Key
    uid: str
    created_at: datetime
    deleting: bool
    labels: Labels
    """Only keys under whimbrel.dev/."""
    annotations: Labels
    """Only keys under whimbrel.dev/."""
    instance_name: str
    added_node_selector: Labels
    phase: str
    final_at: datetime | None
    """When it ended, by KubeVirt; None before, or where KubeVirt did not say."""
    handed_off: bool
    """Whether it ever got as far as the hand-off to the nodes; from then on the instance tells how it ended."""
    resource_version: str
    deletion_requested_at: datetime | None = None
    """When somebody first asked for its end, by the API server; None: nobody has."""

    @property
    def instance_key(self) -> Key:
        """Key of the instance that it moves."""
        return Key(self.key.namespace, self.instance_name)

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a node."""

    key: str
    value: str
    effect: str

    @property
    def keeps_out(self) -> bool:
        """Whether pods that do not tolerate it are not scheduled there."""
        return self.effect in ("NoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class Node:
    """A Node."""

    key: Key
    uid: str
    labels: Labels
    ready: bool
    unschedulable: bool
    taints: tuple[Taint, ...]
    allocatable_memory_bytes: int
    allocatable_cpu_millicores: int
    allocatable_pods: int
    allocatable: Amounts = ()
    """Everything else: ephemeral storage, huge pages, devices."""
    heartbeat_at: datetime | None = field(default=None, compare=False)
    """KubeVirt's; None where there is none. It changes each minute and by itself changes nothing, so it is not compared."""

    @property
    def name(self) -> str:
        """The node's name."""
        return self.key.name

    @property
    def hostname(self) -> str:
        """Value of the label kubernetes.io/hostname, which may differ from the name."""
        return self.labels.get("kubernetes.io/hostname", self.key.name)


@dataclass(frozen=True, slots=True)
class Pod:
    """A Pod: what it takes from its node; for launchers and virt-handlers also who it belongs to and how to reach it."""

    key: Key
    uid: str
    labels: Labels
    node: str
    phase: str
    deleting: bool
    memory_bytes: int
    cpu_millicores: int
    instance_uid: str
    """UID of the VirtualMachineInstance that the pod names as its controller, else empty. It is that instance's launcher only
    where the namespaces are the same: an owner reference is written by whoever creates the pod."""
    migration_uid: str
    """Label kubevirt.io/migrationJobUID of a target launcher, else empty."""
    handler: bool
    """Whether it is a virt-handler."""
    ip: str
    """Launchers and virt-handlers only."""
    metrics_port: int
    """Container port named `metrics` of a virt-handler, else 0."""
    requests: Amounts = ()
    """Everything else that it asks for: ephemeral storage, huge pages, devices."""
    scheduling: Scheduling | None = None
    """Of launchers, and of other pods that keep pods away from themselves; None: it has no say."""
    admission: Admission | None = None
    """Of launchers and of pods that hold hotplugged volumes only."""
    claims: tuple[str, ...] = ()
    """Names of the PersistentVolumeClaims that it uses."""
    nomination: Nomination | None = None
    """Where the scheduler makes room for it by evicting others; None for nearly all pods."""
    launcher_uid: str = ""
    """Of a pod that holds hotplugged volumes, the launcher that it stands beside; else empty."""

    @property
    def ended(self) -> bool:
        """Whether it takes nothing from its node any more."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A Namespace."""

    key: Key
    uid: str
    labels: Labels
    deleting: bool


@dataclass(frozen=True, slots=True)
class KubeVirt:
    """The KubeVirt object: release, health, and the cluster's migration configuration with defaults filled in."""

    key: Key
    uid: str
    phase: str
    version: str
    """`status.observedKubeVirtVersion`, or empty."""
    updating: bool
    """Whether a roll-out is under way (observed and target version differ)."""
    configuration: MigrationConfiguration
    parallel_migrations_per_cluster: int
    parallel_outbound_per_node: int
    cpu_model: str
    """Cluster-wide default CPU model, or empty."""
    feature_gates: frozenset[str]
    eviction_strategy: str = ""
    """Of guests that name none, or empty."""
    deleting: bool = False
    available: Condition | None = None
    degraded: Condition | None = None
    matches_selinux_level: bool = True
    """Whether a target launcher gets the SELinux level of its source, which then has to be known."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What migrations and policies can say here, by the served schemas; what is not served is dropped without a word."""

    added_node_selector: bool
    """Whether a migration can name its target: `spec.addedNodeSelector`, from KubeVirt 1.6."""
    policy_fields: frozenset[str]
    """Members of a MigrationPolicy's spec; those of `experimental` as `experimental.compression` too."""

    @property
    def workload_disruption(self) -> bool:
        """Whether a guest can be suspended for the rest of the copy (mode Paused), from KubeVirt 1.5."""
        return "allowWorkloadDisruption" in self.policy_fields

    @property
    def stall_detection(self) -> bool:
        """Whether this KubeVirt has a stall detector, be it switched on or not: alpha in KubeVirt 1.9."""
        return {"maxDowntimeMs", "experimental.stallDetector"} <= self.policy_fields

    def spares(self, instance: Instance) -> bool:
        """Whether this guest is neither suspended nor switched to post-copy, but given all the time that its last step takes:
        one with VFIO devices, from the release on that serves maxDowntimeMs, 1.9.
        """
        return "maxDowntimeMs" in self.policy_fields and instance.holds_devices

    @property
    def compression(self) -> bool:
        """Whether memory can be compressed, from KubeVirt 1.9."""
        return "experimental.compression" in self.policy_fields


@dataclass(frozen=True, slots=True)
class Policy:
    """A MigrationPolicy, anybody's."""

    key: Key
    uid: str
    ours: bool
    """Whether it carries our label whimbrel.dev/managed."""
    instance_pairs: Labels | None
    """`virtualMachineInstanceSelector`; None together with namespace_pairs when the policy has no selectors at all."""
    namespace_pairs: Labels | None
    configuration: MigrationConfiguration
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """A MigrationPlan. `plan` is None where the stored object breaks a rule; `error` then says which, in the schema's words."""

    key: Key
    uid: str
    generation: int
    resource_version: str
    created_at: datetime
    deleting: bool
    finalizers: tuple[str, ...]
    approved_hash: str
    """Value of the annotation whimbrel.dev/approve, or empty."""
    plan: MigrationPlan | None
    error: str = ""
    reported_error: str = ""
    """What the stored status says about a broken rule: message of its condition Ready with reason InvalidSpec, or empty."""
    remembered: MigrationPlanStatus | None = None
    """The stored status where `plan` is None and it can be read: a broken spec makes nothing untrue that has happened."""

    @property
    def status(self) -> MigrationPlanStatus:
        """The stored status."""
        return self.plan.status if self.plan is not None else self.remembered or MigrationPlanStatus()


@dataclass(frozen=True, slots=True)
class Profile:
    """A HostProfile; `profile` and `error` as for a Plan."""

    key: Key
    uid: str
    generation: int
    resource_version: str
    created_at: datetime
    profile: HostProfile | None
    selection: NodeSelection | None
    """Which nodes it means; known where another part of it breaks a rule, too. None where that cannot be read."""
    error: str = ""
    reported_error: str = ""
    """As for a Plan."""


@dataclass(frozen=True, slots=True)
class Move:
    """A VirtualMachineMove."""

    key: Key
    uid: str
    generation: int
    resource_version: str
    created_at: datetime
    deleting: bool
    plan_uid: str
    """UID of the owning MigrationPlan."""
    plan_name: str
    move: VirtualMachineMove
    instance_key: Key = field(init=False, repr=False, compare=False)
    """Key of the instance that moves."""
    instance_uid: str = field(init=False, repr=False, compare=False)
    """UID of the instance that moves."""
    memory_bytes: int = field(init=False, repr=False, compare=False)
    """Its memory when it was quoted."""

    def __post_init__(self) -> None:
        reference = self.move.spec.instance
        object.__setattr__(self, "instance_key", Key(reference.namespace, reference.name))
        object.__setattr__(self, "instance_uid", reference.uid)
        object.__setattr__(self, "memory_bytes", reference.memory_bytes)
