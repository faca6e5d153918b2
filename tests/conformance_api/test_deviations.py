"""Every deviation of the embedded server from the real one, proved on both; the list is `embedded/deviations.py`.

A line of the list without both proofs fails here, and so does a proof without a line.
"""

import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.api_servers import Server, a_namespace
from support.widgets import a_config_map, a_definition, a_pod, a_widget, of_two_versions
from whimbrel_lab.controlplane.client import APPLY, Answer, RawClient
from whimbrel_lab.controlplane.embedded.deviations import DEVIATIONS, How

Proof = Callable[[Server, RawClient], Awaitable[Answer | None]]
PROOFS: dict[tuple[str, str], Proof] = {}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PROTOBUF = "application/vnd.kubernetes.protobuf"


def proves(deviation: str, on: str) -> Callable[[Proof], Proof]:
    """The decorated function shows what this server does; the embedded one's answer is returned and judged by loudness."""

    def enter(proof: Proof) -> Proof:
        assert (deviation, on) not in PROOFS
        PROOFS[deviation, on] = proof
        return proof

    return enter


def loudness(answer: Answer) -> How:
    """How a client learns that it did not get what a real server gives."""
    if answer.code >= 400:
        return "refused"
    return "warned" if any("embedded control plane" in warning for warning in answer.warnings) else "silent"


def test_every_deviation_is_proved_on_both_servers_and_every_proof_is_of_one() -> None:
    names = [each.name for each in DEVIATIONS]

    assert len(set(names)) == len(names)
    assert set(PROOFS) == {(name, server) for name in names for server in ("embedded", "real")}


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.name)
async def test_a_deviation_is_as_the_list_says(server: Server, client: RawClient, deviation: Any) -> None:
    answer = await PROOFS[deviation.name, server.name](server, client)

    assert answer is None or loudness(answer) == deviation.how
    assert (answer is None) == (server.name == "real")


async def _apply(server: Server, client: RawClient, owner: str) -> Answer:
    body = {**a_config_map(), "data": {"key": owner}}
    return await client.patch(f"{server.path('configmaps')}/one", body, APPLY, fieldManager=owner)


@proves("server-side apply", on="real")
async def apply_really(server: Server, client: RawClient) -> None:
    first, second = await _apply(server, client, "a"), await _apply(server, client, "b")

    assert (first.code, second.code, second.body["reason"]) == (201, 409, "Conflict")
    assert 'conflict with "a"' in second.body["details"]["causes"][0]["message"]


@proves("server-side apply", on="embedded")
async def apply_embedded(server: Server, client: RawClient) -> Answer:
    answer = await _apply(server, client, "a")
    assert "server-side apply" in answer.body["message"]
    return answer


def _ruled() -> dict[str, Any]:
    return {**a_widget(size=5), "kind": "Ruled"}


@proves("rules in CEL", on="real")
async def rules_really(server: Server, client: RawClient) -> None:
    answer = await client.create(server.custom("ruleds"), _ruled())
    assert (answer.code, answer.causes) == (422, {"spec": "Invalid value: too large"})


@proves("rules in CEL", on="embedded")
async def rules_embedded(server: Server, client: RawClient) -> Answer:
    path = server.custom("ruleds")
    created = await client.create(path, _ruled())
    patched = await client.patch(f"{path}/one", {"spec": {"size": 6}})
    read = await client.get(f"{path}/one")
    assert all("x-kubernetes-validations (CEL rules) of Ruled" in each.warnings[0] for each in (created, patched))
    assert read.warnings == ()
    return created


STREAMING = {
    "watch": "true", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"
}  # fmt: skip


@proves("streaming lists", on="real")
async def streaming_really(server: Server, client: RawClient) -> None:
    await client.create(server.custom("widgets"), a_widget())
    async with client.watch(server.custom("widgets"), **STREAMING) as stream:
        first, bookmark = await stream.next(), await stream.next()
    assert first is not None
    assert bookmark is not None
    assert (first["type"], bookmark["type"]) == ("ADDED", "BOOKMARK")
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


@proves("streaming lists", on="embedded")
async def streaming_embedded(server: Server, client: RawClient) -> Answer:
    answer = await client.get(server.custom("widgets"), **STREAMING)
    assert "sendInitialEvents is forbidden for watch" in answer.causes["sendInitialEvents"]
    return answer


def _converted() -> dict[str, Any]:
    definition = of_two_versions("Draft")
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1/convert"}}
    definition["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    return definition


@proves("conversion webhooks", on="real")
async def conversion_really(server: Server, client: RawClient) -> None:
    assert (await client.create(DEFINITIONS, _converted(), dryRun="All")).code == 201


@proves("conversion webhooks", on="embedded")
async def conversion_embedded(server: Server, client: RawClient) -> Answer:
    answer = await client.create(DEFINITIONS, _converted(), dryRun="All")
    assert "strategy None only" in answer.causes["spec.conversion.strategy"]
    return answer


async def _ratchet(server: Server, client: RawClient, kind: str) -> Answer:
    """Tighten a schema over a stored object, then label the object."""
    definition = a_definition(kind=kind)
    await server.define(definition)
    path = f"{server.custom(kind.lower() + 's')}/one"
    await client.create(path.rpartition("/")[0], {**a_widget(size=9), "kind": kind})
    tighter = copy.deepcopy(definition["spec"]["versions"])
    tighter[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]["maximum"] = 5
    await client.patch(f"{DEFINITIONS}/{definition['metadata']['name']}", {"spec": {"versions": tighter}})
    await server.until_refused(path.rpartition("/")[0], {**a_widget("two", size=9), "kind": kind})
    return await client.patch(path, {"metadata": {"labels": {"a": "b"}}})


@proves("validation ratcheting", on="real")
async def ratcheting_really(server: Server, client: RawClient) -> None:
    assert (await _ratchet(server, client, "Ratchet")).code == 200


@proves("validation ratcheting", on="embedded")
async def ratcheting_embedded(server: Server, client: RawClient) -> Answer:
    return await _ratchet(server, client, "Ratchet")


@proves("kinds that the lab does not need", on="real")
async def kinds_really(server: Server, client: RawClient) -> None:
    assert (await client.get(server.path("jobs", "/apis/batch/v1"))).code == 200


@proves("kinds that the lab does not need", on="embedded")
async def kinds_embedded(server: Server, client: RawClient) -> Answer:
    return await client.get(server.path("jobs", "/apis/batch/v1"))


DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "m", "image": "i"}]}},
    },
}


async def _scale(server: Server, client: RawClient) -> Answer:
    path = server.path("deployments", "/apis/apps/v1")
    await client.create(path, DEPLOYMENT)
    return await client.get(f"{path}/d/scale")


@proves("subresources that need a kubelet or a controller", on="real")
async def subresources_really(server: Server, client: RawClient) -> None:
    assert (await _scale(server, client)).body["kind"] == "Scale"


@proves("subresources that need a kubelet or a controller", on="embedded")
async def subresources_embedded(server: Server, client: RawClient) -> Answer:
    answer = await _scale(server, client)
    assert answer.body["message"] == "the embedded control plane has no deployments/scale; use a real API server"
    return answer


async def _in(server: Server, client: RawClient, media_type: str) -> Answer:
    return await client.send("GET", server.path("configmaps"), headers={"Accept": media_type})


@proves("answers in YAML, protobuf or CBOR", on="real")
async def answers_really(server: Server, client: RawClient) -> None:
    yaml, protobuf = await _in(server, client, "application/yaml"), await _in(server, client, PROTOBUF)
    assert yaml.text.startswith("apiVersion: v1\n")
    assert protobuf.text.startswith("k8s\0")


@proves("answers in YAML, protobuf or CBOR", on="embedded")
async def answers_embedded(server: Server, client: RawClient) -> Answer:
    both = await _in(server, client, f"{PROTOBUF},application/json")
    assert (both.code, both.body["kind"]) == (200, "ConfigMapList")
    return await _in(server, client, PROTOBUF)


async def _lease_in_protobuf(server: Server, client: RawClient) -> Answer:
    """A Lease with nothing but its name."""
    identity = b"\x0a\x16coordination.k8s.io/v1\x12\x05Lease"
    lease = b"\x0a\x03\x0a\x01l"
    body = b"k8s\0\x0a" + bytes([len(identity)]) + identity + b"\x12" + bytes([len(lease)]) + lease
    return await client.send("POST", server.path("leases", "/apis/coordination.k8s.io/v1"), body, content_type=PROTOBUF)


@proves("bodies in protobuf", on="real")
async def bodies_really(server: Server, client: RawClient) -> None:
    assert (await _lease_in_protobuf(server, client)).code == 201


@proves("bodies in protobuf", on="embedded")
async def bodies_embedded(server: Server, client: RawClient) -> Answer:
    answer = await _lease_in_protobuf(server, client)
    assert answer.code == 415
    return answer


def _limits() -> dict[str, Any]:
    limits = [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}}]
    return {"metadata": {"name": "limits"}, "spec": {"limits": limits}}


@proves("quotas and limit ranges", on="real")
async def limits_really(server: Server, client: RawClient) -> None:
    made = await client.create(server.path("limitranges"), _limits())
    pod = await server.until_made(
        server.path("pods"), a_pod(), lambda pod: bool(pod["spec"]["containers"][0]["resources"])
    )
    assert made.warnings == ()
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1"}


@proves("quotas and limit ranges", on="embedded")
async def limits_embedded(server: Server, client: RawClient) -> Answer:
    quota = {"metadata": {"name": "quota"}, "spec": {"hard": {"count/configmaps": "0"}}}
    limits = await client.create(server.path("limitranges"), _limits())
    assert loudness(limits) == "warned"
    return await client.create(server.path("resourcequotas"), quota)


@proves("schemas of built-in kinds", on="real")
async def schemas_really(server: Server, client: RawClient) -> None:
    wrong = await client.create(server.path("pods"), a_pod(restartPolicy="Perhaps"))
    unknown = await client.create(server.path("pods"), a_pod(surprise=1))
    assert (wrong.code, list(wrong.causes)) == (422, ["spec.restartPolicy"])
    assert (unknown.warnings, "surprise" in unknown.body["spec"]) == (
        ('299 - "unknown field \\"spec.surprise\\""',),
        False,
    )


@proves("schemas of built-in kinds", on="embedded")
async def schemas_embedded(server: Server, client: RawClient) -> Answer:
    return await client.create(server.path("pods"), a_pod(restartPolicy="Perhaps", surprise=1))


async def _change_what_is_fixed(server: Server, client: RawClient) -> Answer:
    path = server.path("configmaps")
    await client.create(path, {**a_config_map(), "immutable": True})
    return await client.patch(f"{path}/one", {"data": {"key": "other"}})


@proves("immutable fields of built-in kinds", on="real")
async def immutable_really(server: Server, client: RawClient) -> None:
    assert "field is immutable" in (await _change_what_is_fixed(server, client)).causes["data"]


@proves("immutable fields of built-in kinds", on="embedded")
async def immutable_embedded(server: Server, client: RawClient) -> Answer:
    return await _change_what_is_fixed(server, client)


@proves("managedFields", on="real")
async def fields_really(server: Server, client: RawClient) -> None:
    made = await client.create(server.custom("widgets"), a_widget())
    assert made.body["metadata"]["managedFields"][0]["manager"] == "tests"


@proves("managedFields", on="embedded")
async def fields_embedded(server: Server, client: RawClient) -> Answer:
    made = await client.create(server.custom("widgets"), a_widget())
    assert "managedFields" not in made.body["metadata"]
    return made


async def _columns(server: Server, client: RawClient) -> tuple[list[str], Answer]:
    table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    answer = await client.send("GET", server.path("pods"), headers=table)
    return [each["name"] for each in answer.body["columnDefinitions"]], answer


FIRST_COLUMNS = ["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node"]


@proves("columns of built-in kinds", on="real")
async def columns_really(server: Server, client: RawClient) -> None:
    columns, _ = await _columns(server, client)
    assert columns == [*FIRST_COLUMNS, "Nominated Node", "Readiness Gates"]


@proves("columns of built-in kinds", on="embedded")
async def columns_embedded(server: Server, client: RawClient) -> Answer:
    columns, answer = await _columns(server, client)
    assert columns == FIRST_COLUMNS
    return answer


async def _anonymously(server: Server) -> Answer:
    access = server.backend.access()
    async with RawClient(access.url, tls=access.tls) as nobody:
        return await nobody.get(server.path("configmaps"))


@proves("who asks without a token", on="real")
async def anonymous_really(server: Server, client: RawClient) -> None:
    answer = await _anonymously(server)
    assert (answer.code, 'User "system:anonymous" cannot list' in answer.body["message"]) == (403, True)


@proves("who asks without a token", on="embedded")
async def anonymous_embedded(server: Server, client: RawClient) -> Answer:
    return await _anonymously(server)


async def _defined(server: Server, client: RawClient) -> Answer:
    definition = a_definition(kind="Quick")
    server.forget_later(f"{DEFINITIONS}/{definition['metadata']['name']}")
    return await client.create(DEFINITIONS, definition)


@proves("when a definition is served", on="real")
async def defined_really(server: Server, client: RawClient) -> None:
    assert not (await _defined(server, client)).body["status"].get("conditions")
    await server.until(server.custom("quicks"), 200)


@proves("when a definition is served", on="embedded")
async def defined_embedded(server: Server, client: RawClient) -> Answer:
    answer = await _defined(server, client)
    assert answer.body["status"]["conditions"][1]["type"] == "Established"
    assert (await client.get(server.custom("quicks"))).code == 200
    return answer


async def _empty_namespace_deleted(server: Server, client: RawClient) -> tuple[str, Answer]:
    name = server.unique("brief")
    await client.create("/api/v1/namespaces", a_namespace(name))
    return name, await client.delete(f"/api/v1/namespaces/{name}")


@proves("when a namespace is gone", on="real")
async def gone_really(server: Server, client: RawClient) -> None:
    name, _ = await _empty_namespace_deleted(server, client)
    assert (await client.get(f"/api/v1/namespaces/{name}")).body["status"]["phase"] == "Terminating"


@proves("when a namespace is gone", on="embedded")
async def gone_embedded(server: Server, client: RawClient) -> Answer:
    name, answer = await _empty_namespace_deleted(server, client)
    await server.until_gone(f"/api/v1/namespaces/{name}")
    return answer


@proves("what controllers put into a new namespace", on="real")
async def account_really(server: Server, client: RawClient) -> None:
    await server.until(f"{server.path('serviceaccounts')}/default", 200)


@proves("what controllers put into a new namespace", on="embedded")
async def account_embedded(server: Server, client: RawClient) -> Answer:
    answer = await client.get(server.path("serviceaccounts"))
    assert answer.body["items"] == []
    return answer
