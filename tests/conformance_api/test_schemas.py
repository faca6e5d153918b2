"""Objects of custom kinds: defaults, pruning, validation in the server's words."""

from typing import Any

import pytest

from support.api_servers import Server
from whimbrel_lab.controlplane.client import RawClient


async def test_unknown_fields_are_pruned_and_defaults_filled_in(client: RawClient, widgets: str, build: Any) -> None:
    widget = build.widget(
        surprise=1, parts=[{"name": "a", "odd": True}], free={"any": {"thing": 1}}, limits={"cpu": 2}, note=None
    )
    widget["extra"] = {}

    answer = await client.create(widgets, widget)

    assert answer.body["spec"] == {
        "size": 1,
        "parts": [{"name": "a", "count": 1}],
        "free": {"any": {"thing": 1}},
        "limits": {"cpu": 2},
        "note": None,
        "color": "Red",
    }
    assert "extra" not in answer.body


async def test_pruned_fields_are_warned_of_ignored_or_refused_as_asked(
    client: RawClient, widgets: str, build: Any
) -> None:
    widget = build.widget(surprise=1)

    warned = await client.create(widgets, widget, dryRun="All")
    ignored = await client.create(widgets, widget, dryRun="All", fieldValidation="Ignore")
    refused = await client.create(widgets, widget, fieldValidation="Strict")

    assert warned.warnings == ('299 - "unknown field \\"spec.surprise\\""',)
    assert ignored.warnings == ()
    assert (refused.code, refused.body["message"]) == (
        400,
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.surprise"',
    )


async def test_replaces_statuses_and_patches_are_as_strict_as_they_are_asked_to_be(
    client: RawClient, widgets: str, build: Any
) -> None:
    made = (await client.create(widgets, build.widget())).body
    one, add = f"{widgets}/one", {"op": "add", "path": "/spec/surprise", "value": 1}
    told = {**made, "status": {"surprise": 1}}

    answers = [
        await client.replace(one, {**made, "spec": {**made["spec"], "surprise": 1}}, fieldValidation="Strict"),
        await client.replace(f"{one}/status", told, fieldValidation="Strict"),
        await client.patch(one, [add], "application/json-patch+json", fieldValidation="Strict"),
    ]

    assert [each.code // 100 for each in answers] == [4, 4, 4]
    for answer in answers:
        assert "strict decoding error: unknown field" in answer.body["message"]
    assert (await client.get(one)).body == made


async def test_a_field_given_twice_is_refused_when_strict(client: RawClient, widgets: str) -> None:
    body = '{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"one"},"spec":{"size":1,"size":2}}'

    answer = await client.send("POST", widgets, body, params={"fieldValidation": "Strict"})

    assert (answer.code, 'duplicate field "spec.size"' in answer.body["message"]) == (400, True)


@pytest.mark.parametrize(
    ("spec", "field", "reason", "message"),
    [
        ({}, "spec.size", "FieldValueRequired", "Required value"),
        (
            {"size": 0},
            "spec.size",
            "FieldValueInvalid",
            "Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ),
        (
            {"size": 101},
            "spec.size",
            "FieldValueInvalid",
            "Invalid value: 101: spec.size in body should be less than or equal to 100",
        ),
        (
            {"size": "x"},
            "spec.size",
            "FieldValueTypeInvalid",
            'Invalid value: "string": spec.size in body must be of type integer: "string"',
        ),
        (
            {"size": 1, "color": "Green"},
            "spec.color",
            "FieldValueNotSupported",
            'Unsupported value: "Green": supported values: "Red", "Blue"',
        ),
        (
            {"size": 1, "label": "A1"},
            "spec.label",
            "FieldValueInvalid",
            "Invalid value: \"A1\": spec.label in body should match '^[a-z]+$'",
        ),
        (
            {"size": 1, "label": "a"},
            "spec.label",
            "FieldValueInvalid",
            'Invalid value: "a": spec.label in body should be at least 2 chars long',
        ),
        ({"size": 1, "label": "abcdef"}, "spec.label", "FieldValueTooLong", "Too long: may not be more than 5 bytes"),
        (
            {"size": 1, "at": "tomorrow"},
            "spec.at",
            "FieldValueTypeInvalid",
            'Invalid value: "tomorrow": spec.at in body must be of type date-time: "tomorrow"',
        ),
        (
            {"size": 1, "tags": ["a", "b", "c", "d"]},
            "spec.tags",
            "FieldValueTooMany",
            "Too many: 4: must have at most 3 items",
        ),
        ({"size": 1, "tags": ["a", "b", "a"]}, "spec.tags[2]", "FieldValueDuplicate", 'Duplicate value: "a"'),
        (
            {"size": 1, "parts": [{"name": "a"}, {"name": "a"}]},
            "spec.parts[1]",
            "FieldValueDuplicate",
            'Duplicate value: {"name":"a"}',
        ),
        ({"size": 1, "parts": [{}]}, "spec.parts[0].name", "FieldValueRequired", "Required value"),
        (
            {"size": 1, "limits": {"cpu": "x"}},
            "spec.limits.cpu",
            "FieldValueTypeInvalid",
            'Invalid value: "string": spec.limits.cpu in body must be of type integer: "string"',
        ),
        (
            {"size": 1, "port": 1.5},
            "spec.port",
            "FieldValueTypeInvalid",
            'Invalid value: "number": spec.port in body must be of type integer,string: "number"',
        ),
    ],
)
async def test_a_spec_that_breaks_its_schema_is_refused_by_field(
    client: RawClient, widgets: str, build: Any, spec: dict[str, Any], field: str, reason: str, message: str
) -> None:
    answer = await client.create(widgets, {**build.widget(), "spec": spec})

    details = answer.body["details"]
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert answer.body["message"].startswith('Widget.example.com "one" is invalid: ')
    assert f"{field}: {message}" in answer.body["message"]
    assert details["causes"][0] == {"reason": reason, "message": message, "field": field}
    assert (details["name"], details["group"], details["kind"]) == ("one", "example.com", "Widget")


async def test_all_errors_come_at_once(client: RawClient, widgets: str, build: Any) -> None:
    answer = await client.create(widgets, build.widget(size=0, color="Green"))

    assert set(answer.causes) == {"spec.size", "spec.color"}
    assert answer.body["message"].startswith('Widget.example.com "one" is invalid: [spec.')


async def test_numbers_and_strings_both_fit_int_or_string(client: RawClient, widgets: str, build: Any) -> None:
    codes = [
        (await client.create(widgets, build.widget(f"w{index}", port=port))).code
        for index, port in enumerate((80, "http", "25%"))
    ]

    assert codes == [201, 201, 201]


async def test_branches_of_a_schema_are_judged(server: Server, client: RawClient) -> None:
    path = server.custom("choices")

    def choice(**spec: Any) -> dict[str, Any]:
        return {"apiVersion": "example.com/v1", "kind": "Choice", "metadata": {"name": "c"}, "spec": spec}

    neither = await client.create(path, choice())
    both = await client.create(path, choice(names=["a"], selector={}))
    excluded = await client.create(path, choice(names=[]))
    one = await client.create(path, choice(names=["a"]))

    none_fits = 'Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid'
    assert neither.causes == {"<nil>": none_fits, "spec.names": "Required value"}
    assert both.causes["<nil>"].endswith("Found 2 valid alternatives")
    assert excluded.causes["<nil>"].endswith('"spec" must not validate the schema (not)')
    assert one.code == 201


@pytest.mark.parametrize(
    ("metadata", "field", "part"),
    [
        ({"name": "Not_A_Name"}, "metadata.name", "a lowercase RFC 1123 subdomain must consist of"),
        ({"name": "x" * 254}, "metadata.name", "must be no more than 253 characters"),
        ({"name": "a", "labels": {"bad key": "x"}}, "metadata.labels", "name part must consist of"),
        ({"name": "a", "labels": {"k": "x" * 64}}, "metadata.labels", "must be no more than 63 bytes"),
        ({"name": "a", "labels": {"k": "-x"}}, "metadata.labels", "a valid label must be an empty string or"),
        ({"name": "a", "labels": {"Bad_Prefix/k": "x"}}, "metadata.labels", "prefix part a lowercase RFC 1123"),
        ({"name": "a", "annotations": {"bad key": "x"}}, "metadata.annotations", "name part must consist of"),
        ({"name": "a", "annotations": {"k": "x" * 262_145}}, "metadata.annotations", "Too long"),
        ({"name": "a", "finalizers": ["bad finalizer"]}, "metadata.finalizers", "name part must consist of"),
        ({}, "metadata.name", "name or generateName is required"),
    ],
)
async def test_metadata_is_held_to_its_rules(
    client: RawClient, widgets: str, build: Any, metadata: dict[str, Any], field: str, part: str
) -> None:
    answer = await client.create(widgets, {**build.widget(), "metadata": metadata})

    assert answer.code == 422
    assert part in answer.causes[field]


async def test_an_owner_reference_is_complete_and_only_one_controls(
    client: RawClient, widgets: str, build: Any
) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1", "controller": True}
    both = build.widget()
    both["metadata"]["ownerReferences"] = [owner, {**owner, "uid": "2", "name": "q"}]
    incomplete = build.widget()
    incomplete["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]

    twins = build.widget()
    twins["metadata"]["ownerReferences"] = [owner, owner]

    two = await client.create(widgets, both)
    without_uid = await client.create(widgets, incomplete)
    twice = await client.create(widgets, twins, dryRun="All")

    assert "Only one reference can have Controller set to true" in two.causes["metadata.ownerReferences"]
    assert (twice.code, len(twice.body["metadata"]["ownerReferences"])) == (201, 1)
    assert "contains duplicate entries" in twice.warnings[0]
    assert "must not be empty" in without_uid.causes["metadata.ownerReferences.uid"]


async def test_a_status_with_defaults_is_there_from_the_first_read_although_a_create_drops_what_was_sent(
    server: Server, client: RawClient
) -> None:
    turn = {"apiVersion": "example.com/v1", "kind": "Turn", "metadata": {"name": "mine"}, "status": {"phase": "Forged"}}

    answer = await client.create(server.custom("turns"), turn)

    assert answer.body["status"] == {"phase": "Waiting"}
