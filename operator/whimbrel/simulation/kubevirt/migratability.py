"""Why an instance is not live migratable, as its virt-handler finds out: the first reason, and the list for storage.

Not refreshed while a migration runs. Called by `agents` when a guest begins to run.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from whimbrel.simulation.kubevirt import policies
from whimbrel.simulation.kubevirt.launchers import HOST_MODEL
from whimbrel.simulation.kubevirt.values import (
    Object,
    annotations,
    labels,
    name,
    spec,
    status,
    with_condition,
)

ALLOW_BRIDGE_ANNOTATION = "kubevirt.io/allow-pod-bridge-network-live-migration"
Finding = tuple[str, str]


def conditions(
    instance: Mapping[str, Any],
    node: Mapping[str, Any],
    now: datetime,
    kubevirt: Mapping[str, Any] | None = None,
) -> list[Object]:
    """The instance's conditions with LiveMigratable and StorageLiveMigratable set."""
    found = findings(instance, node, kubevirt)
    kept = status(instance).get("conditions")
    if found:
        reason, message = found[0]
        kept = with_condition(kept, "LiveMigratable", "False", now, reason, message)
    else:
        kept = with_condition(kept, "LiveMigratable", "True", now)
    ignored = ("DisksNotLiveMigratable", "SecureExecutionNotLiveMigratable")
    about_storage = [each for each in found if each[0] not in ignored] + _reservations(instance)
    if about_storage:
        message = ", ".join(f"{reason}: {text}" for reason, text in about_storage)
        return with_condition(kept, "StorageLiveMigratable", "False", now, "NotMigratable", message)
    return with_condition(kept, "StorageLiveMigratable", "True", now)


def findings(
    instance: Mapping[str, Any], node: Mapping[str, Any], kubevirt: Mapping[str, Any] | None = None
) -> list[Finding]:
    """All (reason, message) pairs in KubeVirt's order."""
    return [
        *_interfaces(instance),
        *_host_model(instance, node),
        *_devices(instance, kubevirt),
        *_secured(instance),
        *_hyperv(instance),
        *_disks(instance),
    ]


def _interfaces(instance: Mapping[str, Any]) -> list[Finding]:
    networks = [each for each in spec(instance).get("networks") or () if each.get("pod") is not None]
    devices = (spec(instance).get("domain") or {}).get("devices") or {}
    interfaces = {each["name"]: each for each in devices.get("interfaces") or ()}
    for network in networks:
        interface = interfaces.get(network["name"])
        if interface is not None and ("masquerade" in interface or "passtBinding" in interface):
            continue
        if interface is not None and "bridge" in interface and ALLOW_BRIDGE_ANNOTATION in annotations(instance):
            continue
        text = "cannot migrate VMI which does not use masquerade to connect to the pod network"
        return [("InterfaceNotLiveMigratable", text)]
    return []


def _host_model(instance: Mapping[str, Any], node: Mapping[str, Any]) -> list[Finding]:
    cpu = (spec(instance).get("domain") or {}).get("cpu") or {}
    if cpu.get("model") != "host-model" or any(key.startswith(HOST_MODEL) for key in labels(node)):
        return []
    text = f'the node "{name(node)}" does not allow migration with host-model'
    return [("CPUModeLiveMigratable", text)]


def _devices(instance: Mapping[str, Any], kubevirt: Mapping[str, Any] | None) -> list[Finding]:
    devices = (spec(instance).get("domain") or {}).get("devices") or {}
    if devices.get("hostDevices"):
        return [("HostDeviceNotLiveMigratable", "VMI uses a PCI host devices")]
    gpus = devices.get("gpus") or ()
    if len(gpus) > 1:
        return [("HostDeviceNotLiveMigratable", "VMI uses too many GPUs")]
    if not gpus:
        return []
    if not policies.gate_enabled(kubevirt, "VGPULiveMigration"):
        return [("HostDeviceNotLiveMigratable", "VMI uses a GPU and VGPULiveMigration is not enabled")]
    configuration = spec(kubevirt or {}).get("configuration") or {}
    permitted = (configuration.get("permittedHostDevices") or {}).get("mediatedDevices") or ()
    if gpus[0].get("deviceName") in {each.get("resourceName") for each in permitted}:
        return []
    return [("HostDeviceNotLiveMigratable", "VMI uses a GPU that is no permitted mediated device")]


def _secured(instance: Mapping[str, Any]) -> list[Finding]:
    secured = (spec(instance).get("domain") or {}).get("launchSecurity")
    if secured is None:
        return []
    if "sev" in secured or "snp" in secured:
        return [("SEVNotLiveMigratable", "VMI uses SEV")]
    if "tdx" in secured:
        return [("TDXNotLiveMigratable", "VMI uses TDX")]
    return [("SecureExecutionNotLiveMigratable", "VMI uses Secure Execution")]


def _hyperv(instance: Mapping[str, Any]) -> list[Finding]:
    features = (spec(instance).get("domain") or {}).get("features") or {}
    found: list[Finding] = []
    reenlightenment = (features.get("hyperv") or {}).get("reenlightenment")
    if _on(reenlightenment) and not (status(instance).get("topologyHints") or {}).get("tscFrequency"):
        text = "HyperV Reenlightenment VMIs cannot migrate when TSC Frequency is not exposed on the cluster"
        found.append(("NoTSCFrequencyNotLiveMigratable", text))
    if _on(features.get("hypervPassthrough")):
        found.append(("HypervPassthroughNotLiveMigratable", "VMI uses hyperv passthrough"))
    return found


def _disks(instance: Mapping[str, Any]) -> list[Finding]:
    migrated = {each["volumeName"] for each in status(instance).get("migratedVolumes") or ()}
    known = {each["name"]: each for each in status(instance).get("volumeStatus") or ()}
    for volume in spec(instance).get("volumes") or ():
        if volume["name"] in migrated:
            continue
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName") or (volume.get("dataVolume") or {}).get(
            "name"
        )
        if claim:
            modes = ((known.get(volume["name"]) or {}).get("persistentVolumeClaimInfo") or {}).get("accessModes")
            if modes is None or "ReadWriteMany" not in modes:
                text = (
                    f"cannot migrate VMI: PVC {claim} is not shared, live migration requires that all PVCs must be "
                    "shared (using ReadWriteMany access mode)"
                )
                return [("DisksNotLiveMigratable", text)]
        if "hostDisk" in volume and not volume["hostDisk"].get("shared"):
            return [("DisksNotLiveMigratable", "cannot migrate VMI with non-shared HostDisk")]
    return []


def _reservations(instance: Mapping[str, Any]) -> list[Finding]:
    devices = (spec(instance).get("domain") or {}).get("devices") or {}
    if any((disk.get("lun") or {}).get("reservation") for disk in devices.get("disks") or ()):
        return [("PersistentReservationNotLiveMigratable", "VMI uses SCSI persistent reservation")]
    return []


def _on(feature: Mapping[str, Any] | None) -> bool:
    return feature is not None and feature.get("enabled", True) is not False


def migration_method(instance: Mapping[str, Any]) -> str:
    """BlockMigration when volumes are migrated or any volume is local to the launcher, else LiveMigration."""
    if status(instance).get("migratedVolumes"):
        return "BlockMigration"
    devices = (spec(instance).get("domain") or {}).get("devices") or {}
    read_only = {
        disk["name"] for disk in devices.get("disks") or () if "cdrom" in disk and disk["cdrom"].get("readonly", True)
    }
    for volume in spec(instance).get("volumes") or ():
        shared = "persistentVolumeClaim" in volume or "dataVolume" in volume
        if not shared and volume["name"] not in read_only:
            return "BlockMigration"
    return "LiveMigration"
