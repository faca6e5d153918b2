"""The lab's scheduler: binds every pod without a node, or says on it why none fits.

Only on the embedded control plane; a real one brings its own. What each node's pods take is kept up to date, not counted.
"""

from collections import Counter, defaultdict

from whimbrel.simulation.kubevirt import scheduling
from whimbrel.simulation.kubevirt.values import (
    CREATED_BY_LABEL,
    JOB_UID_LABEL,
    Object,
    annotations,
    clone,
    condition,
    controller_uid,
    deleting,
    final,
    labels,
    name,
    spec,
    uid,
    with_condition,
)
from whimbrel_lab.kubevirt.cache import Key, key_of
from whimbrel_lab.kubevirt.cluster import Cluster, Hand
from whimbrel_lab.kubevirt.work import WorkQueue

RETRY_S = 10.0
FIRST_NODE_ANNOTATION = "lab.whimbrel.dev/first-node"
"""On an instance: where its first launcher goes. The lab's topology says so; it does not pin the machine."""


class Scheduler:
    """Serves pods one at a time."""

    def __init__(self, cluster: Cluster, hand: Hand) -> None:
        self._cluster = cluster
        self._hand = hand
        self._queue: WorkQueue[Key] = WorkQueue(cluster.clock)
        self._used: dict[str, Counter[str]] = defaultdict(Counter)
        self._counted: dict[str, tuple[str, dict[str, int]]] = {}
        cluster.pods.observe(self._pod_changed)
        cluster.nodes.observe(self._node_changed)

    async def run(self) -> None:
        """Until cancelled."""
        await self._queue.serve(self._place)

    def close(self) -> None:
        """Forget what is still to come."""
        self._queue.close()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        if (counted := self._counted.get(uid(pod))) is not None and (new is None or final(new)):
            self._used[counted[0]].subtract(counted[1])
            del self._counted[uid(pod)]
            self._retry()
        elif new is not None and counted is None and spec(new).get("nodeName") and not final(new):
            self._count(new, str(spec(new)["nodeName"]))
        if (
            new is not None
            and not spec(new).get("nodeName")
            and not final(new)
            and condition(new, "PodScheduled") is None
        ):
            self._queue.add(key_of(new))

    def _count(self, pod: Object, node: str) -> None:
        taken = scheduling.requests(pod)
        self._counted[uid(pod)] = node, taken
        self._used[node].update(taken)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        self._retry()

    def _retry(self) -> None:
        for pod in self._cluster.unplaced["pods"]:
            self._queue.add(key_of(pod))

    async def _place(self, key: Key) -> None:
        pod = self._cluster.pods.get(*key)
        if pod is None or spec(pod).get("nodeName") or final(pod) or deleting(pod) or uid(pod) in self._counted:
            return
        node, message = self._choose(pod)
        if node:
            await self._hand.client.bind(pod, node)
            self._count(pod, node)
            return
        told = condition(pod, "PodScheduled")
        if told is None or told.get("message") != message:
            said: Object = clone(pod)
            now = self._cluster.clock.now()
            conditions = said.setdefault("status", {}).get("conditions")
            said["status"]["conditions"] = with_condition(
                conditions, "PodScheduled", "False", now, "Unschedulable", message
            )
            answer = await self._hand.client.replace_status(said)
            self._cluster.pods.put(answer)
        self._queue.add_after(key, RETRY_S)

    def _choose(self, pod: Object) -> tuple[str, str]:
        nodes = list(self._cluster.nodes.objects.values())
        if JOB_UID_LABEL not in labels(pod):
            instance = self._cluster.instance(controller_uid(pod))
            first = annotations(instance or {}).get(FIRST_NODE_ANNOTATION)
            here = [node for node in nodes if name(node) == first]
            if here and not scheduling.misfits(pod, here[0], scheduling.requests(pod), self._used[name(here[0])]):
                return name(here[0]), ""
        if scheduling.looks_at_others(pod):
            placed = [each for each in self._cluster.pods.objects.values() if self._stands(each)]
        else:
            placed = [
                each for each in self._cluster.pods_of[labels(pod).get(CREATED_BY_LABEL, "")] if self._stands(each)
            ]
        return scheduling.place(pod, nodes, self._used, placed)

    @staticmethod
    def _stands(pod: Object) -> bool:
        return bool(spec(pod).get("nodeName")) and not final(pod)
