"""`EmbeddedControlPlane`: a Kubernetes API server inside the process, on a free loopback port.

Good enough for kubectl, Kopf and the Python client. It speaks plain HTTP, keeps everything in memory and starts in
milliseconds. What it does not do – server-side apply, CEL rules, streaming lists – it refuses or warns of.
"""

import asyncio
import contextlib
import socket
import uuid
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from whimbrel_lab.clock import LabClock
from whimbrel_lab.controlplane.embedded import crds
from whimbrel_lab.controlplane.embedded.access import ADMINISTRATOR, Authorizer, User
from whimbrel_lab.controlplane.embedded.admission import Admission
from whimbrel_lab.controlplane.embedded.builtin import NAMESPACES, builtin_kinds
from whimbrel_lab.controlplane.embedded.counters import Counters
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
        self.authorizer: Authorizer | None = None
        self.tokens: dict[str, User] = {}
        self.counters = Counters()
        self.faults = Faults()
        self.admission = Admission()
        self.storage = Storage(history)
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
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "embedded", "cluster": {"server": self.url}}],
            "users": [{"name": "embedded", "user": {"token": token} if token else {}}],
            "contexts": [
                {"name": "embedded", "context": {"cluster": "embedded", "user": "embedded", "namespace": namespace}}
            ],
            "current-context": "embedded",
        }
        path = Path(path)
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

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
