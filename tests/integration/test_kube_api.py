"""KubeApi against a server: verbs, fences, and every failure as one of our own errors."""

from contextlib import aclosing
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType

import pytest

from support.raw_objects import a_migration, a_plan, an_instance, own_definitions
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATION_PLANS, MIGRATIONS, NAMESPACES, VIRTUAL_MACHINES
from whimbrel.kube.api import KubeApi
from whimbrel.kube.client import NotConfigured, connect
from whimbrel.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Garbled,
    Gone,
    Invalid,
    NotFound,
    Silent,
    Throttled,
    TimedOut,
    Unavailable,
)
from whimbrel.kube.telemetry import Telemetry
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Fault

DB = Key("shop", "db1")
ONE = Key("shop", "m1")


async def watched(api: KubeApi, version: str, idle_s: float) -> list[str]:
    """Types of all events until the watch ends."""
    async with aclosing(api.watch(INSTANCES, version, idle_s=idle_s, lifetime_s=60)) as events:
        return [event.type async for event in events]


async def test_an_object_lives_from_create_to_delete(cluster: EmbeddedControlPlane, api: KubeApi) -> None:
    created = await api.create(MIGRATION_PLANS, "shop", MappingProxyType(a_plan("p1")))
    key = Key("shop", "p1")
    assert (await api.get(MIGRATION_PLANS, key))["metadata"]["uid"] == created["metadata"]["uid"]

    status = await api.replace_status(MIGRATION_PLANS, key, created | {"status": {"observedGeneration": 1}})
    assert status["status"] == {"observedGeneration": 1}

    with pytest.raises(Conflict):
        await api.replace_status(MIGRATION_PLANS, key, created | {"status": {"observedGeneration": 2}})

    test_uid = {"op": "test", "path": "/metadata/uid", "value": created["metadata"]["uid"]}
    add = {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}
    assert (await api.patch(MIGRATION_PLANS, key, [test_uid, add]))["metadata"]["labels"] == {"a": "b"}
    with pytest.raises((Invalid, Conflict)):
        await api.patch(MIGRATION_PLANS, key, [test_uid | {"value": "another"}, add])

    with pytest.raises(Conflict):
        await api.delete(MIGRATION_PLANS, key, "another")
    await api.delete(MIGRATION_PLANS, key, created["metadata"]["uid"])
    with pytest.raises(NotFound) as gone:
        await api.get(MIGRATION_PLANS, key)
    assert gone.value.of_object


async def test_a_name_that_is_taken_is_told_from_other_conflicts(cluster: EmbeddedControlPlane, api: KubeApi) -> None:
    await api.create(MIGRATIONS, "shop", a_migration("m1"))

    with pytest.raises(AlreadyExists):
        await api.create(MIGRATIONS, "shop", a_migration("m1"))


async def test_what_the_schema_refuses_comes_back_in_the_servers_words(
    cluster: EmbeddedControlPlane, api: KubeApi
) -> None:
    plan = a_plan("p1")
    plan["spec"]["virtualMachines"] = "all of them"

    with pytest.raises(Invalid, match=r"spec\.virtualMachines"):
        await api.create(MIGRATION_PLANS, "shop", plan)


async def test_no_write_drops_a_field_that_is_not_served_in_silence(
    cluster: EmbeddedControlPlane, api: KubeApi
) -> None:
    key = Key("shop", "p1")
    stored = await api.create(MIGRATION_PLANS, "shop", a_plan("p1"))
    newer = {"status": {"observedGeneration": 1, "ofANewerRelease": 1}}
    add = {"op": "add", "path": "/spec/ofANewerRelease", "value": 1}

    for write in (
        api.replace(MIGRATION_PLANS, key, {**stored, "spec": {**stored["spec"], "ofANewerRelease": 1}}),
        api.replace_status(MIGRATION_PLANS, key, {**stored, **newer}),
        api.patch(MIGRATION_PLANS, key, [add]),
    ):
        with pytest.raises(Invalid, match="ofANewerRelease") as refused:
            await write
        assert refused.value.of_unserved_field
    assert await api.get(MIGRATION_PLANS, key) == stored


async def test_what_was_stored_under_newer_definitions_can_be_written_under_older_ones(
    bare_cluster: EmbeddedControlPlane, api: KubeApi
) -> None:
    older = own_definitions()
    newer = deepcopy(older)
    for each in newer:
        schema = each["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        schema["properties"]["spec"]["properties"]["ofANewerRelease"] = {"type": "integer"}
    await bare_cluster.load(newer)
    plan, key = a_plan("p1"), Key("shop", "p1")
    plan["spec"]["ofANewerRelease"] = 1
    await api.create(MIGRATION_PLANS, "shop", plan)
    await bare_cluster.load(older)

    stored = await api.get(MIGRATION_PLANS, key)
    add = {"op": "add", "path": "/metadata/finalizers", "value": ["whimbrel.dev/moves"]}

    assert "ofANewerRelease" not in stored["spec"]
    patched = await api.patch(MIGRATION_PLANS, key, [add])
    await api.replace_status(MIGRATION_PLANS, key, {**patched, "status": {"observedGeneration": 1}})


async def test_a_kind_that_is_not_served_is_no_missing_object(bare_cluster: EmbeddedControlPlane, api: KubeApi) -> None:
    with pytest.raises(NotFound) as missing:
        await api.list_page(INSTANCES)

    assert not missing.value.of_object


async def test_a_list_comes_in_pages_of_one_version(cluster: EmbeddedControlPlane, api: KubeApi) -> None:
    await cluster.load([an_instance(f"vm{number}") for number in range(7)])

    pages = [await api.list_page(INSTANCES, limit=3)]
    while pages[-1].more:
        pages.append(await api.list_page(INSTANCES, limit=3, more=pages[-1].more))

    assert [len(page.items) for page in pages] == [3, 3, 1]
    assert len({page.version for page in pages}) == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(status=403, message="no"), Forbidden),
        (Fault(status=410), Gone),
        (Fault(status=429, retry_after_s=7), Throttled),
        (Fault(status=500), Unavailable),
        (Fault(status=503), Unavailable),
        (Fault(reset="before"), Unavailable),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
async def test_each_failure_has_its_type(
    cluster: EmbeddedControlPlane, api: KubeApi, fault: Fault, expected: type[Exception]
) -> None:
    fault.times, fault.hits = None, 0
    cluster.faults.add(fault)

    with pytest.raises(expected) as caught:
        await api.get(NAMESPACES, Key("", "shop"))

    if isinstance(caught.value, Throttled):
        assert caught.value.retry_after_s == 7


async def test_a_server_that_hangs_does_not_hang_us(cluster: EmbeddedControlPlane, api: KubeApi) -> None:
    cluster.faults.add(Fault(verb="get", latency_s=5.0))

    with pytest.raises(TimedOut):
        await api.get(NAMESPACES, Key("", "shop"), timeout_s=0.05)


async def test_nobody_at_the_address_is_unavailable(api: KubeApi, bare_cluster: EmbeddedControlPlane) -> None:
    await bare_cluster.stop()

    with pytest.raises(Unavailable, match="cannot be reached"):
        await api.get(NAMESPACES, Key("", "shop"))


async def test_a_watch_tells_changes_and_bookmarks(cluster: EmbeddedControlPlane, api: KubeApi) -> None:
    version = (await api.list_page(INSTANCES)).version
    await cluster.load([an_instance("db1")])
    seen: list[str] = []

    async with aclosing(api.watch(INSTANCES, version, idle_s=5, lifetime_s=60)) as events:
        async for event in events:
            seen.append(event.type)
            if event.type == "ADDED":
                await api.delete(INSTANCES, DB, event.object["metadata"]["uid"])
            if event.type == "BOOKMARK":
                break

    assert [kind for kind in seen if kind != "BOOKMARK"] == ["ADDED", "DELETED"]


async def test_a_silent_watch_is_given_up(cluster: EmbeddedControlPlane, api: KubeApi) -> None:
    version = (await api.list_page(INSTANCES)).version
    cluster.faults.add(Fault(verb="watch", watch="stall"))

    with pytest.raises(Silent):
        await watched(api, version, idle_s=0.5)


async def test_a_watch_from_a_forgotten_version_is_gone(cluster: EmbeddedControlPlane, api: KubeApi) -> None:
    version = (await api.list_page(INSTANCES)).version
    await cluster.load([an_instance("db1"), an_instance("db2")])
    cluster.compact()

    with pytest.raises(Gone):
        await watched(api, version, idle_s=5)


async def test_requests_are_counted_by_verb_kind_and_code(
    cluster: EmbeddedControlPlane, api: KubeApi, telemetry: Telemetry
) -> None:
    await api.list_page(VIRTUAL_MACHINES)
    with pytest.raises(NotFound):
        await api.get(VIRTUAL_MACHINES, DB)

    def count(**labels: str) -> float | None:
        return telemetry.registry.get_sample_value("whimbrel_api_requests_total", labels)

    assert count(verb="list", kind="VirtualMachine", code="200") == 1
    assert count(verb="get", kind="VirtualMachine", code="404") == 1


async def test_the_server_sees_who_asks(cluster: EmbeddedControlPlane, api: KubeApi) -> None:
    before = cluster.counters.snapshot()

    await api.list_page(VIRTUAL_MACHINES)

    (request,) = cluster.counters.since(before)
    assert request.client.startswith("whimbrel/")


async def test_a_context_that_does_not_exist_is_named(bare_cluster: EmbeddedControlPlane, tmp_path: Path) -> None:
    path = bare_cluster.write_kubeconfig(tmp_path / "config")

    with pytest.raises(NotConfigured, match="with context elsewhere cannot be used"):
        await connect(str(path), "elsewhere")


async def test_a_named_context_brings_its_namespace(bare_cluster: EmbeddedControlPlane, tmp_path: Path) -> None:
    path = bare_cluster.write_kubeconfig(tmp_path / "config", namespace="shop")

    assert (await connect(str(path), "embedded")).namespace == "shop"


def test_garbled_answers_are_of_the_unavailable_kind() -> None:
    assert issubclass(Garbled, Unavailable)
