"""Lists: selectors, pages of one version, versions too old and too new."""

from typing import Any

import pytest

from support.api_servers import Server
from support.widgets import a_widget
from whimbrel_lab.controlplane.client import RawClient


def names(body: dict[str, Any]) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


async def create_ten(client: RawClient, widgets: str) -> None:
    """w0 to w9, the first three blue, each labelled."""
    for number in range(10):
        labels = {"even": str(number % 2 == 0).lower(), "number": str(number)}
        widget = a_widget(f"w{number}", color="Blue" if number < 3 else "Red")
        widget["metadata"]["labels"] = labels
        await client.create(widgets, widget)


@pytest.fixture
async def ten(client: RawClient, widgets: str) -> str:
    await create_ten(client, widgets)
    return widgets


async def test_pages_show_one_version_whatever_happens_meanwhile(client: RawClient, ten: str, build: Any) -> None:
    first = await client.get(ten, limit="4")
    await client.delete(f"{ten}/w6")
    await client.create(ten, build.widget("w44"))
    await client.patch(f"{ten}/w9", {"spec": {"size": 50}})
    second = await client.get(ten, limit="4", **{"continue": first.body["metadata"]["continue"]})
    third = await client.get(ten, limit="4", **{"continue": second.body["metadata"]["continue"]})

    assert names(first.body) + names(second.body) + names(third.body) == [f"w{number}" for number in range(10)]
    assert [page.body["metadata"].get("remainingItemCount") for page in (first, second, third)] == [6, 2, None]
    assert not third.body["metadata"].get("continue")
    assert {page.body["metadata"]["resourceVersion"] for page in (first, second, third)} == {
        first.body["metadata"]["resourceVersion"]
    }
    assert third.body["items"][-1]["spec"]["size"] == 1


async def test_an_expired_page_is_gone_and_offers_a_token_for_the_rest(
    server: Server, client: RawClient, ten: str
) -> None:
    first = await client.get(ten, limit="4")
    await client.delete(f"{ten}/w5")
    token = await server.expire(first.body["metadata"]["continue"])

    gone = await client.get(ten, limit="4", **{"continue": token})
    rest = await client.get(ten, **{"continue": gone.body["metadata"]["continue"]})

    assert (gone.code, gone.body["reason"]) == (410, "Expired")
    assert names(rest.body) == ["w4", "w6", "w7", "w8", "w9"]


async def test_a_token_that_cannot_be_read_is_a_bad_request(client: RawClient, ten: str) -> None:
    assert (await client.get(ten, **{"continue": "nonsense"})).code == 400


async def test_an_exact_version_is_shown_as_it_was(client: RawClient, ten: str) -> None:
    then = (await client.get(ten)).body["metadata"]["resourceVersion"]
    await client.delete(f"{ten}/w0")

    exact = await client.get(ten, resourceVersion=then, resourceVersionMatch="Exact")
    newer = await client.get(ten, resourceVersion=then, resourceVersionMatch="NotOlderThan")

    assert (len(exact.body["items"]), len(newer.body["items"])) == (10, 9)


async def test_an_exact_version_that_was_compacted_is_gone(server: Server, client: RawClient, ten: str) -> None:
    then = await server.forget()

    assert (await client.get(ten, resourceVersion=then, resourceVersionMatch="Exact")).code == 410


async def test_what_is_no_number_is_refused(client: RawClient, ten: str) -> None:
    version = await client.get(ten, resourceVersion="x")
    limit = await client.get(ten, limit="x")
    watch = await client.get(ten, watch="true", resourceVersion="x")

    assert [each.code for each in (version, limit, watch)] == [400, 400, 500]
    assert version.body["message"] == f"invalid resource version: {watch.body['message']}"
    assert limit.body["message"] == 'strconv.ParseInt: parsing "x": invalid syntax'


async def test_a_version_of_the_future_is_too_large(client: RawClient, ten: str) -> None:
    answer = await client.get(ten, resourceVersion="99999999")

    assert (answer.code, answer.body["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


@pytest.mark.parametrize(
    "params",
    [
        {"resourceVersionMatch": "Exact"},
        {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
        {"sendInitialEvents": "true"},
    ],
)
async def test_options_that_contradict_each_other_are_refused(
    client: RawClient, ten: str, params: dict[str, str]
) -> None:
    assert (await client.get(ten, **params)).code == 422


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("even=true,number!=0", ["w2", "w4", "w6", "w8"]),
        ("even==false,number in (1, 3)", ["w1", "w3"]),
        ("number notin (0,1,2,3,4,5,6)", ["w7", "w8", "w9"]),
        ("even,!number", []),
        ("!missing,number=5", ["w5"]),
        ("number>7", ["w8", "w9"]),
        ("number<1", ["w0"]),
        ("missing!=x,number=1", ["w1"]),
    ],
)
async def test_label_selectors_select(client: RawClient, ten: str, selector: str, expected: list[str]) -> None:
    assert names((await client.get(ten, labelSelector=selector)).body) == expected


async def test_a_page_of_selected_objects_has_as_many_as_asked(client: RawClient, ten: str) -> None:
    page = await client.get(ten, labelSelector="even=true", limit="3")
    rest = await client.get(ten, labelSelector="even=true", **{"continue": page.body["metadata"]["continue"]})

    assert (names(page.body), names(rest.body)) == (["w0", "w2", "w4"], ["w6", "w8"])


async def test_a_selector_that_cannot_be_read_is_a_bad_request(client: RawClient, ten: str) -> None:
    assert (await client.get(ten, labelSelector="a in b")).code == 400


async def test_custom_objects_are_selected_by_name_and_by_selectable_fields_only(client: RawClient, ten: str) -> None:
    by_name = await client.get(ten, fieldSelector="metadata.name=w3")
    by_field = await client.get(ten, fieldSelector="spec.color=Blue,metadata.name!=w0")
    other = await client.get(ten, fieldSelector="spec.size=1")

    assert names(by_name.body) == ["w3"]
    assert names(by_field.body) == ["w1", "w2"]
    assert (other.code, "field label not supported: spec.size" in other.body["message"]) == (400, True)


async def test_pods_are_selected_by_node_and_phase(client: RawClient, pods: str, build: Any) -> None:
    await client.create(pods, build.pod("here", nodeName="n1"))
    await client.create(pods, build.pod("there", nodeName="n2"))
    await client.create(pods, build.pod("nowhere"))
    await client.patch(f"{pods}/here/status", {"status": {"phase": "Running"}})

    on_node = await client.get(pods, fieldSelector="spec.nodeName=n1")
    unbound = await client.get(pods, fieldSelector="spec.nodeName=,status.phase!=Running")

    assert (names(on_node.body), names(unbound.body)) == (["here"], ["nowhere"])


async def test_a_list_over_all_namespaces_is_in_order_and_one_namespace_is_its_own(
    server: Server, client: RawClient, build: Any
) -> None:
    namespaces = [server.namespace, await server.another_namespace(), await server.another_namespace()]
    for namespace in namespaces:
        await client.create(server.path("configmaps", namespace=namespace), build.config_map(labels={"of": namespace}))

    everywhere = await client.get("/api/v1/configmaps", labelSelector=f"of in ({','.join(namespaces)})")
    one = await client.get(server.path("configmaps", namespace=namespaces[1]))

    assert [item["metadata"]["namespace"] for item in everywhere.body["items"]] == sorted(namespaces)
    assert len(one.body["items"]) == 1


async def test_items_of_custom_lists_name_their_kind_and_those_of_built_in_lists_do_not(
    client: RawClient, ten: str, config_maps: str, build: Any
) -> None:
    await client.create(config_maps, build.config_map())

    custom = (await client.get(ten)).body
    built_in = (await client.get(config_maps)).body

    assert (custom["kind"], custom["items"][0]["kind"]) == ("WidgetList", "Widget")
    assert (built_in["kind"], "kind" in built_in["items"][0]) == ("ConfigMapList", False)


async def test_an_empty_list_is_a_list(client: RawClient, config_maps: str) -> None:
    body = (await client.get(config_maps)).body

    assert (body["items"], int(body["metadata"]["resourceVersion"]) > 0) == ([], True)


async def test_metadata_alone_can_be_asked_for(client: RawClient, ten: str) -> None:
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"}

    listed = await client.send("GET", ten, headers=accept)

    assert listed.body["kind"] == "PartialObjectMetadataList"
    assert set(listed.body["items"][0]) == {"kind", "apiVersion", "metadata"}
