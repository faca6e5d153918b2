"""Webhooks of the lab over HTTPS: kube-apiserver calls them as it calls KubeVirt's.

Registered as two configurations, one mutating and one validating; they are in force when `serve` returns.
"""

import asyncio
import base64
import inspect
import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from whimbrel_lab.certs import Authority
from whimbrel_lab.controlplane.admission import AdmissionRequest, Object, Refusal, Webhook
from whimbrel_lab.controlplane.real.server import ControlPlaneFailed
from whimbrel_lab.controlplane.users import User
from whimbrel_lab.kubevirt.client import Client, RequestRefused

LOG = logging.getLogger(__name__)
GROUP = "admissionregistration.k8s.io"
IN_FORCE_WITHIN_S = 30.0
LOOK_EVERY_S = 0.05
CONFIGURATIONS = {
    "mutatingwebhookconfigurations": ("MutatingWebhookConfiguration", True),
    "validatingwebhookconfigurations": ("ValidatingWebhookConfiguration", False),
}
NAME_PREFIX = "lab-"
"""By which the configurations of a lab are known."""
IN_FORCE = 418
"""The code by which a probe says that its configuration is in force."""
PROBE_LABEL = "in-force.lab.whimbrel.dev"


def _in_force(_request: AdmissionRequest) -> None:
    raise Refusal("in force", IN_FORCE)


PROBES = (
    Webhook("mutating.in-force.lab.whimbrel.dev", "configmaps", ("CREATE",), _in_force, mutates=True),
    Webhook("validating.in-force.lab.whimbrel.dev", "configmaps", ("CREATE",), _in_force),
)
"""A webhook in each configuration, which refuses the dry run that asks whether it is called."""


async def serve(webhooks: Sequence[Webhook], issuer: Authority, client: Client) -> Callable[[], Awaitable[None]]:
    """Listen, register, wait until the server calls them; answers how to take all of it away."""
    mark = f"{NAME_PREFIX}{uuid.uuid4().hex[:8]}"
    by_path = {f"/{number}": each for number, each in enumerate((*webhooks, *PROBES))}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        webhook = by_path.get(request.path)
        if webhook is None:
            return web.Response(status=404)
        review: Object = json.loads(await request.read())
        return web.json_response({**review, "request": None, "response": await _judge(webhook, review["request"])})

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=issuer.server_context(addresses=["127.0.0.1"]))
    await site.start()
    base = f"https://127.0.0.1:{runner.addresses[-1][1]}"

    async def close() -> None:
        async with AsyncExitStack() as rest:
            rest.push_async_callback(runner.cleanup)
            for plural in CONFIGURATIONS:
                rest.push_async_callback(_unregister, client, plural, mark)

    try:
        for plural, (kind, mutates) in CONFIGURATIONS.items():
            entries = [_entry(each, base + path, issuer) for path, each in by_path.items() if each.mutates is mutates]
            body = {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": mark}, "webhooks": entries}
            await client.send("POST", f"/apis/{GROUP}/v1/{plural}", body)
        await _until_in_force(client)
    except BaseException as problem:
        try:
            await close()
        except Exception as another:  # what went wrong first is what is to be told
            problem.add_note(f"Its configurations {mark} may be left: {another!r}")
        raise
    return close


async def sweep(client: Client) -> None:
    """Take away the configurations that labs left behind: nobody answers their calls, so they refuse everything."""
    for plural in CONFIGURATIONS:
        for each in (await client.send("GET", f"/apis/{GROUP}/v1/{plural}"))["items"]:
            if each["metadata"]["name"].startswith(NAME_PREFIX):
                await _unregister(client, plural, each["metadata"]["name"])


async def _unregister(client: Client, plural: str, name: str) -> None:
    try:
        await client.send("DELETE", f"/apis/{GROUP}/v1/{plural}/{name}")
    except RequestRefused as refused:
        if refused.code != 404:
            raise


async def _until_in_force(client: Client) -> None:
    """The server's admission sees each of the two configurations by a watch of its own."""
    waiting = {each.name: "nothing was asked yet" for each in PROBES}
    try:
        await asyncio.wait_for(_probe(client, waiting), IN_FORCE_WITHIN_S)
    except TimeoutError:
        said = "; ".join(f"{name}: {answer}" for name, answer in waiting.items())
        raise ControlPlaneFailed(f"after {IN_FORCE_WITHIN_S:g} s webhooks are not in force: {said}") from None


async def _probe(client: Client, waiting: dict[str, str]) -> None:
    """Until none is left of `waiting`, which holds the last answer to each probe."""
    while True:
        for probed in sorted(waiting):
            metadata = {"name": "in-force", "labels": {PROBE_LABEL: probed}}
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
            try:
                await client.send("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", body)
                waiting[probed] = "it is not called"
            except RequestRefused as refused:
                waiting[probed] = str(refused)
                if refused.code == IN_FORCE:
                    del waiting[probed]
        if not waiting:
            return
        await asyncio.sleep(LOOK_EVERY_S)


def _entry(webhook: Webhook, url: str, issuer: Authority) -> Object:
    plural, _, group = webhook.resource.partition(".")
    resource = f"{plural}/{webhook.subresource}" if webhook.subresource else plural
    entry: Object = {
        "name": webhook.name,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 10,
        "clientConfig": {"url": url, "caBundle": base64.b64encode(issuer.bundle.encode()).decode()},
        "rules": [
            {
                "apiGroups": [group],
                "apiVersions": ["*"],
                "operations": list(webhook.operations),
                "resources": [resource],
            }
        ],
    }
    if webhook in PROBES:
        entry["objectSelector"] = {"matchLabels": {PROBE_LABEL: webhook.name}}
    return entry


async def _judge(webhook: Webhook, asked: dict[str, Any]) -> Object:
    """The AdmissionResponse."""
    who = asked["userInfo"]
    request = AdmissionRequest(
        user=User(who.get("username", ""), tuple(who.get("groups") or ())),
        operation=asked["operation"],
        resource=webhook.resource,
        namespace=asked.get("namespace") or "",
        name=asked.get("name") or "",
        subresource=asked.get("subResource") or "",
        object=asked.get("object"),
        old_object=asked.get("oldObject"),
        dry_run=bool(asked.get("dryRun")),
    )
    before = json.dumps(request.object)
    answer: Object = {"uid": asked["uid"], "allowed": True}
    try:
        done = webhook.hook(request)
        if inspect.isawaitable(done):
            await done
    except Refusal as refusal:
        status: Object = {"code": refusal.code, "reason": refusal.reason, "message": refusal.message}
        if refusal.causes:
            status["details"] = {"causes": list(refusal.causes)}
        return {**answer, "allowed": False, "status": status}
    except Exception as problem:
        LOG.exception("webhook %s", webhook.name)
        return {**answer, "allowed": False, "status": {"code": 500, "message": f"{webhook.name}: {problem}"}}
    if webhook.mutates and request.object is not None:
        patch = _patch(json.loads(before), request.object)
        if patch:
            answer.update(patchType="JSONPatch", patch=base64.b64encode(json.dumps(patch).encode()).decode())
    if request.warnings:
        answer["warnings"] = list(request.warnings)
    return answer


def _patch(before: Object, after: Object) -> list[Object]:
    """Top-level members set anew or taken away: enough for objects as a whole."""
    patch: list[Object] = [
        {"op": "add", "path": f"/{key}", "value": value} for key, value in after.items() if before.get(key) != value
    ]
    return patch + [{"op": "remove", "path": f"/{key}"} for key in before if key not in after]
