"""Hotplug: the pods that hold hotplugged volumes beside a launcher, as far as they take room and quota.

KubeVirt makes one beside the target launcher too, on the same node, as soon as that runs. Where there is no room for it the
migration stays pending, and its launcher is made anew again and again (KubeVirt contract §6.4, §6.6). Called by the ledger.
"""

from collections.abc import Iterable, Mapping

from whimbrel.domain.records import Key, Pod
from whimbrel.domain.scheduling import Admission, Container

_REQUESTS = (("cpu", 10), ("memory", 2_000_000))
_LIMITS = (("cpu", 100), ("memory", 80_000_000))
UNSEEN = Pod(
    key=Key("", ""),
    uid="",
    labels={},
    node="",
    phase="",
    deleting=False,
    memory_bytes=dict(_REQUESTS)["memory"],
    cpu_millicores=dict(_REQUESTS)["cpu"],
    instance_uid="",
    migration_uid="",
    handler=False,
    ip="",
    metrics_port=0,
    admission=Admission((Container(_REQUESTS, _LIMITS),)),
)
"""What stands in for a pod that nobody has seen: what KubeVirt 1.3 to 1.9 states unless told otherwise
(`supportContainerResources` of type hotplug-disk)."""


class Holders:
    """The pods of a snapshot that hold hotplugged volumes, by the launcher that they stand beside."""

    def __init__(self, pods: Iterable[Pod]) -> None:
        """While volumes come and go a launcher has two for a moment; the one that stays counts. What a pod says of itself
        counts in its own namespace alone.
        """
        seen: dict[tuple[str, str], Pod] = {}
        for pod in pods:
            if pod.launcher_uid and not pod.ended:
                beside = (pod.launcher_uid, pod.key.namespace)
                held = seen.get(beside)
                seen[beside] = pod if held is None else max(pod, held, key=_permanence)
        self._seen: Mapping[tuple[str, str], Pod] = seen

    def seen(self, launcher: Pod) -> Pod | None:
        """The pod beside a launcher, bound or not; None where there is none yet."""
        return self._seen.get((launcher.uid, launcher.key.namespace))

    def like(self, launcher: Pod | None) -> Pod:
        """What the pod beside a further launcher of the same guest will be like."""
        return (self.seen(launcher) or UNSEEN) if launcher is not None else UNSEEN


def _permanence(pod: Pod) -> tuple[bool, str]:
    return (not pod.deleting, pod.uid)
