"""`RealControlPlane`: one lab's use of a real API server, its own or one that others share in turn.

At the end of a lab on a shared server everything that the lab could have left is taken away: objects of its kinds,
with their finalizers, and its webhooks. Definitions and empty namespaces stay.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from whimbrel_lab.certs import authority
from whimbrel_lab.controlplane.admission import Webhook
from whimbrel_lab.controlplane.plane import Object
from whimbrel_lab.controlplane.real import webhooks as https
from whimbrel_lab.controlplane.real.audit import AuditLog
from whimbrel_lab.controlplane.real.mirror import Mirror
from whimbrel_lab.controlplane.real.server import ApiServer, ControlPlaneFailed, Endpoint
from whimbrel_lab.controlplane.users import Access, User
from whimbrel_lab.kubevirt.client import ROUTES, Client, RequestRefused

DEFINITION = "CustomResourceDefinition"
DIGEST_ANNOTATION = "lab.whimbrel.dev/digest"
GENERATION_ANNOTATION = "lab.whimbrel.dev/generation"
"""The generation that the digest is of: whoever changes a definition keeps the annotations, but not the generation."""
TOKEN_LIFETIME_S = 6 * 3600
SERVED_WITHIN_S = 30.0
GONE_WITHIN_S = 30.0
LOOK_EVERY_S = 0.05
RBAC = "rbac.authorization.k8s.io"
SWEPT = (
    "MigrationPlan", "VirtualMachineMove", "HostProfile", "VirtualMachineInstanceMigration", "VirtualMachine",
    "VirtualMachineInstance", "Pod", "PersistentVolumeClaim", "PersistentVolume", "MigrationPolicy", "KubeVirt", "DaemonSet",
    "Node", "Lease",
)  # fmt: skip
"""What a lab leaves, dependents of KubeVirt's controllers last."""
SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})


class RealControlPlane:
    """An async context manager through `start` and `stop`. Without an endpoint it runs an API server of its own.

    `users` are the identities of the lab; they get a static token on an own server, and must have one on a shared one.
    """

    name = "real"
    scalable_clock = False
    evaluates_rules = True
    own_scheduler = True

    def __init__(
        self, users: Iterable[User] = (), endpoint: Endpoint | None = None, *, folder: Path | None = None, port: int = 0
    ) -> None:
        self._users = tuple(users)
        self._shared = endpoint
        self._folder = folder
        self._port = port
        self._stack = AsyncExitStack()
        self.endpoint: Endpoint
        self.client: Client
        self._mirror: Mirror
        self._audit: AuditLog

    @property
    def url(self) -> str:
        return self.endpoint.url

    @property
    def view(self) -> Mirror:
        return self._mirror

    @property
    def counters(self) -> AuditLog:
        return self._audit

    def access(self, user: User | None = None) -> Access:
        return self.endpoint.access() if user is None else self.endpoint.access(user)

    async def start(self) -> None:
        try:
            if self._shared is None:
                server = ApiServer(self._users, folder=self._folder, port=self._port)
                await self._stack.enter_async_context(server)
                self.endpoint = server.endpoint
            else:
                self.endpoint = self._shared
            self._audit = AuditLog(self.endpoint.audit_log)
            self.client = await self._stack.enter_async_context(Client(self.access(), "whimbrel-lab"))
            self._mirror = Mirror(self.client)
            if self._shared is not None:
                self._stack.push_async_callback(self.sweep)
            self._stack.push_async_callback(self._mirror.stop)
            await self._trust()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await self._stack.aclose()

    async def _trust(self) -> None:
        """The lab's identities may do anything: KubeVirt's own roles are KubeVirt's business."""
        subjects = [{"apiGroup": RBAC, "kind": "User", "name": each.name} for each in self._users]
        await self._put(
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "whimbrel-lab"},
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": subjects,
            },
        )

    async def look(self) -> None:
        """Begin to see: afterwards `view` is as fresh as its watches. All kinds of the lab must be served."""
        await self._mirror.start()

    async def account(self, namespace: str, name: str) -> Access:
        """By TokenRequest, as the kubelet gets it for a pod. Raises RequestRefused where there is no such account."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_LIFETIME_S},
        }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = await self.client.send("POST", path, body)
        return Access(self.endpoint.url, str(answer["status"]["token"]), self.endpoint.authority)

    async def load(self, documents: Iterable[Object]) -> None:
        documents = list(documents)
        present, _ = await self.client.list(DEFINITION)
        served = {each["metadata"]["name"]: _digest_of(each) for each in present if _is_as_loaded(each)}
        definitions = [_marked(each) for each in documents if each["kind"] == DEFINITION]
        definitions = [each for each in definitions if served.get(each["metadata"]["name"]) != _digest_of(each)]
        for document in definitions:
            members = (await self._put(document))["metadata"]
            mark = {GENERATION_ANNOTATION: str(members["generation"])}
            await self.client.patch(DEFINITION, members["name"], "", {"metadata": {"annotations": mark}})
        async with asyncio.timeout(SERVED_WITHIN_S):
            for document in definitions:
                await self._until_served(document["metadata"]["name"])
        for document in documents:
            if document["kind"] != DEFINITION:
                await self._put(document)

    async def _collection(self, document: Object) -> str:
        """Path of the collection that an object belongs to, by discovery."""
        api_version, kind = str(document["apiVersion"]), str(document["kind"])
        base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        resources = (await self.client.send("GET", base))["resources"]
        found = next(each for each in resources if each["kind"] == kind and "/" not in each["name"])
        space = document["metadata"].get("namespace") or "default"
        scope = f"/namespaces/{space}" if found["namespaced"] else ""
        return f"{base}{scope}/{found['name']}"

    async def _put(self, document: Object) -> Object:
        """Create, or replace what is there."""
        collection = await self._collection(document)
        path = f"{collection}/{document['metadata']['name']}"
        while True:
            try:
                return await self.client.send("POST", collection, document)
            except RequestRefused as refused:
                if refused.reason != "AlreadyExists":
                    raise
            try:
                version = (await self.client.send("GET", path))["metadata"]["resourceVersion"]
                metadata = {**document["metadata"], "resourceVersion": version}
                return await self.client.send("PUT", path, {**document, "metadata": metadata})
            except RequestRefused as refused:
                if not refused.conflict:
                    raise

    async def _until_served(self, name: str) -> None:
        """Until a definition is established and its newest schema is the one that is published and served."""
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        while True:
            found = await self.client.send("GET", path)
            conditions = {each["type"]: each["status"] for each in (found.get("status") or {}).get("conditions") or ()}
            if conditions.get("Established") == "True" and await self._is_published(found):
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _is_published(self, definition: Object) -> bool:
        stored = definition["spec"]
        for version in stored["versions"]:
            if not version["served"]:
                continue
            served = f"apis/{stored['group']}/{version['name']}"
            try:
                document = await self.client.send("GET", f"/openapi/v3/{served}")
                await self.client.send("GET", f"/{served}/{stored['names']['plural']}?limit=1")
            except RequestRefused as refused:
                if refused.code in (404, 429):  # 429: its watch cache is only beginning
                    return False
                raise
            wanted = {"group": stored["group"], "kind": stored["names"]["kind"], "version": version["name"]}
            schema = next(
                (
                    each
                    for each in document["components"]["schemas"].values()
                    if wanted in (each.get("x-kubernetes-group-version-kind") or ())
                ),
                None,
            )
            if schema is None or not _same_members(version["schema"]["openAPIV3Schema"], schema):
                return False
        return True

    async def seed(self, document: Object) -> Object:
        """Create it and, where it has a status of its own, write that."""
        body = {**document, "metadata": {**document["metadata"]}}
        made = await self.client.create(body)
        if "status" in document and ROUTES[document["kind"]].status:
            made = await self.client.replace_status({**made, "kind": document["kind"], "status": document["status"]})
        return {**made, "apiVersion": document["apiVersion"], "kind": document["kind"]}

    async def register(self, webhooks: Sequence[Webhook]) -> Callable[[], Awaitable[None]]:
        return await https.serve(webhooks, authority("whimbrel-lab-webhooks"), self.client)

    async def sweep(self) -> None:
        """Take away what a lab left, however it ended; its webhooks first, which would refuse the rest."""
        await https.sweep(self.client)
        loop = asyncio.get_running_loop()
        end = loop.time() + GONE_WITHIN_S
        while left := await self._delete_everything():
            if loop.time() > end:
                raise ControlPlaneFailed(f"after {GONE_WITHIN_S:g} s a lab has still left: {', '.join(left)}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _delete_everything(self) -> list[str]:
        """One pass over all kinds; what was still there."""
        left: list[str] = []
        for kind in SWEPT:
            try:
                found, _ = await self.client.list(kind)
            except RequestRefused as refused:
                if refused.code == 404:
                    continue  # not served in this lab
                raise
            found = [each for each in found if each["metadata"].get("namespace") not in SYSTEM_NAMESPACES]
            left += [f"{kind} {each['metadata']['name']}" for each in found]
            await asyncio.gather(*(self._force(kind, each) for each in found))
        return left

    async def _force(self, kind: str, document: Object) -> None:
        members = document["metadata"]
        at = members["name"], members.get("namespace") or ""
        try:
            if members.get("finalizers"):
                await self.client.patch(kind, *at, {"metadata": {"finalizers": None}})
            if not members.get("deletionTimestamp") or kind == "Pod":
                await self.client.delete(kind, *at, grace_period_s=0)
        except RequestRefused as refused:
            if not refused.conflict:
                raise


def _marked(definition: Object) -> Object:
    """The definition with a digest of what it says, so that one that is served already is known again."""
    digest = hashlib.sha256(json.dumps(definition["spec"], sort_keys=True).encode()).hexdigest()
    metadata = definition["metadata"]
    annotations = {**(metadata.get("annotations") or {}), DIGEST_ANNOTATION: digest}
    return {**definition, "metadata": {**metadata, "annotations": annotations}}


def _digest_of(definition: Object) -> str:
    return str((definition["metadata"].get("annotations") or {}).get(DIGEST_ANNOTATION, ""))


def _is_as_loaded(definition: Object) -> bool:
    """Whether nobody has changed it since a lab loaded it."""
    members = definition["metadata"]
    return (members.get("annotations") or {}).get(GENERATION_ANNOTATION) == str(members.get("generation"))


def _same_members(wanted: Object, published: Object) -> bool:
    """Whether a published schema has the members of the stored one, all the way down."""
    ours, theirs = wanted.get("properties") or {}, published.get("properties") or {}
    return all(
        key in theirs and ("properties" not in value or _same_members(value, theirs[key]))
        for key, value in ours.items()
        if key not in ("apiVersion", "kind", "metadata")
    ) and not (set(theirs) - set(ours) - {"apiVersion", "kind", "metadata"})
