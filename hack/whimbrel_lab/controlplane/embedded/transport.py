"""HTTP in front of the verbs: authentication, faults, authorization, routing and the form of answers."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from whimbrel_lab.clock import LabClock
from whimbrel_lab.controlplane.counters import Counters, RequestKey
from whimbrel_lab.controlplane.embedded import discovery, openapi, requests
from whimbrel_lab.controlplane.embedded.access import Authorizer, Question, authenticate, denial, permitted
from whimbrel_lab.controlplane.embedded.deletion import Deletion, delete_options
from whimbrel_lab.controlplane.embedded.errors import (
    ApiError,
    Json,
    Object,
    about,
    bad_request,
    method_not_allowed,
    no_such_resource,
    no_such_subresource,
    qualified,
)
from whimbrel_lab.controlplane.embedded.faults import Fault, Faults, Target
from whimbrel_lab.controlplane.embedded.kinds import Catalog
from whimbrel_lab.controlplane.embedded.listing import list_page
from whimbrel_lab.controlplane.embedded.patch import check_media_type
from whimbrel_lab.controlplane.embedded.storage import Record, Storage, encode
from whimbrel_lab.controlplane.embedded.subresources import Subresources
from whimbrel_lab.controlplane.embedded.verbs import Call, Verbs
from whimbrel_lab.controlplane.embedded.views import View
from whimbrel_lab.controlplane.embedded.watch import Watches, watch_request
from whimbrel_lab.controlplane.users import User

LOG = logging.getLogger(__name__)
MAXIMUM_BODY_BYTES = 3_145_728
_TOO_MANY = "Too many requests, please try again later."
_REASONS = {
    401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired", 422: "Invalid",
    500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parts:
    """What the transport serves from."""

    storage: Storage
    catalog: Catalog
    verbs: Verbs
    deletion: Deletion
    subresources: Subresources
    watches: Watches
    faults: Faults
    counters: Counters
    tokens: dict[str, User]
    nobody: User
    clock: LabClock
    authorizer: Callable[[], Authorizer | None]
    address: Callable[[], str]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request on a resource, understood."""

    request: web.BaseRequest
    target: Target
    call: Call
    view: View


class Transport:
    """One coroutine per request: `handle`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to any request; never raises but when cancelled."""
        try:
            return await self._answer(request)
        except ApiError as refusal:
            return _refused(refusal)
        except web.HTTPRequestEntityTooLarge:
            text = f"Request entity too large: limit is {MAXIMUM_BODY_BYTES}"
            return _refused(ApiError(413, "RequestEntityTooLarge", text))
        except ConnectionError:
            return web.Response(status=499)
        except Exception as problem:
            LOG.exception("%s %s failed", request.method, request.path)
            return _refused(ApiError(500, "InternalError", f"Internal error occurred: {problem!r}"))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = self._parts
        user, by_token = authenticate(request.headers, parts.tokens, parts.nobody)
        route = requests.route(request.path)
        kind = parts.catalog.find(route.group, route.version, route.plural) if route else None
        if route is None or kind is None:
            return self._document(request)
        if not requests.accepts_json(request.headers.get("Accept", "")):
            raise ApiError(406, "NotAcceptable", "only the following media types are accepted: application/json")
        query = dict(request.query)
        verb = requests.verb_of(request.method, bool(route.name), query)
        if verb is None:
            raise method_not_allowed()
        if route.subresource and route.subresource not in kind.subresources:
            raise no_such_subresource(kind.plural, route.subresource)
        if route.namespace and not kind.namespaced:
            raise no_such_resource()
        client = user.name if by_token else request.headers.get("User-Agent", "").partition(" ")[0]
        resource = qualified(kind.group, kind.plural)
        target = Target(client, user, verb, resource, route.subresource, route.namespace, route.name)
        parts.counters.count(RequestKey(client, verb, resource, route.subresource))
        call = Call(user, kind, route.namespace, route.name, route.subresource, query)
        view = View(
            requests.shape_of(request.headers.get("Accept", "")),
            lambda: parts.clock.now().timestamp(),
            query.get("includeObject", "Metadata"),
        )
        return await self._with_faults(_Asked(request, target, call, view))

    async def _with_faults(self, asked: _Asked) -> web.StreamResponse:
        faults = self._parts.faults
        fault = faults.strike(asked.target) if faults.any else None
        if fault is None:
            return await self._permitted(asked)
        if fault.latency_s:
            await asyncio.sleep(fault.latency_s)
        if fault.reset == "before":
            return _cut(asked.request)
        if fault.status is not None:
            return _injected(fault)
        response = await self._permitted(asked)
        return _cut(asked.request) if fault.reset == "after" else response

    async def _permitted(self, asked: _Asked) -> web.StreamResponse:
        target, kind = asked.target, asked.call.kind
        question = Question(
            target.user, target.verb, kind.group, kind.plural, target.subresource, target.namespace, target.name
        )
        if not permitted(self._parts.authorizer(), question):
            raise denial(question)
        nameless = target.verb in ("update", "patch") and not target.name
        if nameless and kind.custom:
            raise bad_request("name must be provided")
        if nameless or (kind.namespaced and not target.namespace and target.verb not in ("list", "watch")):
            raise method_not_allowed()
        if target.verb in ("list", "watch"):
            if target.verb not in kind.verbs:
                raise method_not_allowed()
            return await (self._watch(asked) if target.verb == "watch" else self._list(asked))
        return await self._verb(asked)

    async def _list(self, asked: _Asked) -> web.StreamResponse:
        call = asked.call
        page = list_page(self._parts.storage, call.kind, call.namespace, call.query)
        return _json(asked.view.many(call.kind, page.records, page.metadata))

    async def _watch(self, asked: _Asked) -> web.StreamResponse:
        call = asked.call
        wanted = watch_request(call.kind, call.namespace, call.query, asked.view, asked.target)
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
        )
        response.enable_chunked_encoding()
        await response.prepare(asked.request)
        try:
            async for piece in self._parts.watches.stream(wanted):
                await response.write(piece)
            await response.write_eof()
        except ConnectionError:
            pass
        return response

    async def _verb(self, asked: _Asked) -> web.StreamResponse:
        parts, call, verb = self._parts, asked.call, asked.target.verb
        if verb == "get":
            if call.subresource not in ("", "status"):
                raise method_not_allowed()
            return self._object(asked, parts.verbs.find(call), 200)
        body = await self._body(asked)
        if verb == "create":
            return await self._create(asked, _required(body))
        if verb == "update":
            if call.subresource not in ("", "status"):
                raise method_not_allowed()
            record, created = await parts.verbs.update(call, _required(body))
            return self._object(asked, record, 201 if created else 200)
        if verb == "patch":
            media_type = asked.request.headers.get("Content-Type", "").partition(";")[0].strip()
            return self._object(asked, await parts.verbs.patch(call, media_type, body), 200)
        if verb not in call.kind.verbs or call.subresource:
            raise method_not_allowed()
        options = delete_options(body if isinstance(body, dict) else None, dict(call.query))
        if verb == "deletecollection":
            records = await parts.deletion.delete_collection(call, options)
            metadata = {"resourceVersion": str(parts.storage.version)}
            return _json(asked.view.many(call.kind, records, metadata), warnings=call.warnings)
        deleted = await parts.deletion.delete(call, options)
        if deleted.gone and not call.kind.returns_deleted:
            details = {
                **about(call.kind.group, call.kind.plural, call.name),
                "uid": deleted.record.object["metadata"]["uid"],
            }
            status: Object = {
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details
            }  # fmt: skip
            return _json(encode(status), warnings=call.warnings)
        return self._object(asked, deleted.record, 200)

    async def _create(self, asked: _Asked, body: Object) -> web.StreamResponse:
        parts, call = self._parts, asked.call
        answer = parts.subresources.answer(call.kind.plural, call.subresource)
        if answer is not None and call.kind.group in ("", "authorization.k8s.io", "authentication.k8s.io"):
            return _json(encode(await answer(call, body)), 201, call.warnings)
        if call.name or call.subresource or "create" not in call.kind.verbs:
            raise method_not_allowed()
        return self._object(asked, await parts.verbs.create(call, body), 201)

    async def _body(self, asked: _Asked) -> Json:
        raw = await asked.request.read()
        asked.call.size_bytes = len(raw)
        media_type = asked.request.headers.get("Content-Type", "")
        if asked.target.verb == "patch":
            check_media_type(media_type.partition(";")[0].strip(), asked.call.kind.custom)
        try:
            body = requests.parse_body(raw, media_type)
        except ApiError as refusal:
            if refusal.code == 400 and asked.target.verb in ("create", "update"):
                text = (
                    f"the object provided is unrecognized (must be of type {asked.call.kind.kind}): {refusal.message}"
                )
                raise bad_request(text) from refusal
            raise
        if asked.target.verb in ("delete", "deletecollection"):
            if isinstance(body, dict) and body.get("dryRun"):
                asked.call.query = {**asked.call.query, "dryRun": ",".join(body["dryRun"])}
        else:
            asked.call.duplicates = tuple(requests.duplicate_fields(body))
        return body

    def _object(self, asked: _Asked, record: Record, code: int) -> web.Response:
        return _json(asked.view.one(asked.call.kind, record), code, asked.call.warnings)

    def _document(self, request: web.BaseRequest) -> web.Response:
        """Everything that is not a resource: discovery, OpenAPI, version and health."""
        path, catalog = request.path.rstrip("/"), self._parts.catalog
        if path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        if path == "/version":
            return _json(encode(discovery.VERSION))
        if path in ("/api", "/apis"):
            return self._groups(request, path == "/api")
        if path == "/openapi/v2":
            return _json(encode(openapi.swagger(catalog)))
        if path == "/openapi/v3":
            return _json(encode(openapi.index(catalog)))
        parts = path.strip("/").split("/")
        found: Object | None = None
        if parts[:2] == ["openapi", "v3"]:
            found = openapi.group_version(catalog, *_group_version(parts[2:])) if len(parts) in (4, 5) else None
        elif parts[0] == "apis" and len(parts) == 2:
            found = discovery.one_group(catalog, parts[1])
        elif (parts[0] == "api" and len(parts) == 2) or (parts[0] == "apis" and len(parts) == 3):
            found = discovery.resource_list(catalog, *_group_version(parts))
        if found is None and requests.route(path) and catalog.is_built_in(*_group_version(parts)):
            raise no_such_resource()
        return _json(encode(found)) if found is not None else _lost()

    def _groups(self, request: web.BaseRequest, core: bool) -> web.Response:
        catalog, accept = self._parts.catalog, request.headers.get("Accept", "")
        for version in ("v2", "v2beta1"):
            if f"v={version};as=APIGroupDiscoveryList" in accept.replace(" ", ""):
                document = discovery.aggregated(catalog, core, version)
                content_type = discovery.AGGREGATED.format(version=version)
                return web.Response(body=encode(document), headers={"Content-Type": content_type})
        address = self._parts.address()
        return _json(encode(discovery.core_versions(address) if core else discovery.group_list(catalog)))


def _group_version(parts: list[str]) -> tuple[str, str]:
    return ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2] if len(parts) > 2 else "")


def _required(body: Json) -> Object:
    if not isinstance(body, dict):
        raise bad_request("the request's body must be an object")
    return body


def _json(body: bytes, code: int = 200, warnings: list[str] | None = None) -> web.Response:
    response = web.Response(body=body, status=code, headers={"Content-Type": "application/json"})
    for warning in warnings or ():
        escaped = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        response.headers.add("Warning", f'299 - "{escaped}"')
    return response


def _refused(refusal: ApiError) -> web.Response:
    response = _json(encode(refusal.status()), refusal.code)
    if refusal.retry_after_s is not None:
        response.headers["Retry-After"] = str(refusal.retry_after_s)
    return response


def _injected(fault: Fault) -> web.Response:
    """The refusal that a fault stands for. 429 is priority and fairness turning the client away: without a Status."""
    code = fault.status or 500
    if code == 429:
        headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
        return web.Response(text=f"{fault.message or _TOO_MANY}\n", status=429, headers=headers)
    text = fault.message or f"the embedded control plane was told to answer {code} here"
    return _refused(ApiError(code, _REASONS.get(code, "Unknown"), text, retry_after_s=fault.retry_after_s))


def _lost() -> web.Response:
    return web.Response(text="404 page not found\n", status=404)


def _cut(request: web.BaseRequest) -> web.Response:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)
