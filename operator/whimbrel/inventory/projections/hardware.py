"""Virtual hardware of a guest beside model and features of its processor (KubeVirt contract §2)."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from whimbrel.domain.guests import GuestHardware
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json

ENLIGHTENMENTS = (
    "frequencies",
    "ipi",
    "reenlightenment",
    "reset",
    "runtime",
    "synic",
    "synictimer",
    "tlbflush",
    "vpindex",
)
"""Hyper-V features that KubeVirt labels nodes with (KubeVirt contract §10)."""

MIGRATION_THREADS = "kubevirt.io/multiThreadedQemuMigration"
"""Annotation through KubeVirt 1.4: how many streams its migrations use."""

_ENCRYPTION = {"sev": "SEV", "snp": "SEV-SNP", "tdx": "TDX"}


@lru_cache(maxsize=2048)
def _shared(hardware: GuestHardware) -> GuestHardware:
    return hardware


def hardware(raw: Json) -> GuestHardware:
    """What the instance's domain asks of a host."""
    domain = reading.member(raw, "spec", "domain")
    hyperv = _hyperv(domain)
    return _shared(
        GuestHardware(
            machine_type=reading.word(raw, "status", "machine", "type"),
            huge_page_size=reading.word(domain, "memory", "hugepages", "pageSize"),
            dedicated_cpus=reading.flag(domain, "cpu", "dedicatedCpuPlacement"),
            cpu_limited=bool(reading.optional_millicores(domain, "resources", "limits", "cpu")),
            migration_threads=_migration_threads(raw),
            realtime=reading.find(domain, "cpu", "realtime") is not None,
            tsc_frequency_hz=_tsc_frequency(raw, domain, hyperv),
            hyperv=hyperv,
            hyperv_passthrough=_on(reading.member(domain, "features"), "hypervPassthrough"),
            host_devices=_names(domain, "hostDevices"),
            gpus=_names(domain, "gpus"),
            launch_security=_launch_security(raw, domain),
            client_usb=reading.find(domain, "devices", "clientPassthrough") is not None,
            gpu_resources=_gpu_resources(domain),
            numa_passthrough=reading.find(domain, "cpu", "numa", "guestMappingPassthrough") is not None,
            persistent_state=_keeps_state(domain),
            headless=reading.find(domain, "devices", "autoattachGraphicsDevice") is False,
            reserved_luns=tuple(
                reading.word(disk, "name") for disk in _disks(domain) if reading.flag(disk, "lun", "reservation")
            ),
            shareable_disks=tuple(
                reading.word(disk, "name") for disk in _disks(domain) if reading.flag(disk, "shareable")
            ),
            file_systems=_names(domain, "filesystems"),
        )
    )


def _migration_threads(raw: Json) -> int:
    asked = reading.word(raw, "metadata", "annotations", MIGRATION_THREADS)
    return int(asked) if asked.isascii() and asked.isdecimal() and len(asked) <= 3 else 0


def _hyperv(domain: Json) -> tuple[str, ...]:
    features = reading.member(domain, "features", "hyperv")
    return tuple(name for name in ENLIGHTENMENTS if _on(features, name))


def _on(features: Json, name: str) -> bool:
    """A feature that is mentioned is on unless it says otherwise."""
    return isinstance(features.get(name), Mapping) and reading.find(features, name, "enabled") is not False


def _disks(domain: Json) -> Iterator[Json]:
    return reading.items(domain, "devices", "disks")


def _names(domain: Json, kind: str) -> tuple[str, ...]:
    return tuple(reading.word(device, "name") for device in reading.items(domain, "devices", kind))


def _gpu_resources(domain: Json) -> tuple[str, ...]:
    named = {reading.word(gpu, "deviceName") for gpu in reading.items(domain, "devices", "gpus")}
    return tuple(sorted(named - {""}))


def _keeps_state(domain: Json) -> bool:
    """Of its TPM, unless that is switched off, or of its EFI."""
    tpm = reading.find(domain, "devices", "tpm", "enabled") is not False
    return (tpm and reading.flag(domain, "devices", "tpm", "persistent")) or reading.flag(
        domain, "firmware", "bootloader", "efi", "persistent"
    )


def _launch_security(raw: Json, domain: Json) -> str:
    """On s390x any launch security is Secure Execution."""
    security = reading.find(domain, "launchSecurity")
    if not isinstance(security, Mapping):
        return ""
    if reading.word(raw, "spec", "architecture") == "s390x":
        return "Secure Execution"
    return next((name for member, name in _ENCRYPTION.items() if security.get(member) is not None), "")


def _tsc_frequency(raw: Json, domain: Json, hyperv: tuple[str, ...]) -> int:
    """Of guests with re-enlightenment or an invariant TSC; KubeVirt hints it to others too, who can do without."""
    invariant = any(
        feature.get("name") == "invtsc" and reading.word(feature, "policy") in ("", "require")
        for feature in reading.items(domain, "cpu", "features")
    )
    if not invariant and "reenlightenment" not in hyperv:
        return 0
    return reading.whole(raw, "status", "topologyHints", "tscFrequency")
