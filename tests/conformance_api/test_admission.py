"""Webhooks: what they see, what they may change, and in which order they and the server speak."""

from typing import Any

from support.api_servers import Server
from whimbrel_lab.controlplane.admission import AdmissionRequest, Operation, Refusal, Webhook
from whimbrel_lab.controlplane.client import RawClient

WIDGETS = "widgets.example.com"
CREATE: tuple[Operation, ...] = ("CREATE",)
UPDATE: tuple[Operation, ...] = ("UPDATE",)
WRITES: tuple[Operation, ...] = ("CREATE", "UPDATE", "DELETE")


async def test_a_mutating_webhook_changes_what_is_stored(
    server: Server, client: RawClient, widgets: str, build: Any
) -> None:
    def label(request: AdmissionRequest) -> None:
        assert request.object is not None
        request.object["metadata"].setdefault("labels", {})["by"] = request.user.name
        request.object["spec"]["surprise"] = "pruned"

    await server.register(Webhook("label.example.com", WIDGETS, CREATE, label, mutates=True))

    answer = await client.create(widgets, build.widget())

    assert answer.body["metadata"]["labels"] == {"by": "kubernetes-admin"}
    assert "surprise" not in answer.body["spec"]


async def test_a_mutating_webhook_can_revert_a_status_in_silence(server: Server, client: RawClient, build: Any) -> None:
    def revert(request: AdmissionRequest) -> None:
        assert request.object is not None
        assert request.old_object is not None
        request.object.pop("status", None)
        if "status" in request.old_object:
            request.object["status"] = request.old_object["status"]

    await server.register(Webhook("status.example.com", "gadgets.example.com", UPDATE, revert, mutates=True))
    path = server.custom("gadgets")
    created = await client.create(path, {**build.widget(), "kind": "Gadget", "status": {"phase": "Real"}})

    answer = await client.patch(f"{path}/one", {"status": {"phase": "Forged"}})

    assert (answer.code, answer.body) == (200, created.body)


async def test_a_refusal_carries_its_code_message_and_causes_until_the_webhook_is_taken_away(
    server: Server, client: RawClient, widgets: str, build: Any
) -> None:
    async def refuse(request: AdmissionRequest) -> None:
        if request.namespace == server.namespace:
            cause = {"reason": "FieldValueInvalid", "message": "no", "field": "spec.size"}
            raise Refusal("too busy", code=422, reason="Invalid", causes=[cause])

    remove = await server.register(Webhook("guard.example.com", WIDGETS, CREATE, refuse))

    refused = await client.create(widgets, build.widget())
    await remove()
    await server.until_created(widgets, build.widget())

    assert (refused.code, refused.body["reason"], refused.causes) == (422, "Invalid", {"spec.size": "no"})
    assert refused.body["message"] == 'admission webhook "guard.example.com" denied the request: too busy'


async def test_the_schema_speaks_before_validating_webhooks_and_they_before_already_exists(
    server: Server, client: RawClient, widgets: str, build: Any
) -> None:
    await client.create(widgets, build.widget())

    def refuse(request: AdmissionRequest) -> None:
        raise Refusal("in-flight migration detected", code=400, reason="BadRequest")

    await server.register(Webhook("guard.example.com", WIDGETS, CREATE, refuse))

    existing = await client.create(widgets, build.widget())
    broken = await client.create(widgets, build.widget(size=0))

    assert (existing.code, "in-flight migration detected" in existing.body["message"]) == (400, True)
    assert broken.code == 422


async def test_mutating_webhooks_come_before_the_schema_which_judges_what_they_made(
    server: Server, client: RawClient, widgets: str, build: Any
) -> None:
    def resize(request: AdmissionRequest) -> None:
        assert request.object is not None
        request.object["spec"]["size"] = 1000 if request.object["spec"]["size"] == 10 else 5

    await server.register(Webhook("resize.example.com", WIDGETS, CREATE, resize, mutates=True))

    mended = await client.create(widgets, build.widget("mended", size=0))
    spoilt = await client.create(widgets, build.widget("spoilt", size=10))

    assert (mended.code, mended.body["spec"]["size"]) == (201, 5)
    assert (spoilt.code, "spec.size" in spoilt.causes) == (422, True)


async def test_webhooks_see_operation_old_object_and_subresource(
    server: Server, client: RawClient, widgets: str, build: Any
) -> None:
    """A write may ask them twice: Kubernetes patches what its watch cache holds and starts anew if that was out of date.

    Only the last question is about what is then stored. Kubernetes may still be clearing away an earlier test's namespace.
    """
    asked: list[tuple[str, str, Any, Any]] = []

    def look(request: AdmissionRequest) -> None:
        if request.namespace != server.namespace:
            return
        old, new = (each and each["spec"]["size"] for each in (request.old_object, request.object))
        asked.append((request.operation, request.subresource, old, new))

    await server.register(
        Webhook("look.example.com", WIDGETS, WRITES, look),
        Webhook("status.example.com", WIDGETS, WRITES, look, subresource="status"),
    )
    writes = (
        lambda: client.create(widgets, build.widget()),
        lambda: client.patch(f"{widgets}/one", {"spec": {"size": 2}}),
        lambda: client.patch(f"{widgets}/one/status", {"status": {"phase": "Up"}}),
        lambda: client.delete(f"{widgets}/one"),
    )
    last = []
    for write in writes:
        asked.clear()
        await write()
        last.append(asked[-1])

    assert last == [
        ("CREATE", "", None, 1),
        ("UPDATE", "", 1, 2),
        ("UPDATE", "status", 2, 2),
        ("DELETE", "", 2, None),
    ]


async def test_a_webhooks_warning_reaches_the_client_and_a_dry_run_reaches_the_webhook(
    server: Server, client: RawClient, widgets: str, build: Any
) -> None:
    dry: list[bool] = []

    def warn(request: AdmissionRequest) -> None:
        dry.append(request.dry_run)
        request.warnings.append("widgets are so last year")

    await server.register(Webhook("warn.example.com", WIDGETS, CREATE, warn))

    answer = await client.create(widgets, build.widget(), dryRun="All")

    assert answer.warnings == ('299 - "widgets are so last year"',)
    assert dry == [True]


async def test_a_webhook_on_evictions_can_answer_in_the_kubelets_stead(
    server: Server, client: RawClient, pods: str, build: Any
) -> None:
    def evacuate(request: AdmissionRequest) -> None:
        raise Refusal('Eviction triggered evacuation of VMI "default/vm"', code=429, reason="TooManyRequests")

    await server.register(Webhook("evict.example.com", "pods", CREATE, evacuate, subresource="eviction"))
    await client.create(pods, build.pod())

    answer = await client.create(
        f"{pods}/one/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "one"}}
    )

    assert (answer.code, "triggered evacuation" in answer.body["message"]) == (429, True)
    assert (await client.get(f"{pods}/one")).code == 200


async def _interfering(server: Server, client: RawClient, widgets: str) -> None:
    """Once, while a webhook thinks about an update, somebody else changes the object."""
    interfered = False

    async def interfere(request: AdmissionRequest) -> None:
        nonlocal interfered
        if not interfered:
            interfered = True
            await client.patch(f"{widgets}/one", {"metadata": {"labels": {"meanwhile": "yes"}}})

    await server.register(Webhook("slow.example.com", WIDGETS, UPDATE, interfere))


async def test_a_patch_is_judged_on_the_newest_object_though_a_webhook_was_slow(
    server: Server, client: RawClient, widgets: str, build: Any
) -> None:
    await client.create(widgets, build.widget())
    await _interfering(server, client, widgets)

    answer = await client.patch(f"{widgets}/one", {"spec": {"size": 5}})

    assert answer.body["metadata"]["labels"] == {"meanwhile": "yes"}
    assert answer.body["spec"]["size"] == 5


async def test_a_replace_loses_against_what_came_in_while_a_webhook_was_slow(
    server: Server, client: RawClient, widgets: str, build: Any
) -> None:
    created = (await client.create(widgets, build.widget())).body
    await _interfering(server, client, widgets)

    assert (await client.replace(f"{widgets}/one", {**created, "spec": {"size": 5}})).code == 409
