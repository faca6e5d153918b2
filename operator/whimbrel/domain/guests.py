"""What a guest is made of, as far as a target must have it: hardware, network interfaces, volumes.

Parts of `records.Instance`, made by the projections of their names and shared by value: a thousand guests of one template
hold one of each.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GuestHardware:
    """Virtual hardware beside model and features of the processor; equal for all guests of one template."""

    machine_type: str = ""
    """`status.machine.type`: what it booted with."""
    huge_page_size: str = ""
    """`memory.hugepages.pageSize`, or empty."""
    dedicated_cpus: bool = False
    cpu_limited: bool = False
    """Whether its processor time has a limit (`resources.limits.cpu`)."""
    migration_threads: int = 0
    """Streams that its migrations are asked to use by KubeVirt's annotation, through 1.4; 0: it asks for none."""
    realtime: bool = False
    tsc_frequency_hz: int = 0
    """What its clock ticks with, where the guest relies on that to stay; 0: it does not, or it is not known."""
    hyperv: tuple[str, ...] = ()
    """Enabled Hyper-V enlightenments of those that nodes tell by label, sorted."""
    hyperv_passthrough: bool = False
    host_devices: tuple[str, ...] = ()
    """Names of the devices of its host that it holds, USB devices among them."""
    gpus: tuple[str, ...] = ()
    launch_security: str = ""
    """What encrypts its memory: SEV, SEV-SNP, TDX or Secure Execution; empty: nothing does."""
    client_usb: bool = False
    """Whether clients may redirect their USB devices to it."""
    gpu_resources: tuple[str, ...] = ()
    """Resources of device plugins that its GPUs are of, sorted."""
    numa_passthrough: bool = False
    """Whether it sees the NUMA nodes of its host."""
    persistent_state: bool = False
    """Whether the state of its vTPM or EFI outlives a restart."""
    headless: bool = False
    """Whether it has no display."""
    reserved_luns: tuple[str, ...] = ()
    """Names of the LUNs for which it may hold SCSI persistent reservations."""
    shareable_disks: tuple[str, ...] = ()
    """Names of the disks that other guests may write to as well."""
    file_systems: tuple[str, ...] = ()
    """Names of the file systems that a virtiofsd beside it serves."""


NO_HARDWARE = GuestHardware()
"""Nothing special is asked for."""


@dataclass(frozen=True, slots=True)
class GuestInterface:
    """A network interface with the network that it is on."""

    name: str
    binding: str
    """masquerade, bridge, sriov, passt, or the name of a binding plugin; empty where none is stated."""
    network: str
    """`namespace/name` of the NetworkAttachmentDefinition; empty: the pod network."""


PERSISTENT_STATE = "persistentState"
"""Kind of the volume that KubeVirt keeps the state of vTPM and EFI on; not in `spec.volumes`."""


@dataclass(frozen=True, slots=True)
class GuestVolume:
    """A volume of the guest."""

    name: str
    kind: str
    """The member of `spec.volumes[]` that says what it is: persistentVolumeClaim, containerDisk, …; or PERSISTENT_STATE."""
    claim: str = ""
    """Name of the PersistentVolumeClaim, in the guest's namespace; empty where it has none."""
    hotplugged: bool = False
    """Whether a pod beside the launcher holds it."""
    migrated: bool = False
    """Whether the migration copies it too (`status.migratedVolumes`), so that nothing need be shared."""
    shared: bool = False
    """Of a hostDisk: whether it is declared to be the same on every node."""
    used_as: str = ""
    """The volume mode that the guest's launcher was made for, Block or Filesystem; empty: not known."""
