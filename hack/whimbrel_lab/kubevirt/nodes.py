"""The lab's nodes: heartbeats, and nodes that fail and come back.

A failed node is told on the Node as kube's node controller tells it, and its guests are lost unless only the kubelet fails.
"""

import asyncio

import aiohttp

from whimbrel.simulation.kubevirt.effects import Replace, ReplaceStatus
from whimbrel.simulation.kubevirt.values import (
    SCHEDULABLE_LABEL,
    Object,
    clone,
    condition_true,
    controller_uid,
    final,
    timestamp,
    with_condition,
)
from whimbrel_lab.kubevirt.client import RequestRefused
from whimbrel_lab.kubevirt.cluster import Cluster, Hand
from whimbrel_lab.kubevirt.handler import Handler
from whimbrel_lab.kubevirt.kubelet import Kubelet
from whimbrel_lab.kubevirt.metrics import Metrics

HEARTBEAT_S = 60.0
HEARTBEAT_STALE_S = 300.0
LEAST_REAL_HEARTBEAT_S = 15.0
MOST_HEARTBEATS_PER_SECOND = 5
UNREACHABLE = "node.kubernetes.io/unreachable"


def heartbeat_interval_s(nodes: int, scale: float) -> float:
    """Real seconds between two heartbeats of a node; on a fast clock they come less often than they would."""
    return max(HEARTBEAT_S / scale, LEAST_REAL_HEARTBEAT_S, nodes / MOST_HEARTBEATS_PER_SECOND)


def heartbeats_keep_up(nodes: int, scale: float) -> bool:
    """Whether they come often enough to be believed; else the lab writes none, as one gone stale means a dead virt-handler."""
    return 2 * heartbeat_interval_s(nodes, scale) * scale <= HEARTBEAT_STALE_S


class Nodes:
    """Keeps the Node objects."""

    def __init__(
        self,
        cluster: Cluster,
        hand: Hand,
        kubelet: Kubelet,
        handler: Handler,
        metrics: Metrics,
        heartbeats: bool,
    ) -> None:
        self._cluster = cluster
        self._clock = cluster.clock
        self._hand = hand
        self._kubelet = kubelet
        self._handler = handler
        self._metrics = metrics
        self._heartbeats = heartbeats
        self._failed_at: dict[str, float] = {}

    async def run(self) -> None:
        """Heartbeats until cancelled."""
        while True:
            count = len(self._cluster.nodes.objects)
            real_s = heartbeat_interval_s(count, self._clock.scale)
            stale_s = HEARTBEAT_STALE_S / self._clock.scale
            await asyncio.sleep(min(real_s, stale_s) if self._failed_at else real_s)
            for name in [key[1] for key in self._cluster.nodes.objects]:
                try:
                    await self._beat(name)
                except (RequestRefused, aiohttp.ClientError, TimeoutError):
                    continue

    async def fail(self, name: str, *, guests_survive: bool = False) -> None:
        """The node stops answering: NotReady, tainted, its pods not ready; with its guests, unless those survive."""
        self._failed_at[name] = self._clock.monotonic()
        if not guests_survive:
            self._kubelet.powered_off.add(name)
            self._metrics.silence(name)
            await self._handler.power_off(name)
        else:
            self._kubelet.stalled.add(name)
        await self._report(name, ready=False)
        for pod in self._cluster.pods_on[name]:
            if final(pod) or not condition_true(pod, "Ready"):
                continue
            lost: Object = clone(pod)
            known, now = lost["status"]["conditions"], self._clock.now()
            lost["status"]["conditions"] = with_condition(known, "Ready", "False", now, "NodeNotReady")
            try:
                await self._hand.carry((ReplaceStatus(lost),))
            except RequestRefused as refused:
                if not refused.conflict:
                    raise

    async def restore(self, name: str) -> None:
        """The node answers again; pods whose guests were lost have failed."""
        self._failed_at.pop(name, None)
        self._kubelet.powered_off.discard(name)
        self._kubelet.stalled.discard(name)
        self._metrics.silence(name, False)
        await self._report(name, ready=True)
        for pod in self._cluster.pods_on[name]:
            owner = self._cluster.instance(controller_uid(pod))
            if owner is not None and self._handler.lost(owner):
                self._kubelet.finish(pod, "Failed")
        self._kubelet.look_again(name)

    async def _report(self, name: str, *, ready: bool) -> None:
        node: Object = clone(await self._hand.client.get("Node", name))
        taints = [each for each in node["spec"].get("taints") or () if each["key"] != UNREACHABLE]
        if not ready:
            taints += [{"effect": effect, "key": UNREACHABLE} for effect in ("NoSchedule", "NoExecute")]
        if taints:
            node["spec"]["taints"] = taints
        else:
            node["spec"].pop("taints", None)
        if ready:
            node["metadata"]["labels"][SCHEDULABLE_LABEL] = "true"
        node = clone(await self._hand.write(node))
        reason = "KubeletReady" if ready else "NodeStatusUnknown"
        known = node["status"].get("conditions")
        value = "True" if ready else "Unknown"
        node["status"]["conditions"] = with_condition(known, "Ready", value, self._clock.now(), reason)
        await self._hand.carry((ReplaceStatus(node),))

    async def _beat(self, name: str) -> None:
        node = self._cluster.nodes.get("", name)
        if node is None:
            return
        failed_at = self._failed_at.get(name)
        beaten: Object = clone(node)
        if failed_at is None:
            keep_up = heartbeats_keep_up(len(self._cluster.nodes.objects), self._clock.scale)
            if not (self._heartbeats and keep_up):
                return
            beaten["metadata"].setdefault("annotations", {})["kubevirt.io/heartbeat"] = timestamp(self._clock.now())
        elif self._clock.monotonic() - failed_at > HEARTBEAT_STALE_S:
            beaten["metadata"]["labels"][SCHEDULABLE_LABEL] = "false"
        if beaten != node:
            await self._hand.carry((Replace(beaten),))
