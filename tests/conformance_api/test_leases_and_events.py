"""Leases and Events: the built-in kinds that the operator writes, with their typed fields."""

from typing import Any

import pytest

from support.api_servers import Server
from whimbrel_lab.controlplane.client import RawClient

NOW = "2026-01-01T00:00:00.000000Z"


async def test_a_lease_is_created_by_the_first_put(server: Server, client: RawClient) -> None:
    path = f"{server.path('leases', '/apis/coordination.k8s.io/v1')}/leader"
    lease: dict[str, Any] = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "leader"},
        "spec": {"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.000000Z"},
    }

    first = await client.replace(path, lease)
    renewed = await client.replace(path, {**first.body, "spec": {**lease["spec"], "holderIdentity": "b"}})
    late = await client.replace(path, {**first.body, "spec": {**lease["spec"], "holderIdentity": "c"}})

    assert [first.code, renewed.code, late.code] == [201, 200, 409]
    assert renewed.body["spec"]["renewTime"] == "2026-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("spec", "code", "said"),
    [
        ({"renewTime": NOW, "leaseDurationSeconds": 15, "holderIdentity": ""}, 201, ""),
        ({"renewTime": "2026-01-01T00:00:00Z"}, 400, 'parsing time "2026-01-01T00:00:00Z"'),
        ({"acquireTime": "2026-01-01T00:00:00.123Z"}, 400, "parsing time"),
        ({"leaseDurationSeconds": 0}, 422, "must be greater than 0"),
        ({"leaseTransitions": -1}, 422, "must be greater than or equal to 0"),
        (
            {"leaseDurationSeconds": "15"},
            400,
            "cannot unmarshal string into Go struct field LeaseSpec.spec.leaseDurationSeconds of type int32",
        ),
        (
            {"holderIdentity": 3},
            400,
            "cannot unmarshal number into Go struct field LeaseSpec.spec.holderIdentity of type string",
        ),
    ],
)
async def test_a_leases_fields_have_their_types(
    server: Server, client: RawClient, spec: dict[str, Any], code: int, said: str
) -> None:
    path = server.path("leases", "/apis/coordination.k8s.io/v1")

    answer = await client.create(path, {"metadata": {"name": "l"}, "spec": spec})

    assert (answer.code, said in answer.body.get("message", "")) == (code, True)


def an_event(namespace: str, **change: Any) -> dict[str, Any]:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "eventTime": NOW,
        "reportingController": "whimbrel.dev/operator",
        "reportingInstance": "pod-1",
        "action": "Move",
        "reason": "Moved",
        "type": "Normal",
        "note": "moved to node-2",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": namespace},
        **change,
    }


async def test_an_event_is_one_object_in_both_groups(server: Server, client: RawClient) -> None:
    events = server.path("events", "/apis/events.k8s.io/v1")
    event = an_event(server.namespace)

    created = await client.create(events, event)
    core = await client.get(f"{server.path('events')}/e")
    selected = await client.get(
        "/api/v1/events", fieldSelector=f"involvedObject.name=p,metadata.namespace={server.namespace}"
    )
    incomplete = await client.create(events, {**event, "metadata": {"name": "f"}, "action": ""})

    assert (created.body["note"], created.body["apiVersion"]) == ("moved to node-2", "events.k8s.io/v1")
    assert (core.body["message"], core.body["apiVersion"]) == ("moved to node-2", "v1")
    assert len(selected.body["items"]) == 1
    assert incomplete.causes == {"action": "Required value"}


@pytest.mark.parametrize(
    ("change", "causes"),
    [
        ({"type": "Odd"}, {"type": 'Invalid value: "": has invalid value: Odd'}),
        ({"reason": "x" * 129}, {"reason": 'Invalid value: "": can have at most 128 characters'}),
        ({"note": "x" * 1025}, {"message": 'Invalid value: "": can have at most 1024 characters'}),
        ({"deprecatedCount": 3}, {"count": 'Invalid value: "": needs to be unset'}),
        ({"reportingInstance": ""}, {"reportingInstance": "Required value"}),
        ({"regarding": {}}, {"involvedObject.namespace": 'Invalid value: "": does not match event.namespace'}),
    ],
)
async def test_a_new_event_is_complete_and_short(
    server: Server, client: RawClient, change: dict[str, Any], causes: dict[str, str]
) -> None:
    events = server.path("events", "/apis/events.k8s.io/v1")

    answer = await client.create(events, an_event(server.namespace, **change))

    assert (answer.code, answer.causes) == (422, causes)


async def test_an_events_time_has_microseconds_and_its_reporter_a_qualified_name(
    server: Server, client: RawClient
) -> None:
    events = server.path("events", "/apis/events.k8s.io/v1")

    whole = await client.create(events, an_event(server.namespace, eventTime="2026-01-01T00:00:00Z"))
    nobody = await client.create(events, an_event(server.namespace, reportingController="a b"))

    assert (whole.code, 'Event in version "v1" cannot be handled as a Event' in whole.body["message"]) == (400, True)
    assert (nobody.code, list(nobody.causes)) == (422, ["reportingController"])


async def test_of_an_event_only_its_series_changes(server: Server, client: RawClient) -> None:
    events = server.path("events", "/apis/events.k8s.io/v1")
    await client.create(events, an_event(server.namespace))

    series = await client.patch(f"{events}/e", {"series": {"count": 2, "lastObservedTime": NOW}})
    note = await client.patch(f"{events}/e", {"note": "changed"})

    assert (series.code, series.body["series"]["count"]) == (200, 2)
    assert (note.code, note.causes) == (422, {"message": 'Invalid value: "changed": field is immutable'})


async def test_an_event_lies_in_the_namespace_of_what_it_is_about(server: Server, client: RawClient) -> None:
    elsewhere = {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "namespace": "other"}, "reason": "x"}

    answer = await client.create(server.path("events"), elsewhere)

    assert (answer.code, list(answer.causes)) == (422, ["involvedObject.namespace"])
