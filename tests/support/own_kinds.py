"""Our kinds on a real API server, through plain requests: what it answers is what is tested."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from support.definitions import MODELS, PLURALS, Object
from whimbrel.api import definition
from whimbrel_lab.controlplane.client import Answer, RawClient
from whimbrel_lab.controlplane.real.server import Endpoint

NAMESPACE = "rules"
CLUSTER_SCOPED = frozenset({"HostProfile"})
DRY_RUN = {"dryRun": "All"}
NOT_CHECKED = "<nil>"
"""The field under which a server says that it left out the CEL rules, for worse reasons."""


class OwnKinds:
    """Objects of our kinds in one namespace; of another group where a test has definitions of its own."""

    def __init__(self, client: RawClient, group: str = definition.GROUP) -> None:
        self.client = client
        self.group = group

    def path(self, kind: str, name: str = "") -> str:
        scope = "" if kind in CLUSTER_SCOPED else f"/namespaces/{NAMESPACE}"
        return f"/apis/{self.group}/{definition.VERSION}{scope}/{PLURALS[kind]}" + (f"/{name}" if name else "")

    def here(self, document: Object) -> Object:
        """The document as it is of this group and namespace."""
        metadata = {key: value for key, value in document["metadata"].items() if key != "namespace"}
        return {**document, "apiVersion": f"{self.group}/{definition.VERSION}", "metadata": metadata}

    async def create(self, document: Object, **params: str) -> Answer:
        return await self.client.create(self.path(document["kind"]), self.here(document), **params)

    async def replace(self, document: Object, **params: str) -> Answer:
        path = self.path(document["kind"], document["metadata"]["name"])
        return await self.client.replace(path, self.here(document), **params)

    async def replace_status(self, document: Object, **params: str) -> Answer:
        path = self.path(document["kind"], document["metadata"]["name"])
        return await self.client.replace(f"{path}/status", self.here(document), **params)

    async def get(self, document: Object) -> Object:
        answer = await self.client.get(self.path(document["kind"], document["metadata"]["name"]))
        return stored(answer)

    async def clear(self) -> None:
        """No object of our kinds is left."""
        for kind in MODELS:
            await self.client.delete(self.path(kind))


@asynccontextmanager
async def own_kinds(endpoint: Endpoint) -> AsyncIterator[OwnKinds]:
    """On a shared server: a namespace that may stay, objects that do not."""
    access = endpoint.access()
    async with RawClient(access.url, access.token, tls=access.tls) as client:
        await client.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        kinds = OwnKinds(client)
        try:
            yield kinds
        finally:
            await kinds.clear()


def stored(answer: Answer) -> Object:
    """What the server has now; an AssertionError with its words if it refused."""
    assert answer.code in (200, 201), answer.text
    return answer.body


def refusals(answer: Answer) -> list[tuple[str, str]]:
    """(field, message) of all causes of a refusal."""
    causes: Iterable[Object] = (answer.body.get("details") or {}).get("causes") or ()
    return [(each.get("field", ""), each.get("message", "")) for each in causes]
