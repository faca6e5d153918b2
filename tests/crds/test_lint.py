"""The linter: every finding has a document that provokes it, and the documents of ours have none."""

import re
from copy import deepcopy
from typing import Any

import pytest

from crdgen.document import custom_resource_definition
from crdgen.lint import findings
from whimbrel.api import KINDS

TEXT = {"type": "string", "maxLength": 10, "description": "Text."}


def document(field: dict[str, Any], column: dict[str, Any] | None = None) -> dict[str, Any]:
    """A CRD whose spec has one field, `it`."""
    schema = {
        "type": "object",
        "description": "A thing.",
        "properties": {
            "apiVersion": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {"type": "object", "description": "The intent.", "properties": {"it": field}},
        },
    }
    version = {
        "name": "v1",
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [column] if column else [],
    }
    return {"metadata": {"name": "things"}, "spec": {"versions": [version]}}


def described(**schema: Any) -> dict[str, Any]:
    return {"description": "It.", **schema}


@pytest.mark.parametrize("model", KINDS, ids=lambda model: model.__name__)
def test_our_own_kinds_have_no_finding(model: Any) -> None:
    assert findings(custom_resource_definition(model)) == []


def test_a_sound_document_has_no_finding() -> None:
    column = {"name": "It", "type": "string", "jsonPath": ".spec.it"}

    assert findings(document(TEXT, column)) == []


@pytest.mark.parametrize(
    ("field", "finding"),
    [
        ({"type": "string", "maxLength": 1}, "no description"),
        (described(type="string"), "a string without maxLength"),
        (described(type="string", pattern="^a$"), "a string without maxLength"),
        (described(type="array", items=TEXT), "a list without maxItems"),
        (described(type="array", maxItems=1), "an array without items"),
        (described(type="array", maxItems=1, items={"type": "string"}), r"it\[\]: a string without maxLength"),
        (described(type="object", additionalProperties=TEXT), "a map without maxProperties"),
        (described(type="object"), "an object without properties"),
        (
            described(type="object", properties={"a": TEXT}, additionalProperties=TEXT, maxProperties=1),
            "exclude each other",
        ),
        (described(type="object", additionalProperties=True, maxProperties=1), "must be a schema"),
        (described(type="object", properties={"a": TEXT}, required=["b"]), "requires b"),
        (described(type="number"), "type 'number' is none of"),
        (described(), "type None is none of"),
        (described(type="null"), "type 'null' is none of"),
        (described(**{"$ref": "#/x"}), r"\$ref is no keyword"),
        (described(anyOf=[TEXT]), "anyOf is no keyword"),
        (described(type="string", maxLength=1, const="a"), "const is no keyword"),
        (described(type="string", maxLength=1, title="It"), "title is no keyword"),
        (described(type="string", maxLength=1, default=None), "a default of null"),
        (described(type="integer", exclusiveMinimum=3), "exclusiveMinimum must be a flag"),
        (
            described(type="integer", **{"x-kubernetes-validations": [{"rule": "self > 0"}]}),
            "has no message",
        ),
        (
            described(type="integer", **{"x-kubernetes-validations": [{"rule": "true", "message": "a\nb"}]}),
            "line break",
        ),
        (described(type="integer", **{"x-kubernetes-validations": [{"message": "no"}]}), "without a rule"),
        (
            described(
                type="array",
                maxItems=1,
                items={"type": "object", "properties": {"a": TEXT}},
                **{"x-kubernetes-list-type": "set"},
            ),
            "a set of objects",
        ),
        (
            described(
                type="array",
                maxItems=1,
                items={"type": "object", "properties": {"a": TEXT}},
                **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]},
            ),
            "list key a must be required",
        ),
        (
            described(
                type="array",
                maxItems=1,
                items={"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
                **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["b"]},
            ),
            "list key b is no field",
        ),
        (
            described(type="array", maxItems=1, items=TEXT, **{"x-kubernetes-list-type": "map"}),
            "belong together",
        ),
        (described(type="string", maxLength=1, **{"x-kubernetes-list-type": "set"}), "list type 'set' on a string"),
    ],
)
def test_what_a_server_or_a_reader_would_stumble_over_is_found(field: dict[str, Any], finding: str) -> None:
    found = findings(document(deepcopy(field)))

    assert [line for line in found if line.startswith("things.spec.it")] != []
    assert re.search(finding, "\n".join(found))


@pytest.mark.parametrize(
    ("path", "kind", "finding"),
    [
        (".spec.other", "string", "names no field"),
        (".spec.it.deeper", "string", "names no field"),
        ("spec.it", "string", "names no field"),
        (".spec.it", "integer", "a column of integer on a field of string"),
        (".spec.it", "date", "no date"),
    ],
)
def test_a_column_shows_a_field_that_exists_and_has_its_type(path: str, kind: str, finding: str) -> None:
    found = findings(document(TEXT, {"name": "It", "type": kind, "jsonPath": path}))

    assert len(found) == 1
    assert finding in found[0]


CONSENT = {"type": "string", "enum": ["Never", "Allowed"], "description": "Consent."}


def ruled(rule: str, **schema: Any) -> dict[str, Any]:
    """An object of two texts and a consent, with a rule."""
    properties = {"a": TEXT, "b": TEXT, "consent": CONSENT | {"default": "Never"}, "in": TEXT}
    validations = [{"rule": rule, "message": "No."}]
    return described(type="object", properties=properties, **{"x-kubernetes-validations": validations}, **schema)


@pytest.mark.parametrize(
    ("field", "read"),
    [
        (ruled("self.a == 'x'"), "self.a"),
        (ruled("has(self.a) && self.b == 'x'"), "self.b"),
        (ruled("self.a.size() > 3"), "self.a"),
        (ruled("self.__in__ == 'x'"), "self.in"),
        (ruled("!has(self.a) || oldSelf.a == self.a"), "oldSelf.a"),
        (ruled("self.consent == 'Allowed'", default={}), "self.consent"),
        (ruled("self.consent == 'Allowed'", default={"a": "x"}), "self.consent"),
        (ruled("self.other == 'x'"), "self.other"),
        (
            described(
                type="object",
                properties={"inner": described(type="object", properties={"a": TEXT})},
                **{"x-kubernetes-validations": [{"rule": "has(self.inner.a)", "message": "No."}]},
            ),
            "self.inner",
        ),
        (
            described(
                type="object",
                default={"inner": {}},
                properties={"inner": ruled("self.consent == 'Allowed'")},
            ),
            "self.consent",
        ),
    ],
)
def test_a_rule_that_reads_what_may_be_absent_is_found_before_a_server_refuses_it(
    field: dict[str, Any], read: str
) -> None:
    found = findings(document(field))

    assert len(found) == 1
    assert f"reads {read} without has()" in found[0]


@pytest.mark.parametrize(
    "field",
    [
        ruled("self.a == 'x'", required=["a"]),
        ruled("!has(self.a) || self.a == 'x'"),
        ruled("self.?a.orValue('') == 'x'"),
        ruled("self.consent == 'Allowed'"),
        ruled("self.consent == 'Allowed'", default={"consent": "Never"}),
        ruled("has(self.consent) && self.consent == 'Allowed'", default={}),
        ruled("self.consent != 'self.a'"),
        ruled("!has(oldSelf.a) || oldSelf.a != 'x'"),
        described(
            type="object",
            default={},
            properties={"inner": ruled("self.consent == 'Allowed'")},
        ),
    ],
)
def test_a_rule_that_asks_first_or_reads_what_is_always_there_has_no_finding(field: dict[str, Any]) -> None:
    assert findings(document(field)) == []
