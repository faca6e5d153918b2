"""Create, replace and read: versions, optimistic locking, generation, and what belongs to the status subresource."""

import asyncio
from typing import Any

from support.api_servers import Server
from whimbrel_lab.controlplane.client import JSON_PATCH, RawClient


async def test_a_created_object_gets_uid_version_generation_and_time(
    client: RawClient, widgets: str, build: Any
) -> None:
    answer = await client.create(widgets, build.widget())

    metadata = answer.body["metadata"]
    assert answer.code == 201
    assert set(metadata) - {"managedFields"} == {
        "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"
    }  # fmt: skip
    assert metadata["generation"] == 1
    assert metadata["creationTimestamp"].endswith("Z")


async def test_versions_grow_over_all_kinds(client: RawClient, widgets: str, config_maps: str, build: Any) -> None:
    first = await client.create(widgets, build.widget())
    second = await client.create(config_maps, build.config_map())
    third = await client.create(widgets, build.widget("two"))

    versions = [int(each.body["metadata"]["resourceVersion"]) for each in (first, second, third)]
    assert versions == sorted(set(versions))


async def test_a_second_create_of_one_name_is_answered_already_exists(
    client: RawClient, widgets: str, build: Any
) -> None:
    await client.create(widgets, build.widget())

    answer = await client.create(widgets, build.widget())

    assert (answer.code, answer.body["reason"]) == (409, "AlreadyExists")
    assert answer.body["message"] == 'widgets.example.com "one" already exists'
    assert answer.body["details"] == {"name": "one", "group": "example.com", "kind": "widgets"}


async def test_a_replace_at_a_stale_version_is_a_conflict(client: RawClient, widgets: str, build: Any) -> None:
    stale = (await client.create(widgets, build.widget())).body
    await client.replace(f"{widgets}/one", {**stale, "spec": {"size": 2}})

    answer = await client.replace(f"{widgets}/one", {**stale, "spec": {"size": 3}})

    assert (answer.code, answer.body["reason"]) == (409, "Conflict")
    assert answer.body["message"] == (
        'Operation cannot be fulfilled on widgets.example.com "one": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_of_many_writers_at_one_version_exactly_one_wins(client: RawClient, widgets: str, build: Any) -> None:
    seen = (await client.create(widgets, build.widget())).body
    bodies = [{**seen, "spec": {"size": size}} for size in range(2, 12)]

    answers = await asyncio.gather(*(client.replace(f"{widgets}/one", body) for body in bodies))

    assert sorted(answer.code for answer in answers) == [200] + [409] * 9


async def test_a_custom_object_cannot_be_replaced_without_its_version(
    client: RawClient, widgets: str, build: Any
) -> None:
    await client.create(widgets, build.widget())

    answer = await client.replace(f"{widgets}/one", build.widget(size=2))

    assert answer.code == 422
    assert "must be specified for an update" in answer.causes["metadata.resourceVersion"]


async def test_a_config_map_may_be_replaced_without_its_version(
    client: RawClient, config_maps: str, build: Any
) -> None:
    await client.create(config_maps, build.config_map())

    answer = await client.replace(f"{config_maps}/one", {**build.config_map(), "data": {"other": "value"}})

    assert (answer.code, answer.body["data"]) == (200, {"other": "value"})


async def test_a_replace_of_a_recreated_object_is_refused_by_its_uid(
    client: RawClient, config_maps: str, build: Any
) -> None:
    await client.create(config_maps, build.config_map())

    answer = await client.replace(f"{config_maps}/one", build.config_map(uid="somebody-else"))

    assert answer.code == 409
    assert "Precondition failed: UID in precondition: somebody-else" in answer.body["message"]


async def test_an_identical_replace_writes_nothing(client: RawClient, widgets: str, build: Any) -> None:
    created = (await client.create(widgets, build.widget())).body

    answer = await client.replace(f"{widgets}/one", created)

    assert answer.body == created


async def test_an_identical_status_writes_nothing(client: RawClient, widgets: str, build: Any) -> None:
    created = (await client.create(widgets, build.widget())).body
    written = (await client.replace(f"{widgets}/one/status", {**created, "status": {"phase": "Up"}})).body

    again = await client.replace(f"{widgets}/one/status", written)

    assert again.body["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]
    assert written["metadata"]["resourceVersion"] != created["metadata"]["resourceVersion"]


async def test_a_status_sent_with_a_create_is_dropped(client: RawClient, widgets: str, build: Any) -> None:
    answer = await client.create(widgets, {**build.widget(), "status": {"phase": "Forged"}})

    assert "status" not in answer.body


async def test_a_replace_ignores_the_status_and_a_status_write_ignores_all_else(
    client: RawClient, widgets: str, build: Any
) -> None:
    created = (await client.create(widgets, build.widget())).body
    both = {**created, "spec": {"size": 7}, "status": {"phase": "Up"}}

    main = (await client.replace(f"{widgets}/one", both)).body
    labelled = {**main["metadata"], "labels": {"a": "b"}}
    status = (
        await client.replace(
            f"{widgets}/one/status", {**main, "metadata": labelled, "spec": {"size": 9}, "status": {"phase": "Up"}}
        )
    ).body

    assert "status" not in main
    assert (status["spec"]["size"], status["status"]) == (7, {"phase": "Up"})
    assert "labels" not in status["metadata"]


async def test_generation_counts_changes_of_the_spec_only(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget())

    labelled = await client.patch(f"{widgets}/one", {"metadata": {"labels": {"a": "b"}}})
    status = await client.patch(f"{widgets}/one/status", {"status": {"phase": "Up"}})
    resized = await client.patch(f"{widgets}/one", {"spec": {"size": 2}})

    assert [each.body["metadata"]["generation"] for each in (labelled, status, resized)] == [1, 1, 2]


async def test_without_a_status_subresource_the_status_is_part_of_the_object(
    server: Server, client: RawClient, build: Any
) -> None:
    path = server.custom("gadgets")
    gadget = {**build.widget(), "kind": "Gadget", "status": {"phase": "New"}}

    created = await client.create(path, gadget)
    patched = await client.patch(f"{path}/one", {"status": {"phase": "Up"}})
    subresource = await client.get(f"{path}/one/status")

    assert created.body["status"] == {"phase": "New"}
    assert (patched.body["status"], patched.body["metadata"]["generation"]) == ({"phase": "Up"}, 2)
    assert subresource.code == 404


async def test_a_node_registers_with_its_status_and_a_pod_without(
    server: Server, client: RawClient, pods: str, build: Any
) -> None:
    metadata = {"name": server.unique("n")}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"allocatable": {"cpu": "4"}}}

    registered = await server.cluster_object("/api/v1/nodes", node)
    pod = await client.create(pods, {**build.pod(), "status": {"phase": "Running"}})

    assert registered["status"]["allocatable"] == {"cpu": "4"}
    assert pod.body["status"]["phase"] == "Pending"


async def test_a_generated_name_begins_with_its_prefix(client: RawClient, widgets: str, build: Any) -> None:
    body = {**build.widget(), "metadata": {"generateName": "move-"}}

    names = {(await client.create(widgets, body)).body["metadata"]["name"] for _ in range(5)}

    assert len(names) == 5
    assert all(name.startswith("move-") and len(name) == 10 for name in names)


async def test_an_object_in_a_namespace_that_is_not_there_is_refused(client: RawClient, build: Any) -> None:
    answer = await client.create("/api/v1/namespaces/nowhere/configmaps", build.config_map())

    assert (answer.code, answer.body["message"]) == (404, 'namespaces "nowhere" not found')


async def test_a_body_that_contradicts_the_url_is_refused(
    client: RawClient, config_maps: str, widgets: str, build: Any
) -> None:
    elsewhere = await client.create(config_maps, build.config_map(namespace="kube-system"))
    await client.create(config_maps, build.config_map())
    renamed = await client.replace(f"{config_maps}/one", build.config_map("two"))
    other_group = await client.create(widgets, build.config_map())
    other_kind = await client.create(widgets, {**build.widget(), "kind": "Gadget"})
    nameless_kind = await client.create(widgets, {**build.widget(), "kind": ""})
    custom_in_built_in = await client.create(config_maps, build.widget())

    refused = (elsewhere, renamed, other_group, other_kind, nameless_kind, custom_in_built_in)
    assert [each.code for each in refused] == [400, 400, 400, 422, 400, 400]
    assert "does not match the namespace" in elsewhere.body["message"]
    assert "the name of the object (two) does not match the name on the URL (one)" in renamed.body["message"]
    assert other_group.body["message"] == (
        "the API version in the data (v1) does not match the expected API version (example.com/v1)"
    )
    assert other_kind.causes == {"kind": 'Invalid value: "Gadget": must be Widget'}
    assert "Object 'Kind' is missing" in nameless_kind.body["message"]
    assert 'Widget in version "v1" cannot be handled as a ConfigMap' in custom_in_built_in.body["message"]


async def test_an_object_of_a_built_in_kind_need_not_say_its_kind(client: RawClient, config_maps: str) -> None:
    answer = await client.create(config_maps, {"metadata": {"name": "one"}, "data": {"a": "b"}})

    assert (answer.code, answer.body["kind"], answer.body["apiVersion"]) == (201, "ConfigMap", "v1")


async def test_a_dry_run_answers_as_if_and_stores_nothing(client: RawClient, widgets: str, build: Any) -> None:
    created = await client.create(widgets, build.widget(), dryRun="All")
    missing = await client.get(f"{widgets}/one")
    await client.create(widgets, build.widget("two"))
    patched = await client.patch(f"{widgets}/two", {"spec": {"size": 9}}, dryRun="All")
    deleted = await client.delete(f"{widgets}/two", dryRun="All")
    kept = await client.get(f"{widgets}/two")

    assert (created.code, created.body["spec"]["color"]) == (201, "Red")
    assert missing.code == 404
    assert (patched.body["spec"]["size"], deleted.code, kept.body["spec"]["size"]) == (9, 200, 1)


async def test_a_dry_run_that_would_fail_fails(client: RawClient, widgets: str, build: Any) -> None:
    answer = await client.create(widgets, build.widget(size=0), dryRun="All")

    assert answer.code == 422


async def test_an_object_larger_than_the_storage_takes_is_refused(
    client: RawClient, config_maps: str, widgets: str, build: Any
) -> None:
    config_map = {**build.config_map("l"), "data": {"x": "x" * 2_000_000}}

    for_etcd = await client.create(widgets, build.widget(free={"x": "x" * 2_000_000}))
    for_a_body = await client.create(widgets, build.widget(free={"x": "x" * 4_000_000}))
    for_a_config_map = await client.create(config_maps, config_map)

    assert (for_etcd.code, for_etcd.body["message"]) == (500, "etcdserver: request is too large")
    assert (for_a_body.code, for_a_body.body["reason"]) == (413, "RequestEntityTooLarge")
    assert (for_a_config_map.code, for_a_config_map.causes) == (
        422,
        {"[]": "Too long: may not be more than 1048576 bytes"},
    )


async def test_a_body_in_yaml_is_read(client: RawClient, config_maps: str) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: written}\ndata: {a: b}\n"

    answer = await client.send("POST", config_maps, text, content_type="application/yaml")

    assert (answer.code, answer.body["data"]) == (201, {"a": "b"})


async def test_what_cannot_be_read_is_a_bad_request(client: RawClient, config_maps: str) -> None:
    broken = await client.send("POST", config_maps, "{not json")
    foreign = await client.send("POST", config_maps, "x", content_type="text/plain")
    labels = await client.create(
        config_maps, {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"labels": {"a": 1}}}
    )

    assert [broken.code, foreign.code, labels.code] == [400, 415, 400]
    assert "couldn't get version/kind; json parse error" in broken.body["message"]


async def test_a_path_that_is_not_served_is_not_found(client: RawClient) -> None:
    unknown = ("/apis/none.example/v1/things", "/apis/example.com/v1/nones", "/nothing")
    known = ("/api/v1/things", "/api/v1/namespaces/x/nodes", "/api/v1/namespaces/x/configmaps/one/status")

    without_words = [await client.get(path) for path in unknown]
    with_status = [await client.get(path) for path in known]

    assert [(answer.code, answer.text) for answer in without_words] == [(404, "404 page not found\n")] * 3
    assert [(answer.code, answer.body["message"]) for answer in with_status] == [
        (404, "the server could not find the requested resource")
    ] * 3


async def test_a_pods_spec_is_fixed_but_for_its_images_and_its_generation_counts(
    client: RawClient, pods: str, build: Any
) -> None:
    created = await client.create(pods, build.pod())

    moved = await client.patch(f"{pods}/one", {"spec": {"nodeName": "n1"}})
    labelled = await client.patch(f"{pods}/one", {"metadata": {"labels": {"a": "b"}}})
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "other"}]
    updated = await client.patch(f"{pods}/one", image, JSON_PATCH)

    assert moved.code == 422
    assert moved.causes["spec"].startswith("Forbidden: pod updates may not change fields other than")
    generations = [each.body["metadata"]["generation"] for each in (created, labelled, updated)]
    assert generations == [1, 1, 2]
