"""What of an instance decides how its migration is driven: devices of its host, and over how many connections it goes.

KubeVirt 1.9's virt-handler and launcher; called when a migration begins.
"""

from collections.abc import Mapping
from typing import Any

from whimbrel.simulation.kubevirt import quantities
from whimbrel.simulation.kubevirt.values import spec


def passes_devices_through(instance: Mapping[str, Any]) -> bool:
    """Whether the guest has a device of its host: a host device, a GPU, or a virtual function of a network card."""
    devices = _domain(instance).get("devices") or {}
    virtual_functions = any("sriov" in each for each in devices.get("interfaces") or ())
    return bool(devices.get("hostDevices") or devices.get("gpus") or virtual_functions)


def goes_in_parallel(instance: Mapping[str, Any]) -> bool:
    """Whether memory goes over eight connections at once; the threads for them would starve a guest of limited processors."""
    domain = _domain(instance)
    limit = ((domain.get("resources") or {}).get("limits") or {}).get("cpu")
    dedicated = (domain.get("cpu") or {}).get("dedicatedCpuPlacement")
    return not dedicated and quantities.milli(limit) == 0


def goes_compressed(configuration: Mapping[str, Any], instance: Mapping[str, Any]) -> bool:
    """Whether memory is compressed by zstd on its way, which only parallel connections do."""
    asked = (configuration.get("experimental") or {}).get("compression") == "zstd"
    return asked and goes_in_parallel(instance)


def _domain(instance: Mapping[str, Any]) -> Mapping[str, Any]:
    return spec(instance).get("domain") or {}
