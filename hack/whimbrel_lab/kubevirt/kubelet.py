"""The lab's kubelets: launcher pods start after a while, become ready, end, and go.

One object plays all nodes. What a node lost or held back is said by `powered_off` and `stalled`.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from whimbrel.simulation.kubevirt.effects import ReplaceStatus
from whimbrel.simulation.kubevirt.values import (
    CREATED_BY_LABEL,
    UNPAUSED_GATE,
    Object,
    clone,
    condition_true,
    deleting,
    final,
    labels,
    name,
    namespace,
    phase,
    spec,
    timestamp,
    uid,
    with_condition,
)
from whimbrel_lab.clock import LabClock
from whimbrel_lab.kubevirt.cache import Key, key_of
from whimbrel_lab.kubevirt.cluster import Cluster, Hand
from whimbrel_lab.kubevirt.work import WorkQueue

WORKERS = 4
LEAST_TERMINATION_S = 0.15
"""In real seconds: an instance outlives its guest long enough for virt-controller to end the instance's migrations."""
DIGEST = "sha256:" + "0" * 64


class Addresses:
    """Pod addresses in the order of asking; none is given twice."""

    def __init__(self) -> None:
        self._numbers = itertools.count(2)

    def next(self) -> str:
        """An address out of 10.244.0.0/14."""
        number = next(self._numbers)
        return f"10.{244 + number // 65536 % 4}.{number // 256 % 256}.{number % 256}"


def running_status(pod: Object, clock: LabClock, address: str) -> Object:
    """The status of a pod whose containers run; Ready waits for the readiness gate."""
    now = clock.now()
    known = (pod.get("status") or {}).get("conditions")
    conditions = with_condition(known, "PodScheduled", "True", now)
    conditions = with_condition(conditions, "Initialized", "True", now)
    conditions = with_condition(conditions, "ContainersReady", "True", now)
    conditions = with_condition(
        conditions, "Ready", "False", now, "ReadinessGatesNotReady",
        f'corresponding condition of pod readiness gate "{UNPAUSED_GATE}" does not exist.',
    )  # fmt: skip
    containers = [
        {
            "containerID": f"containerd://{uid(pod)}",
            "image": container["image"],
            "imageID": f"{container['image'].split(':')[0]}@{DIGEST}",
            "name": container["name"],
            "ready": True,
            "restartCount": 0,
            "started": True,
            "state": {"running": {"startedAt": timestamp(now)}},
        }
        for container in spec(pod).get("containers") or ()
    ]
    return {
        "conditions": conditions,
        "containerStatuses": containers,
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "qosClass": "Burstable",
        "startTime": timestamp(now),
    }


class Kubelet:
    """Serves the launcher pods of all nodes."""

    def __init__(self, cluster: Cluster, hand: Hand, pod_start_s: float, termination_s: float) -> None:
        self.powered_off: set[str] = set()
        self.stalled: set[str] = set()
        self.addresses = Addresses()
        self.before_removal: Callable[[Object], Awaitable[None]] | None = None
        """Called with a launcher pod that is about to go: its guest has to end first."""
        self._cluster = cluster
        self._hand = hand
        self._pod_start_s = pod_start_s
        self._termination_s = termination_s
        self._queue: WorkQueue[Key] = WorkQueue(cluster.clock)
        self._seen: dict[str, float] = {}
        self._ending: dict[str, str] = {}
        cluster.pods.observe(self._pod_changed)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._queue.serve(self._reconcile))

    def close(self) -> None:
        """Forget what is still to come."""
        self._queue.close()

    def finish(self, pod: Object, ended: str) -> None:
        """The launcher's process is over: its pod becomes Succeeded or Failed."""
        if not final(pod):
            self._ending.setdefault(uid(pod), ended)
            self._queue.add(key_of(pod))

    def look_again(self, node: str) -> None:
        """After a node came back or its stall ended."""
        for pod in self._cluster.pods_on[node]:
            self._queue.add(key_of(pod))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._seen.pop(uid(old or {}), None)
            self._ending.pop(uid(old or {}), None)
        elif spec(new).get("nodeName") and CREATED_BY_LABEL in labels(new):
            self._queue.add(key_of(new))

    async def _reconcile(self, key: Key) -> None:
        pod = self._cluster.pods.get(*key)
        if pod is None:
            return
        node = str(spec(pod).get("nodeName") or "")
        if not node or node in self.powered_off or CREATED_BY_LABEL not in labels(pod):
            return
        if deleting(pod):
            await self._remove(key, pod)
        elif final(pod):
            return
        elif uid(pod) in self._ending:
            await self._end(pod)
        elif phase(pod) in ("", "Pending"):
            await self._start(key, pod, node)
        elif condition_true(pod, UNPAUSED_GATE) and not condition_true(pod, "Ready"):
            ready: Object = clone(pod)
            now = self._cluster.clock.now()
            ready["status"]["conditions"] = with_condition(ready["status"]["conditions"], "Ready", "True", now)
            await self._hand.carry((ReplaceStatus(ready),))

    async def _start(self, key: Key, pod: Object, node: str) -> None:
        now_s = self._cluster.clock.monotonic()
        due_s = self._seen.setdefault(uid(pod), now_s) + self._pod_start_s
        if node in self.stalled:
            return
        if now_s < due_s:
            self._queue.add_after(key, due_s - now_s)
            return
        started: Object = clone(pod)
        started["status"] = running_status(pod, self._cluster.clock, self.addresses.next())
        await self._hand.carry((ReplaceStatus(started),))

    async def _end(self, pod: Object) -> None:
        over: Object = clone(pod)
        now = self._cluster.clock.now()
        members = over.setdefault("status", {})
        members["phase"] = self._ending[uid(pod)]
        for kind in ("Ready", "ContainersReady"):
            members["conditions"] = with_condition(members.get("conditions"), kind, "False", now, "PodCompleted")
        for container in members.get("containerStatuses") or ():
            code = 0 if members["phase"] == "Succeeded" else 1
            container.update(ready=False, started=False, state={"terminated": {"exitCode": code}})
        await self._hand.carry((ReplaceStatus(over),))
        self._ending.pop(uid(pod), None)

    async def _remove(self, key: Key, pod: Object) -> None:
        if self.before_removal is not None:
            await self.before_removal(pod)
        wait_s = max(self._termination_s / self._cluster.clock.scale, LEAST_TERMINATION_S)
        mark = f"{uid(pod)}/removal"
        due = self._seen.setdefault(mark, self._cluster.clock.monotonic() + wait_s * self._cluster.clock.scale)
        left_s = due - self._cluster.clock.monotonic()
        if left_s > 0:
            self._queue.add_after(key, left_s)
            return
        await self._hand.client.delete("Pod", name(pod), namespace(pod), uid(pod), grace_period_s=0)
        self._seen.pop(mark, None)
