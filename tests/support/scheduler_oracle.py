"""Asks a real control plane where a launcher may go: pods are really made, and kube-scheduler binds them or says why not.

A batch of cases is in the cluster at a time. What admission says is asked by a dry run; then quotas and limit ranges go, so
that they do not count the pods that try each node in turn.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from support.oracle_cases import CASE, HOSTNAME, PRIORITY_CLASS, Case, Object
from whimbrel.domain.resources import (
    ATTACHMENTS,
    CLAIMS,
    CSI_NODES,
    LIMITS,
    NAMESPACES,
    NODES,
    PODS,
    QUOTAS,
    VOLUMES,
    Resource,
)
from whimbrel_lab.controlplane.client import Answer, EventStream, RawClient
from whimbrel_lab.controlplane.real.server import Endpoint

PROBE = "oracle.whimbrel.dev/probe"
AT_ONCE = 24
ANSWER_WITHIN_S = 60.0
LOOK_EVERY_S = 0.2
AT_ONCE_AND_FOR_GOOD = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
READ_BACK = (NAMESPACES, NODES, VOLUMES, CSI_NODES, ATTACHMENTS, CLAIMS, PODS, QUOTAS, LIMITS)
CLUSTER_WIDE = (NODES, VOLUMES, CSI_NODES, ATTACHMENTS)


@dataclass(frozen=True, slots=True)
class Answers:
    """What the control plane says of one case."""

    objects: dict[Resource, list[Object]]
    """As they were stored when it was asked."""
    refusal: str
    """Why the launcher may not even be made; empty: it may."""
    nodes: dict[str, str]
    """By node, why the launcher was not bound there; empty: it was. Where the scheduler chose, by the node that it chose,
    or by an empty name."""


def path_of(resource: Resource, namespace: str = "") -> str:
    """Where objects of a kind are."""
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    return f"{root}/namespaces/{namespace}/{resource.plural}" if namespace else f"{root}/{resource.plural}"


class Oracle:
    """An async context manager over an API server that nobody else uses: it leaves namespaces behind."""

    def __init__(self, endpoint: Endpoint) -> None:
        access = endpoint.access()
        self._client = RawClient(access.url, access.token, "oracle", access.tls)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._fates: dict[tuple[str, str], asyncio.Future[tuple[str, str]]] = {}

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        body = {"metadata": {"name": PRIORITY_CLASS}, "value": 0, "globalDefault": False}
        await self._client.create("/apis/scheduling.k8s.io/v1/priorityclasses", body)
        return self

    async def __aexit__(self, *problem: Any) -> None:
        await self._client.delete(f"/apis/scheduling.k8s.io/v1/priorityclasses/{PRIORITY_CLASS}")
        await self._client.__aexit__(*problem)

    async def ask(self, cases: Sequence[Case]) -> dict[int, Answers]:
        """The answers by seed. What was made for them is gone afterwards."""
        try:
            await self._furnish(cases)
            found = await self._read(cases)
            refusals = await self._all(self._refusal(case) for case in cases)
            await self._all(self._drop_rules(case) for case in cases)
            async with self._watching():
                async with asyncio.TaskGroup() as together:
                    tasks = [together.create_task(self._try(case)) for case in cases]
                nodes = [task.result() for task in tasks]
        finally:
            await self._clear(cases)
        return {
            case.seed: Answers(found[str(case.seed)], refusal, tried)
            for case, refusal, tried in zip(cases, refusals, nodes, strict=True)
        }

    async def _all(self, calls: Iterable[Awaitable[Any]]) -> list[Any]:
        async def one(call: Awaitable[Any]) -> Any:
            async with self._places:
                return await call

        async with asyncio.TaskGroup() as together:  # none goes on when one has failed
            tasks = [together.create_task(one(call)) for call in calls]
        return [task.result() for task in tasks]

    async def _make(self, resource: Resource, bodies: Iterable[Object]) -> None:
        async def one(body: Object) -> None:
            answer = await self._client.create(path_of(resource, body["metadata"].get("namespace", "")), body)
            assert answer.code == 201, f"{resource.kind} {json.dumps(body)}: {answer.text}"

        await self._all(one(body) for body in bodies)

    async def _delete(self, path: str, **params: str) -> None:
        """An object, or with a path of a kind all of them."""
        answer = await self._client.delete(path, AT_ONCE_AND_FOR_GOOD, **params)
        assert answer.code in (200, 202, 404), f"{path}: {answer.text}"

    async def _change(self, path: str, change: Object) -> None:
        answer = await self._client.patch(path, change)
        assert answer.code in (200, 404), f"{path}: {answer.text}"

    async def _furnish(self, cases: Sequence[Case]) -> None:
        await self._make(NAMESPACES, (each for case in cases for each in case.namespaces))
        for resource, member in (
            (NODES, "nodes"), (VOLUMES, "volumes"), (CSI_NODES, "csi_nodes"), (CLAIMS, "claims"),
            (ATTACHMENTS, "attachments"), (PODS, "pods"),
        ):  # fmt: skip
            await self._make(resource, (each for case in cases for each in getattr(case, member)))
        await self._all(self._end_pods(case) for case in cases)
        await self._make(QUOTAS, (each for case in cases for each in case.quotas))
        await self._make(LIMITS, (each for case in cases for each in case.limits))
        if any(case.quotas for case in cases):
            await self._until(self._quotas_are_counted)

    async def _end_pods(self, case: Case) -> None:
        for pod in case.pods:
            name, path = pod["metadata"]["name"], path_of(PODS, pod["metadata"]["namespace"])
            if name in case.ended:
                await self._change(f"{path}/{name}/status", {"status": {"phase": "Succeeded"}})
            if name in case.leaving:
                await self._delete(f"{path}/{name}")

    async def _quotas_are_counted(self) -> bool:
        quotas = (await self._client.get(path_of(QUOTAS), labelSelector=CASE)).body["items"]
        return all(each.get("status", {}).get("hard") == each["spec"]["hard"] for each in quotas)

    async def _read(self, cases: Sequence[Case]) -> dict[str, dict[Resource, list[Object]]]:
        found: dict[str, dict[Resource, list[Object]]] = {str(case.seed): defaultdict(list) for case in cases}
        for resource in READ_BACK:
            for each in (await self._client.get(path_of(resource), labelSelector=CASE)).body["items"]:
                if (seed := each["metadata"]["labels"][CASE]) in found:  # namespaces of others stay
                    found[seed][resource].append(each)
        return found

    async def _refusal(self, case: Case) -> str:
        answer = await self._client.create(path_of(PODS, case.namespace), case.target, dryRun="All")
        assert answer.code in (201, 403, 422), answer.text  # 422: with a namespace's defaults it is not valid
        return "" if answer.code == 201 else str(answer.body["message"])

    async def _drop_rules(self, case: Case) -> None:
        if case.quotas or case.limits:
            await self._delete(path_of(QUOTAS, case.namespace))
            await self._delete(path_of(LIMITS, case.namespace))

    async def _try(self, case: Case) -> dict[str, str]:
        """Node by node, because launchers that are there already would count."""
        if not case.named:
            node, why = await self._probe(case, dict(case.node_selector))
            return {node: why}
        found = {}
        for node in case.nodes:
            name, hostname = node["metadata"]["name"], node["metadata"]["labels"][HOSTNAME]
            bound, why = await self._probe(case, {HOSTNAME: hostname, **case.node_selector})
            assert bound in ("", name)
            found[name] = why
        return found

    async def _probe(self, case: Case, selector: dict[str, str]) -> tuple[str, str]:
        """Where one launcher was bound, or why it was not."""
        path, name = path_of(PODS, case.namespace), case.target["metadata"]["name"]
        labels = {**case.target["metadata"]["labels"], PROBE: "true"}
        body = {
            "metadata": {**case.target["metadata"], "labels": labels},
            "spec": {**case.target["spec"], "nodeSelector": selector},
        }
        fate = asyncio.get_running_loop().create_future()
        async with self._places:

            async def made() -> bool:
                """Quotas that are gone may be asked for a moment longer."""
                answer = await self._client.create(path, body)
                assert answer.code in (201, 403), answer.text
                if answer.code == 201:
                    self._fates[answer.body["metadata"]["uid"], ""] = fate
                return answer.code == 201

            await self._until(made)
            async with asyncio.timeout(ANSWER_WITHIN_S):
                bound, why = await self._told(path, name, fate)
            await self._delete(f"{path}/{name}")
        return bound, why

    async def _told(self, path: str, name: str, fate: "asyncio.Future[tuple[str, str]]") -> tuple[str, str]:
        """What the watch says; what was said before it was listened for is looked up."""
        if (found := fate_of((await self._client.get(f"{path}/{name}")).body)) is not None:
            return found
        return await fate

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        version = (await self._client.get(path_of(PODS), labelSelector=PROBE)).body["metadata"]["resourceVersion"]
        async with self._client.watch(path_of(PODS), labelSelector=PROBE, resourceVersion=version) as events:
            listening = asyncio.create_task(self._listen(events))
            try:
                yield
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
                self._fates.clear()

    async def _listen(self, events: EventStream) -> None:
        while (event := await events.next(ANSWER_WITHIN_S)) is not None:
            waiting = self._fates.get((event["object"]["metadata"].get("uid", ""), ""))
            found = fate_of(event["object"])
            if waiting is not None and found is not None and not waiting.done():
                waiting.set_result(found)

    async def _clear(self, cases: Sequence[Case]) -> None:
        """Empty namespaces stay: taking them away takes a server longer than everything else."""
        for case in cases:
            for pod in case.pods:
                if pod["metadata"].get("finalizers"):
                    path = path_of(PODS, pod["metadata"]["namespace"])
                    await self._change(f"{path}/{pod['metadata']['name']}", {"metadata": {"finalizers": None}})
        spaces = [each["metadata"]["name"] for case in cases for each in case.namespaces]
        await self._all(self._delete(path_of(resource, space)) for space in spaces for resource in (PODS, CLAIMS))
        await self._all(self._delete(path_of(resource), labelSelector=CASE) for resource in CLUSTER_WIDE)
        await self._until(self._nothing_counts)

    async def _nothing_counts(self) -> bool:
        return not (await self._left(PODS) or await self._left(NODES))

    async def _left(self, resource: Resource) -> bool:
        return bool((await self._client.get(path_of(resource), labelSelector=CASE, limit="1")).body["items"])

    async def _until(self, so: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            while not await so():  # noqa: ASYNC110
                await asyncio.sleep(LOOK_EVERY_S)  # another process decides


def fate_of(pod: Object) -> tuple[str, str] | None:
    """The node that a pod was bound to, or why it was not; None while that is open."""
    if node := (pod.get("spec") or {}).get("nodeName"):
        return str(node), ""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return "", str(condition["message"])
    return None


__all__ = ["Answer", "Answers", "Oracle"]
