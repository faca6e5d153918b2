"""Who may do what, and the hooks that speak before the storage does."""

from typing import Any

import pytest

from whimbrel_lab.controlplane.client import JSON_PATCH, RawClient
from whimbrel_lab.controlplane.embedded import (
    AdmissionRequest,
    EmbeddedControlPlane,
    Question,
    Refusal,
    User,
    rbac_authorizer,
    service_account,
)

WIDGETS = "widgets.example.com"


async def test_a_mutating_hook_changes_what_is_stored(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    def label(request: AdmissionRequest) -> None:
        assert request.object is not None
        request.object["metadata"].setdefault("labels", {})["by"] = request.user.name
        request.object["spec"]["surprise"] = "pruned"

    plane.admission.mutating(WIDGETS, ["CREATE"], label, name="label.example.com")

    answer = await client.create(widgets, build.widget())

    assert answer.body["metadata"]["labels"] == {"by": "kubernetes-admin"}
    assert "surprise" not in answer.body["spec"]


async def test_a_mutating_hook_can_revert_a_status_in_silence(
    plane: EmbeddedControlPlane, client: RawClient, build: Any
) -> None:
    await plane.load([build.definition(kind="Gadget", status=False)])

    def revert(request: AdmissionRequest) -> None:
        assert request.object is not None
        assert request.old_object is not None
        request.object.pop("status", None)
        if "status" in request.old_object:
            request.object["status"] = request.old_object["status"]

    plane.admission.mutating("gadgets.example.com", ["UPDATE"], revert, name="status.example.com")
    path = "/apis/example.com/v1/namespaces/default/gadgets"
    created = await client.create(path, {**build.widget(), "kind": "Gadget", "status": {"phase": "Real"}})

    answer = await client.patch(f"{path}/one", {"status": {"phase": "Forged"}})

    assert (answer.code, answer.body) == (200, created.body)


async def test_a_refusal_carries_its_code_message_and_causes(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    async def refuse(request: AdmissionRequest) -> None:
        cause = {"reason": "FieldValueInvalid", "message": "no", "field": "spec.size"}
        raise Refusal("too busy", code=422, reason="Invalid", causes=[cause])

    remove = plane.admission.validating(WIDGETS, ["CREATE"], refuse, name="guard.example.com")

    refused = await client.create(widgets, build.widget())
    remove()
    created = await client.create(widgets, build.widget())

    assert (refused.code, refused.body["reason"], refused.causes) == (422, "Invalid", {"spec.size": "no"})
    assert refused.body["message"] == 'admission webhook "guard.example.com" denied the request: too busy'
    assert created.code == 201


async def test_admission_speaks_before_already_exists_and_validation_before_validating_hooks(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    await client.create(widgets, build.widget())

    def refuse(request: AdmissionRequest) -> None:
        raise Refusal("in-flight migration detected", code=400, reason="BadRequest")

    plane.admission.validating(WIDGETS, ["CREATE"], refuse, name="guard.example.com")

    existing = await client.create(widgets, build.widget())
    broken = await client.create(widgets, build.widget(size=0))

    assert (existing.code, "in-flight migration detected" in existing.body["message"]) == (400, True)
    assert broken.code == 422


async def test_hooks_see_operation_old_object_and_subresource(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    seen: list[tuple[str, str, Any, Any]] = []

    def look(request: AdmissionRequest) -> None:
        sizes = [each and each["spec"]["size"] for each in (request.old_object, request.object)]
        seen.append((request.operation, request.subresource, *sizes))

    operations: Any = ["CREATE", "UPDATE", "DELETE"]
    plane.admission.validating(WIDGETS, operations, look, name="look.example.com")
    plane.admission.validating(WIDGETS, operations, look, name="status.example.com", subresource="status")
    await client.create(widgets, build.widget())
    await client.patch(f"{widgets}/one", {"spec": {"size": 2}})
    await client.patch(f"{widgets}/one/status", {"status": {"phase": "Up"}})
    await client.delete(f"{widgets}/one")

    assert seen == [
        ("CREATE", "", None, 1),
        ("UPDATE", "", 1, 2),
        ("UPDATE", "status", 2, 2),
        ("DELETE", "", 2, None),
    ]


async def test_a_hook_on_evictions_can_answer_in_the_kubelets_stead(
    plane: EmbeddedControlPlane, client: RawClient, pods: str, build: Any
) -> None:
    def evacuate(request: AdmissionRequest) -> None:
        raise Refusal('Eviction triggered evacuation of VMI "default/vm"', code=429, reason="TooManyRequests")

    plane.admission.validating("pods", ["CREATE"], evacuate, name="evict.example.com", subresource="eviction")
    await client.create(pods, build.pod())

    answer = await client.create(
        f"{pods}/one/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "one"}}
    )

    assert (answer.code, "triggered evacuation" in answer.body["message"]) == (429, True)
    assert (await client.get(f"{pods}/one")).code == 200


async def test_a_patch_is_judged_on_the_newest_object_though_a_hook_was_slow(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    await client.create(widgets, build.widget())
    interfered = False

    async def interfere(request: AdmissionRequest) -> None:
        nonlocal interfered
        if not interfered:
            interfered = True
            await client.patch(f"{widgets}/one", {"metadata": {"labels": {"meanwhile": "yes"}}})

    plane.admission.validating(WIDGETS, ["UPDATE"], interfere, name="slow.example.com")

    answer = await client.patch(f"{widgets}/one", {"spec": {"size": 5}})

    assert answer.body["metadata"]["labels"] == {"meanwhile": "yes"}
    assert answer.body["spec"]["size"] == 5


async def test_a_replace_loses_against_what_came_in_while_a_hook_was_slow(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    created = (await client.create(widgets, build.widget())).body
    interfered = False

    async def interfere(request: AdmissionRequest) -> None:
        nonlocal interfered
        if not interfered:
            interfered = True
            await client.patch(f"{widgets}/one", {"metadata": {"labels": {"meanwhile": "yes"}}})

    plane.admission.validating(WIDGETS, ["UPDATE"], interfere, name="slow.example.com")

    assert (await client.replace(f"{widgets}/one", {**created, "spec": {"size": 5}})).code == 409


def may_read_widgets(question: Question) -> bool:
    return question.resource == "widgets" and question.verb in ("get", "list", "watch")


async def test_what_is_not_permitted_is_refused_in_the_servers_words(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    plane.tokens["secret"] = User("jane")
    plane.authorizer = may_read_widgets
    await client.create(widgets, build.widget())

    async with RawClient(plane.url, token="secret") as jane:
        read = await jane.get(f"{widgets}/one")
        patched = await jane.patch(f"{widgets}/one", [], JSON_PATCH)
        status = await jane.patch(f"{widgets}/one/status", {})
        listed = await jane.get("/api/v1/nodes")

    assert read.code == 200
    assert (patched.code, patched.body["message"]) == (
        403,
        'widgets.example.com "one" is forbidden: User "jane" cannot patch resource "widgets" in API group '
        '"example.com" in the namespace "default"',
    )
    assert 'resource "widgets/status"' in status.body["message"]
    assert listed.body["message"] == (
        'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope'
    )


async def test_an_unknown_token_is_unauthorized(plane: EmbeddedControlPlane) -> None:
    async with RawClient(plane.url, token="guess") as stranger:
        answer = await stranger.get("/api/v1/pods")

    assert (answer.code, answer.body["reason"]) == (401, "Unauthorized")


async def test_an_access_review_says_what_the_authorizer_says(plane: EmbeddedControlPlane) -> None:
    plane.tokens["secret"] = User("jane")
    plane.authorizer = may_read_widgets
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

    async def allowed(client: RawClient, verb: str) -> bool:
        attributes = {"verb": verb, "group": "example.com", "resource": "widgets", "namespace": "default"}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        return bool((await client.create(path, review)).body["status"]["allowed"])

    def permit_reviews(question: Question) -> bool:
        return question.resource == "selfsubjectaccessreviews" or may_read_widgets(question)

    plane.authorizer = permit_reviews
    async with RawClient(plane.url, token="secret") as jane, RawClient(plane.url) as administrator:
        answers = [await allowed(jane, "list"), await allowed(jane, "delete"), await allowed(administrator, "delete")]

    assert answers == [True, False, True]


async def test_a_service_accounts_token_is_that_account(plane: EmbeddedControlPlane, client: RawClient) -> None:
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await client.create(accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator"}})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}

    token = (await client.create(f"{accounts}/operator/token", request)).body["status"]["token"]

    assert plane.tokens[token] == service_account("default", "operator")


async def test_the_administrator_may_act_as_another_and_nobody_else_may(
    plane: EmbeddedControlPlane, client: RawClient, build: Any, widgets: str
) -> None:
    plane.tokens["secret"] = User("jane")
    plane.authorizer = may_read_widgets
    as_joe = {"Impersonate-User": "joe"}

    acting = await client.send("POST", widgets, build.widget(), headers=as_joe)
    async with RawClient(plane.url, token="secret") as jane:
        refused = await jane.send("GET", widgets, headers=as_joe)

    assert (acting.code, 'User "joe" cannot create' in acting.body["message"]) == (403, True)
    assert refused.code == 403


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_method_that_makes_no_sense_is_not_allowed(client: RawClient, widgets: str, method: str) -> None:
    path = f"{widgets}/one" if method == "POST" else widgets

    assert (await client.send(method, path, {"apiVersion": "v1"})).code == 405


async def test_roles_in_the_storage_permit_what_their_rules_say(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    def role(kind: str, *rules: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "operator"},
            "rules": list(rules),
        }

    def binding(kind: str) -> dict[str, Any]:
        return {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "operator"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": kind.removesuffix("Binding"),
                "name": "operator",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": "default"}],
        }

    widget_rule = {"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get", "list"]}
    status_rule = {**widget_rule, "resources": ["widgets/status"], "verbs": ["patch"]}
    lease_rule = {
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["leader"], "verbs": ["*"]
    }  # fmt: skip
    await plane.load(
        [
            role("ClusterRole", widget_rule, status_rule),
            binding("ClusterRoleBinding"),
            role("Role", lease_rule),
            binding("RoleBinding"),
            build.widget(),
        ]
    )
    plane.tokens["secret"] = service_account("default", "operator")
    plane.authorizer = rbac_authorizer(plane.storage)
    leases = "/apis/coordination.k8s.io/v1/namespaces"

    async with RawClient(plane.url, token="secret") as operator:
        codes = [
            (await operator.get("/apis/example.com/v1/widgets")).code,
            (await operator.patch(f"{widgets}/one/status", {"status": {"phase": "Up"}})).code,
            (await operator.patch(f"{widgets}/one", {"spec": {"size": 2}})).code,
            (await operator.get(f"{leases}/default/leases/leader")).code,
            (await operator.get(f"{leases}/default/leases/other")).code,
            (await operator.get(f"{leases}/kube-system/leases/leader")).code,
        ]

    assert codes == [200, 200, 403, 404, 403, 403]
