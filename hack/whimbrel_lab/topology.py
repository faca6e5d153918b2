"""What a lab consists of: hosts with their links, virtual machines with their guests, and KubeVirt's configuration.

Plain values; `fleet` turns them into Kubernetes objects, `lab` into a running data centre.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from whimbrel.simulation.fluid import ZSTD_RATIO
from whimbrel_lab.hypervisor import GuestSpec, HostSpec

MIB = 1024**2
GIB = 1024**3
NAMESPACE = "default"
CURRENT = "v1.9.0"
BUSY_SET_MIB = 40
INSTALL_NAMESPACE = "kubevirt"
MODELS = ("Cascadelake-Server", "Skylake-Server", "Haswell")
BLOCKERS = ("", "HostDevice", "SharedDisk", "BridgedPodNetwork", "Sev")


class TopologyError(ValueError):
    """A lab cannot be built like this; the text says what to change."""


@dataclass(frozen=True, slots=True)
class LabHost:
    """A node. The first CPU model is its host model."""

    name: str
    memory_bytes: int = 16 * GIB
    cpu: int = 16
    link_bytes_per_second: int = 125_000_000
    labels: Mapping[str, str] = field(default_factory=dict)
    cpu_models: Sequence[str] = MODELS
    cpu_vendor: str = "Intel"
    cpu_features: Sequence[str] = ("vmx", "avx512f")
    taints: Sequence[Mapping[str, str]] = ()
    unschedulable: bool = False
    pods: int = 500

    @property
    def spec(self) -> HostSpec:
        """For the hypervisor."""
        return HostSpec(self.name, self.link_bytes_per_second)


@dataclass(frozen=True, slots=True)
class LabGuest:
    """A virtual machine that runs on `host` when the lab is up.

    `blocker` makes KubeVirt call it not live migratable: `HostDevice`, `SharedDisk` (a claim that only one node may use),
    `BridgedPodNetwork`, `Sev`. `labels` are on the machine and on its instance.
    """

    name: str
    host: str
    namespace: str = NAMESPACE
    memory_bytes: int = 64 * MIB
    touched_bytes: int = 48 * MIB
    working_set_bytes: int = 4 * MIB
    dirty_bytes_per_second: int = MIB
    zstd_ratio: float = ZSTD_RATIO
    cores: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    cpu_model: str = "host-model"
    cpu_features: Sequence[str] = ()
    blocker: str = ""
    agent: bool = True
    run_strategy: str = "Always"
    eviction_strategy: str = "LiveMigrate"
    instance_spec: Mapping[str, Any] = field(default_factory=dict)
    """Merged over the rendered instance's spec, member by member at the top."""

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the cluster takes, in lab seconds."""

    pod_start_s: float = 1.0
    """From a pod's binding to its containers being ready."""
    target_preparation_s: float = 0.2
    """From the hand-off to the target listening."""
    termination_s: float = 0.5
    """From a pod's deletion to its end."""


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole lab. `migrations` is `spec.configuration.migrations` of the KubeVirt object."""

    hosts: Sequence[LabHost]
    guests: Sequence[LabGuest] = ()
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Namespaces with their labels, beside those of the guests."""
    migrations: Mapping[str, Any] = field(default_factory=dict)
    feature_gates: Sequence[str] = ()
    version: str = CURRENT
    timing: Timing = Timing()
    heartbeats: bool = True
    _guest_names: Mapping[tuple[str, str], str] = field(init=False, repr=False, compare=False)
    """What the hypervisor calls each guest: its machine's name, with the namespace in front where two share it."""

    def __post_init__(self) -> None:
        hosts = [host.name for host in self.hosts]
        if not hosts:
            raise TopologyError("a lab needs at least one host")
        if twice := [name for name, count in Counter(hosts).items() if count > 1]:
            raise TopologyError(f"hosts have the same name: {', '.join(twice)}")
        if same := [key for key, count in Counter(guest.key for guest in self.guests).items() if count > 1]:
            raise TopologyError(f"virtual machines have the same name: {', '.join('/'.join(key) for key in same)}")
        known = set(hosts)
        for guest in self.guests:
            if guest.host not in known:
                raise TopologyError(f"{guest.name} is to run on {guest.host}; there are {', '.join(sorted(known))}")
            if guest.blocker not in BLOCKERS:
                choices = ", ".join(each for each in BLOCKERS if each)
                raise TopologyError(f"{guest.name}: unknown blocker {guest.blocker}; choose one of {choices}")
        shared = Counter(guest.name for guest in self.guests)
        names = {
            guest.key: guest.name if shared[guest.name] == 1 else f"{guest.namespace}.{guest.name}"
            for guest in self.guests
        }
        object.__setattr__(self, "_guest_names", names)

    def placed_in(self, namespace: str) -> "Topology":
        """The same lab with another namespace in the place of `default`."""
        guests = [replace(each, namespace=namespace) if each.namespace == NAMESPACE else each for each in self.guests]
        return replace(self, guests=tuple(guests))

    def guest_spec(self, guest: LabGuest) -> GuestSpec:
        """For the hypervisor."""
        touched = min(guest.touched_bytes, guest.memory_bytes)
        return GuestSpec(
            name=self._guest_names[guest.key],
            memory_bytes=guest.memory_bytes,
            touched_bytes=touched,
            working_set_bytes=min(guest.working_set_bytes, touched),
            dirty_bytes_per_second=guest.dirty_bytes_per_second,
            zstd_ratio=guest.zstd_ratio,
        )


def simple(
    hosts: int = 3,
    guests: int = 8,
    *,
    link_bytes_per_second: int = 40_000_000,
    busy_bytes_per_second: int | None = None,
    version: str = CURRENT,
) -> Topology:
    """Hosts node-1 … and virtual machines vm-01 … on the first of them, as `up` starts them, under that version of KubeVirt.

    vm-01 rewrites most of its memory at the busy rate; None: it is as calm as the others.
    """
    on_first = tuple(
        LabGuest(
            name=f"vm-{number:02}",
            host="node-1",
            labels={"app": "web" if number % 2 else "database"},
            memory_bytes=(64 + 16 * (number % 3)) * MIB,
            touched_bytes=48 * MIB,
            working_set_bytes=(4 if number > 1 or busy_bytes_per_second is None else BUSY_SET_MIB) * MIB,
            dirty_bytes_per_second=(busy_bytes_per_second if number == 1 else None) or (1 + number % 4) * MIB,
        )
        for number in range(1, guests + 1)
    )
    machines = tuple(
        LabHost(f"node-{number}", link_bytes_per_second=link_bytes_per_second) for number in range(1, hosts + 1)
    )
    return Topology(hosts=machines, guests=on_first, version=version)
