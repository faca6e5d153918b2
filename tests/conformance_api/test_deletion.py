"""Deletion: finalizers, preconditions, grace, owners, namespaces, collections, evictions."""

import asyncio
from typing import Any

import pytest

from support.api_servers import PATIENCE_S, Server, a_namespace
from whimbrel_lab.controlplane.client import RawClient


def owned_by(owner: dict[str, Any], *, block: bool = False) -> list[dict[str, Any]]:
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    return [{**reference, "blockOwnerDeletion": True} if block else reference]


async def test_a_deleted_object_is_gone_and_the_answer_names_it(client: RawClient, widgets: str, build: Any) -> None:
    created = await client.create(widgets, build.widget())

    answer = await client.delete(f"{widgets}/one")

    assert (answer.code, answer.body["kind"], answer.body["status"]) == (200, "Status", "Success")
    assert answer.body["details"] == {
        "name": "one",
        "group": "example.com",
        "kind": "widgets",
        "uid": created.body["metadata"]["uid"],
    }
    assert (await client.get(f"{widgets}/one")).code == 404
    assert (await client.delete(f"{widgets}/one")).code == 404


async def test_an_object_with_a_finalizer_stays_until_the_finalizer_is_taken_away(
    client: RawClient, widgets: str, build: Any
) -> None:
    widget = build.widget()
    widget["metadata"]["finalizers"] = ["example.com/hold"]
    await client.create(widgets, widget)

    deleted = await client.delete(f"{widgets}/one")
    again = await client.delete(f"{widgets}/one")
    async with client.watch(widgets, resourceVersion=again.body["metadata"]["resourceVersion"]) as stream:
        released = await client.patch(f"{widgets}/one", {"metadata": {"finalizers": None}})
        event = await stream.next()

    metadata = deleted.body["metadata"]
    assert (metadata["deletionGracePeriodSeconds"], metadata["generation"]) == (0, 2)
    assert metadata["deletionTimestamp"].endswith("Z")
    assert again.body == deleted.body
    assert released.code == 200
    assert event is not None
    assert (event["type"], event["object"]["metadata"].get("finalizers")) == (
        "DELETED",
        ["example.com/hold"],
    )
    assert (await client.get(f"{widgets}/one")).code == 404


async def test_no_finalizer_can_be_added_to_what_is_being_deleted(client: RawClient, widgets: str, build: Any) -> None:
    widget = build.widget()
    widget["metadata"]["finalizers"] = ["example.com/hold"]
    await client.create(widgets, widget)
    await client.delete(f"{widgets}/one")

    answer = await client.patch(
        f"{widgets}/one", {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    )

    assert answer.code == 422
    assert "no new finalizers can be added" in answer.causes["metadata.finalizers"]


@pytest.mark.parametrize("precondition", [{"uid": "another"}, {"resourceVersion": "1"}])
async def test_a_delete_whose_precondition_fails_is_a_conflict(
    client: RawClient, widgets: str, build: Any, precondition: dict[str, str]
) -> None:
    await client.create(widgets, build.widget())

    answer = await client.delete(f"{widgets}/one", {"preconditions": precondition})

    assert (answer.code, answer.body["reason"]) == (409, "Conflict")
    assert "in the precondition" in answer.body["message"]
    assert (await client.get(f"{widgets}/one")).code == 200


async def test_a_delete_whose_preconditions_hold_is_done(client: RawClient, widgets: str, build: Any) -> None:
    metadata = (await client.create(widgets, build.widget())).body["metadata"]

    answer = await client.delete(
        f"{widgets}/one",
        {"preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}},
    )

    assert answer.code == 200


async def test_dependents_go_with_their_owner(
    server: Server, client: RawClient, config_maps: str, pods: str, build: Any
) -> None:
    owner = (await client.create(config_maps, build.config_map("owner"))).body
    child = (await client.create(config_maps, build.config_map("child", ownerReferences=owned_by(owner)))).body
    grandchild = build.pod()
    grandchild["metadata"]["ownerReferences"] = owned_by(child)
    await client.create(pods, grandchild)

    await client.delete(f"{config_maps}/owner")

    await server.until_gone(f"{config_maps}/child")
    await server.until_gone(f"{pods}/one")


async def test_a_dependent_of_two_owners_stays_while_one_of_them_does(
    client: RawClient, config_maps: str, build: Any
) -> None:
    first = (await client.create(config_maps, build.config_map("first"))).body
    second = (await client.create(config_maps, build.config_map("second"))).body
    both = build.config_map(ownerReferences=owned_by(first) + owned_by(second))
    await client.create(config_maps, both)

    async with client.watch(config_maps, fieldSelector="metadata.name=one") as stream:
        await stream.next()
        await client.delete(f"{config_maps}/first")
        event = await stream.next(PATIENCE_S)

    assert event is not None
    assert (event["type"], [each["name"] for each in event["object"]["metadata"]["ownerReferences"]]) == (
        "MODIFIED",
        ["second"],
    )


async def test_an_owner_in_another_namespace_or_with_another_uid_is_no_owner(
    server: Server, client: RawClient, config_maps: str, build: Any
) -> None:
    owner = (await client.create(config_maps, build.config_map())).body
    elsewhere = server.path("configmaps", namespace=await server.another_namespace())
    await client.create(elsewhere, build.config_map("across", ownerReferences=owned_by(owner)))
    owner["metadata"]["uid"] = "of-another-life"
    await client.create(config_maps, build.config_map("stale", ownerReferences=owned_by(owner)))

    await server.until_gone(f"{elsewhere}/across")
    await server.until_gone(f"{config_maps}/stale")


async def test_a_foreground_deletion_waits_for_the_dependents_that_block_it(
    server: Server, client: RawClient, config_maps: str, build: Any
) -> None:
    owner = (await client.create(config_maps, build.config_map("owner"))).body
    child = build.config_map(ownerReferences=owned_by(owner, block=True), finalizers=["example.com/hold"])
    await client.create(config_maps, child)
    async with client.watch(config_maps, fieldSelector="metadata.name=one") as stream:
        await stream.next()

        deleted = await client.delete(f"{config_maps}/owner", propagationPolicy="Foreground")
        marked = await stream.next(PATIENCE_S)
    held = await client.get(f"{config_maps}/owner")
    await client.patch(f"{config_maps}/one", {"metadata": {"finalizers": None}})
    await server.until_gone(f"{config_maps}/owner")

    assert deleted.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert marked is not None
    assert "deletionTimestamp" in marked["object"]["metadata"]
    assert held.code == 200
    assert (await client.get(f"{config_maps}/one")).code == 404


async def test_an_orphaning_deletion_leaves_the_dependents_without_owner(
    server: Server, client: RawClient, config_maps: str, build: Any
) -> None:
    owner = (await client.create(config_maps, build.config_map("owner"))).body
    await client.create(config_maps, build.config_map(ownerReferences=owned_by(owner)))

    await client.delete(f"{config_maps}/owner", {"propagationPolicy": "Orphan"})
    await server.until_gone(f"{config_maps}/owner")

    assert "ownerReferences" not in (await client.get(f"{config_maps}/one")).body["metadata"]


async def test_a_deleted_namespace_takes_its_contents_along_and_admits_nothing_new(
    server: Server, client: RawClient, build: Any
) -> None:
    team, empty = server.unique("team"), server.unique("empty")
    for name in (team, empty):
        await client.create("/api/v1/namespaces", a_namespace(name))
    inside = server.path("configmaps", namespace=team)
    await client.create(inside, build.config_map("held", finalizers=["example.com/hold"]))
    await client.create(inside, build.config_map("free"))
    await client.create(f"/apis/example.com/v1/namespaces/{team}/widgets", build.widget())

    deleted = await client.delete(f"/api/v1/namespaces/{team}")
    await client.delete(f"/api/v1/namespaces/{empty}")
    refused = await client.create(inside, build.config_map("late"))
    await asyncio.gather(server.until_gone(f"{inside}/free"), server.until_gone(f"/api/v1/namespaces/{empty}"))
    still = await client.get(f"/api/v1/namespaces/{team}")
    await client.patch(f"{inside}/held", {"metadata": {"finalizers": None}})
    await server.until_gone(f"{inside}/held")

    assert deleted.body["status"]["phase"] == "Terminating"
    assert (refused.code, "because it is being terminated" in refused.body["message"]) == (403, True)
    assert still.code == 200
    assert "deletionGracePeriodSeconds" not in deleted.body["metadata"]


async def test_a_pod_on_a_node_stays_until_it_is_deleted_without_grace(
    client: RawClient, pods: str, build: Any
) -> None:
    await client.create(pods, build.pod(nodeName="n1", terminationGracePeriodSeconds=30))

    asked = await client.delete(f"{pods}/one")
    there = await client.get(f"{pods}/one")
    forced = await client.delete(f"{pods}/one", {"gracePeriodSeconds": 0})

    assert asked.body["metadata"]["deletionGracePeriodSeconds"] == 30
    assert there.code == 200
    assert forced.body["kind"] == "Pod"
    assert (await client.get(f"{pods}/one")).code == 404


async def test_a_pod_without_a_node_and_a_finished_pod_go_at_once(client: RawClient, pods: str, build: Any) -> None:
    await client.create(pods, build.pod("pending"))
    await client.create(pods, build.pod("finished", nodeName="n1"))
    await client.patch(f"{pods}/finished/status", {"status": {"phase": "Succeeded"}})

    for name in ("pending", "finished"):
        await client.delete(f"{pods}/{name}")

    assert (await client.get(pods)).body["items"] == []


async def test_a_collection_is_deleted_by_selector(client: RawClient, config_maps: str, build: Any) -> None:
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        await client.create(config_maps, build.config_map(name, labels={"app": label}))

    answer = await client.delete(config_maps, labelSelector="app=x")

    assert (answer.code, len(answer.body["items"])) == (200, 2)
    assert [item["metadata"]["name"] for item in (await client.get(config_maps)).body["items"]] == ["c"]


async def test_an_unknown_propagation_policy_is_refused(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget())

    assert (await client.delete(f"{widgets}/one", propagationPolicy="Sideways")).code == 422


async def test_an_eviction_respects_the_disruption_budget(
    server: Server, client: RawClient, pods: str, build: Any
) -> None:
    budgets = server.path("poddisruptionbudgets", "/apis/policy/v1")
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "guard"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    }
    pod = build.pod(nodeName="n1")
    pod["metadata"]["labels"] = {"app": "x"}
    await client.create(budgets, budget)
    await client.create(pods, pod)
    await client.patch(f"{pods}/one/status", {"status": {"phase": "Running"}})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "one"}}

    unseen = await client.create(f"{pods}/one/eviction", eviction)
    await client.patch(f"{budgets}/guard/status", {"status": {"observedGeneration": 1}})
    refused = await client.create(f"{pods}/one/eviction", eviction)
    await client.patch(f"{budgets}/guard/status", {"status": {"disruptionsAllowed": 1}})
    granted = await client.create(f"{pods}/one/eviction", eviction)

    spent = (await client.get(f"{budgets}/guard")).body["status"]
    for each in (unseen, refused):
        assert (each.code, each.body["details"]["causes"][0]["reason"]) == (429, "DisruptionBudget")
    assert (unseen.headers["Retry-After"], "Retry-After" in refused.headers) == ("10", False)
    assert (spent["disruptionsAllowed"], list(spent["disruptedPods"])) == (0, ["one"])
    assert granted.code == 201
    assert "deletionTimestamp" in (await client.get(f"{pods}/one")).body["metadata"]


async def test_a_pod_is_bound_once(client: RawClient, pods: str, build: Any) -> None:
    await client.create(pods, build.pod())
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "one"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n1"},
    }

    bound = await client.create(f"{pods}/one/binding", binding)
    pod = await client.get(f"{pods}/one")
    again = await client.create(f"{pods}/one/binding", {**binding, "target": {"name": "n2"}})

    assert (bound.code, pod.body["spec"]["nodeName"], again.code) == (201, "n1", 409)
    assert pod.body["status"]["conditions"][0]["type"] == "PodScheduled"
