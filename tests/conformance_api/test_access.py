"""Who may do what: tokens, roles, impersonation, reviews; and the server that is too busy."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from support.api_servers import Server, eventually
from whimbrel_lab.controlplane.client import JSON_PATCH, Answer, RawClient

GROUP = "rbac.authorization.k8s.io"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def a_role(kind: str, name: str, *rules: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}, "rules": list(rules)}


def a_binding(kind: str, name: str, account: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": kind,
        "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": kind.removesuffix("Binding"), "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


async def permit(server: Server, account: str, *rules: dict[str, Any], everywhere: bool = False) -> None:
    """Give a service account of the test these rights, in the test's namespace or everywhere; returns when they count."""
    kind, name = ("ClusterRole" if everywhere else "Role"), server.unique("may")
    base = f"/apis/{GROUP}/v1" if everywhere else f"/apis/{GROUP}/v1/namespaces/{server.namespace}"
    await server.cluster_object(f"{base}/{kind.lower()}s", a_role(kind, name, *rules))
    binding = a_binding(f"{kind}Binding", name, account, server.namespace)
    await server.cluster_object(f"{base}/{kind.lower()}bindings", binding)


def answered(code: int) -> Callable[[Answer], bool]:
    return lambda answer: answer.code == code


READ = {"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get", "list", "watch"]}


async def test_what_is_not_permitted_is_refused_in_the_servers_words(
    server: Server, client: RawClient, widgets: str, build: Any
) -> None:
    user, jane = await server.account("jane")
    await permit(server, "jane", READ)
    await client.create(widgets, build.widget())

    await eventually(lambda: jane.get(f"{widgets}/one"), answered(200))
    patched = await jane.patch(f"{widgets}/one", [], JSON_PATCH)
    status = await jane.patch(f"{widgets}/one/status", {})
    listed = await jane.get("/api/v1/nodes")

    assert (patched.code, patched.body["reason"], patched.body["message"]) == (
        403,
        "Forbidden",
        f'widgets.example.com "one" is forbidden: User "{user}" cannot patch resource "widgets" in API group '
        f'"example.com" in the namespace "{server.namespace}"',
    )
    assert 'resource "widgets/status"' in status.body["message"]
    assert listed.body["message"] == (
        f'nodes is forbidden: User "{user}" cannot list resource "nodes" in API group "" at the cluster scope'
    )


async def test_roles_permit_what_their_rules_say_where_they_are_bound(
    server: Server, client: RawClient, widgets: str, build: Any
) -> None:
    _, operator = await server.account("operator")
    status = {**READ, "resources": ["widgets/status"], "verbs": ["patch"]}
    lease = {
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["leader"], "verbs": ["*"]
    }  # fmt: skip
    await permit(server, "operator", READ, status, everywhere=True)
    await permit(server, "operator", lease)
    await client.create(widgets, build.widget())
    leases = "/apis/coordination.k8s.io/v1/namespaces"

    await eventually(lambda: operator.get("/apis/example.com/v1/widgets"), answered(200))
    await eventually(lambda: operator.get(f"{leases}/{server.namespace}/leases/leader"), answered(404))
    codes = [
        (await operator.patch(f"{widgets}/one/status", {"status": {"phase": "Up"}})).code,
        (await operator.patch(f"{widgets}/one", {"spec": {"size": 2}})).code,
        (await operator.get(f"{leases}/{server.namespace}/leases/other")).code,
        (await operator.get(f"{leases}/kube-system/leases/leader")).code,
    ]

    assert codes == [200, 403, 403, 403]


async def test_an_unknown_token_is_unauthorized(server: Server) -> None:
    access = server.backend.access()
    async with RawClient(access.url, token="guess", tls=access.tls) as stranger:
        answer = await stranger.get("/api/v1/pods")

    assert (answer.code, answer.body["reason"]) == (401, "Unauthorized")


async def test_anybody_may_ask_what_he_may_do_and_who_he_is(server: Server, client: RawClient) -> None:
    user, jane = await server.account("jane")
    await permit(server, "jane", READ)

    async def review(asker: RawClient, verb: str) -> bool:
        attributes = {"verb": verb, "group": "example.com", "resource": "widgets", "namespace": server.namespace}
        answer = await asker.create(REVIEWS, {"spec": {"resourceAttributes": attributes}})
        assert (answer.code, answer.body["kind"]) == (201, "SelfSubjectAccessReview")
        return bool(answer.body["status"]["allowed"])

    await eventually(lambda: jane.get(server.custom("widgets")), answered(200))
    answers = [await review(jane, "list"), await review(jane, "delete"), await review(client, "delete")]
    me = await jane.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})

    assert answers == [True, False, True]
    assert me.body["status"]["userInfo"]["username"] == user
    assert f"system:serviceaccounts:{server.namespace}" in me.body["status"]["userInfo"]["groups"]


async def test_a_service_account_that_is_not_there_gets_no_token(server: Server, client: RawClient) -> None:
    answer = await client.create(f"{server.path('serviceaccounts')}/nobody/token", {"spec": {}})

    assert (answer.code, answer.body["message"]) == (404, 'serviceaccounts "nobody" not found')


async def test_the_administrator_may_act_as_another_and_nobody_else_may(
    server: Server, client: RawClient, build: Any, widgets: str
) -> None:
    _, jane = await server.account("jane")
    as_joe = {"Impersonate-User": "joe"}

    acting = await client.send("POST", widgets, build.widget(), headers=as_joe)
    refused = await jane.send("GET", widgets, headers=as_joe)

    assert (acting.code, 'User "joe" cannot create' in acting.body["message"]) == (403, True)
    assert (refused.code, "cannot impersonate" in refused.body["message"]) == (403, True)


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_method_that_makes_no_sense_is_not_allowed(client: RawClient, config_maps: str, method: str) -> None:
    path = f"{config_maps}/one" if method == "POST" else config_maps

    assert (await client.send(method, path, {"apiVersion": "v1"})).code == 405


async def test_a_custom_object_is_not_changed_without_its_name(client: RawClient, widgets: str, build: Any) -> None:
    answers = [await client.replace(widgets, build.widget()), await client.patch(widgets, {})]

    assert [(each.code, each.body["message"]) for each in answers] == [(400, "name must be provided")] * 2


async def test_a_client_that_is_turned_away_is_told_when_to_come_back(server: Server, client: RawClient) -> None:
    user, eager = await server.account("eager")
    await server.turn_away(user)

    async def crowd() -> Answer:
        """Twenty at once: a real server lets one through even where it has no seat at all."""
        answers = await asyncio.gather(*(eager.get(server.path("configmaps")) for _ in range(20)))
        return max(answers, key=lambda answer: answer.code)

    refused = await eventually(crowd, answered(429))
    other = await client.get(server.path("configmaps"))

    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.text == "Too many requests, please try again later.\n"
    assert other.code == 200
