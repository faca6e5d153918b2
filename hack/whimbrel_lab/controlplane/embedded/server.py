"""`EmbeddedControlPlane`: a Kubernetes API server inside the process, on a free loopback port.

Good enough for kubectl, Kopf and the Python client. It speaks plain HTTP, keeps everything in memory and starts in
milliseconds. What it does otherwise than a real one is listed in `deviations.py`.
"""

import asyncio
import contextlib
import socket
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from whimbrel_lab.clock import LabClock
from whimbrel_lab.controlplane.admission import Webhook
from whimbrel_lab.controlplane.counters import Counters
from whimbrel_lab.controlplane.embedded import crds
from whimbrel_lab.controlplane.embedded.access import Authorizer
from whimbrel_lab.controlplane.embedded.admission import Admission
from whimbrel_lab.controlplane.embedded.builtin import NAMESPACES, builtin_kinds
from whimbrel_lab.controlplane.embedded.deletion import Deletion
from whimbrel_lab.controlplane.embedded.errors import ApiError, Object
from whimbrel_lab.controlplane.embedded.faults import Faults
from whimbrel_lab.controlplane.embedded.gc import Collector
from whimbrel_lab.controlplane.embedded.kinds import Catalog
from whimbrel_lab.controlplane.embedded.objects import prepare_create
from whimbrel_lab.controlplane.embedded.storage import Change, Storage
from whimbrel_lab.controlplane.embedded.subresources import Subresources
from whimbrel_lab.controlplane.embedded.transport import MAXIMUM_BODY_BYTES, Parts, Transport
from whimbrel_lab.controlplane.embedded.verbs import Call, Verbs
from whimbrel_lab.controlplane.embedded.watch import Watches
from whimbrel_lab.controlplane.plane import Observer, write_kubeconfig
from whimbrel_lab.controlplane.users import ADMINISTRATOR, Access, User, service_account

_STOP_TIMEOUT_S = 1.0


class EmbeddedControlPlane:
    """An async context manager. Times are the clock's; `port` 0 takes a free one.

    `authorizer` may be set at any time (None permits everything). `history` is how many changes per resource a watch
    may lie behind before it is answered 410. Requests without a token are the administrator's.
    """

    def __init__(
        self,
        clock: LabClock | None = None,
        port: int = 0,
        *,
        history: int = 20_000,
        bookmark_interval_s: float = 10.0,
    ) -> None:
        self.clock = clock or LabClock()
        self.name = "embedded"
        self.scalable_clock = True
        self.evaluates_rules = False
        self.own_scheduler = False
        self.authorizer: Authorizer | None = None
        self.tokens: dict[str, User] = {}
        self.counters = Counters()
        self.faults = Faults()
        self.admission = Admission()
        self.storage = Storage(history)
        self._view = StorageView(self.storage)
        self.catalog = Catalog(builtin_kinds(crds.DEFINITION))
        self.verbs = Verbs(self.storage, self.catalog, self.admission, self.clock)
        self.deletion = Deletion(self.verbs)
        self.watches = Watches(self.storage, self.catalog, self.faults, bookmark_interval_s)
        self._definitions = crds.Definitions(self.catalog, self.storage)
        self.storage.observe(self._follow_definitions)
        self._collector = Collector(self.verbs, self.deletion)
        self._collecting: asyncio.Task[None] | None = None
        self._runner: web.ServerRunner | None = None
        self._wanted_port = port
        self._port = 0

    @property
    def url(self) -> str:
        """Where the server listens, e.g. `http://127.0.0.1:40123`."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen. Raises OSError when the wanted port is taken."""
        for name in NAMESPACES:
            self._seed_namespace(name)
        listening = socket.create_server(("127.0.0.1", self._wanted_port), backlog=256)
        self._port = listening.getsockname()[1]
        server = web.Server(
            Transport(self._parts()).handle,
            request_factory=_large_request,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=75.0,
        )
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=_STOP_TIMEOUT_S)
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()
        self._collecting = asyncio.create_task(self._collector.run(), name="embedded-collector")

    async def stop(self) -> None:
        """End all watches and connections; safe to call twice."""
        self.watches.close()
        if self._collecting is not None:
            self._collecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._collecting
            self._collecting = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def write_kubeconfig(self, path: Path | str, token: str | None = None, namespace: str = "default") -> Path:
        """Write a kubeconfig for this server; without a token its user is the administrator."""
        return write_kubeconfig(Path(path), Access(self.url, token or ""), namespace, "embedded")

    @property
    def view(self) -> "StorageView":
        """The present objects."""
        return self._view

    async def look(self) -> None:
        """The storage is always seen."""

    def access(self, user: User | None = None) -> Access:
        """How an identity reaches the server; without one the administrator."""
        if user is None:
            return Access(self.url)
        token = f"lab-{user.name.replace(':', '-')}"
        self.tokens[token] = user
        return Access(self.url, token)

    async def account(self, namespace: str, name: str) -> Access:
        """A token of a service account, which need not exist."""
        return self.access(service_account(namespace, name))

    async def seed(self, document: Object) -> Object:
        """Store one object as it is."""
        api_version, kind = str(document["apiVersion"]), str(document["kind"])
        found = self.catalog.by_kind(api_version, kind)
        if found is None:
            raise ApiError(404, "NotFound", f"{api_version} {kind} is not served")
        return self.storage.save(found.resource, document).object

    async def register(self, webhooks: Sequence[Webhook]) -> Callable[[], Awaitable[None]]:
        """Call these webhooks from now on; returns how to take them away."""
        closers = [self.admission.register(each) for each in webhooks]

        async def close() -> None:
            for closer in closers:
                closer()
            closers.clear()

        return close

    def compact(self) -> None:
        """Make every earlier resourceVersion too old: 410 for watches and lists that begin there."""
        self.storage.compact()

    async def load(self, documents: Iterable[Object]) -> None:
        """Create the objects, or replace those that exist, as the administrator and without HTTP.

        Raises ApiError with the server's words when one is refused.
        """
        for document in documents:
            kind = self.catalog.by_kind(str(document.get("apiVersion")), str(document.get("kind")))
            if kind is None:
                raise ApiError(404, "NotFound", f"{document.get('apiVersion')} {document.get('kind')} is not served")
            metadata = document.get("metadata") or {}
            namespace = metadata.get("namespace") or ("default" if kind.namespaced else "")
            call = Call(ADMINISTRATOR, kind, namespace, metadata.get("name", ""))
            body = {**document, "metadata": dict(metadata)}
            existing = self.storage.get(kind.resource, namespace, call.name)
            if existing is None:
                await self.verbs.create(call, body)
            else:
                body["metadata"]["resourceVersion"] = existing.object["metadata"]["resourceVersion"]
                await self.verbs.update(call, body)

    def _seed_namespace(self, name: str) -> None:
        kind = self.catalog.stored("namespaces")
        assert kind is not None
        if self.storage.get("namespaces", "", name):
            return
        namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        prepare_create(kind, namespace, str(uuid.uuid4()), self.clock.now())
        self.storage.save("namespaces", namespace)

    def _follow_definitions(self, resource: str, change: Change) -> None:
        if resource != crds.RESOURCE:
            return
        if change.type == "DELETED":
            self._definitions.forget(change.record.object)
        elif change.previous is None or change.previous.object["spec"] != change.record.object["spec"]:
            self._definitions.register(change.record.object)

    def _parts(self) -> Parts:
        return Parts(
            storage=self.storage,
            catalog=self.catalog,
            verbs=self.verbs,
            deletion=self.deletion,
            subresources=Subresources(self.verbs, self.deletion, self.tokens, lambda: self.authorizer),
            watches=self.watches,
            faults=self.faults,
            counters=self.counters,
            tokens=self.tokens,
            nobody=ADMINISTRATOR,
            clock=self.clock,
            authorizer=lambda: self.authorizer,
            address=lambda: f"127.0.0.1:{self._port}",
        )


class StorageView:
    """The storage as a lab looks at it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def read(self, resource: str, name: str, namespace: str = "") -> Object | None:
        return self._storage.read(resource, name, namespace)

    def items(self, resource: str, namespace: str = "") -> Iterator[Object]:
        return self._storage.items(resource, namespace)

    def observe(self, observer: Observer) -> None:
        def told(resource: str, change: Change) -> None:
            before = change.previous.object if change.previous else None
            observer(resource, before, None if change.type == "DELETED" else change.record.object)

        self._storage.observe(told)

    def hear(self, document: Object) -> None:
        """The storage has it already."""

    @property
    def changes(self) -> int:
        return self._storage.version


def _large_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    """A request that may be as large as kube-apiserver permits."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message,
        payload,
        protocol,
        writer,
        task,
        loop,
        client_max_size=MAXIMUM_BODY_BYTES,
    )
