"""Models to structural schemas: what is translated, and what is refused by name."""

from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, StringConstraints

from crdgen.schema import CannotBeStructural, structural_schema

Name = Annotated[str, StringConstraints(max_length=63)]


def property_of(annotation: Any, field: Any = ...) -> dict[str, Any]:
    """The schema of one field with this annotation."""
    model = type("Model", (BaseModel,), {"__annotations__": {"it": annotation}, "it": field})
    schema: dict[str, Any] = structural_schema(model)["properties"]["it"]
    return schema


class Inner(BaseModel):
    """An inner model."""

    size: int = Field(3, ge=1, description="Its size.")
    label: Name | None = Field(None, description="Its label.")


class Nested(BaseModel):
    """Holds itself."""

    child: "Nested | None" = None


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


def test_an_optional_field_is_absent_and_never_null() -> None:
    assert property_of(Name | None, None) == {"type": "string", "maxLength": 63}


def test_an_inner_model_is_inlined_and_keeps_the_description_of_its_field() -> None:
    schema = property_of(Inner, Field(description="What it is here."))

    assert schema["description"] == "What it is here."
    assert schema["properties"]["size"] == {
        "type": "integer",
        "minimum": 1,
        "default": 3,
        "description": "Its size.",
    }


def test_a_default_that_the_nested_defaults_say_already_is_empty_so_that_the_server_fills_it() -> None:
    assert property_of(Inner, Inner())["default"] == {}


def test_a_default_that_differs_from_the_nested_ones_is_kept_without_its_nulls() -> None:
    assert property_of(Inner, Inner(size=5))["default"] == {"size": 5}


@pytest.mark.parametrize("empty", ["", None])
def test_a_default_that_says_nothing_is_left_out(empty: str | None) -> None:
    assert "default" not in property_of(Name | None, empty)


def test_a_status_has_no_defaults_because_the_operator_alone_says_what_is_in_it() -> None:
    class Root(BaseModel):
        status: Inner = Inner()

    status = structural_schema(Root)["properties"]["status"]

    assert "default" not in status
    assert "default" not in status["properties"]["size"]


def test_a_literal_is_an_enum_of_one() -> None:
    assert property_of(Literal["cat"]) == {"type": "string", "enum": ["cat"]}


def test_an_exclusive_bound_of_a_whole_number_becomes_the_next_number() -> None:
    assert property_of(Annotated[int, Field(gt=0, lt=10)]) == {"type": "integer", "minimum": 1, "maximum": 9}


def test_an_exclusive_bound_of_another_number_becomes_a_flag() -> None:
    schema = property_of(Annotated[float, Field(gt=0)])

    assert schema == {"type": "number", "minimum": 0, "exclusiveMinimum": True}


def test_a_set_becomes_a_list_of_type_set() -> None:
    schema = property_of(Annotated[frozenset[Name], Field(max_length=4)])

    assert schema["x-kubernetes-list-type"] == "set"
    assert "uniqueItems" not in schema


def test_a_whole_number_or_text_is_what_kubernetes_calls_int_or_string() -> None:
    assert property_of(int | str) == {"x-kubernetes-int-or-string": True}


def test_a_map_loses_what_is_said_of_its_keys_and_keeps_its_bound() -> None:
    schema = property_of(Annotated[dict[Name, Name], Field(max_length=8)])

    assert schema == {
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": {"type": "string", "maxLength": 63},
    }


def test_a_time_is_a_string_with_a_format() -> None:
    assert property_of(datetime) == {"type": "string", "format": "date-time"}


def test_a_strict_model_leaves_unknown_fields_to_the_server() -> None:
    class Strict(BaseModel, extra="forbid"):
        name: Name

    assert "additionalProperties" not in structural_schema(Strict)


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        (tuple[int, int], "a tuple of fixed length"),
        (Annotated[Cat | Dog, Field(discriminator="kind")], "a union of models"),
        (Cat | Dog, "a union of"),
        (int | bool, "a union of"),
        (dict[str, Any], "a map of anything"),
        (Nested, "contains itself"),
    ],
)
def test_what_has_no_structural_form_is_refused_with_its_path(annotation: Any, problem: str) -> None:
    with pytest.raises(CannotBeStructural, match=problem) as refusal:
        property_of(annotation)

    assert str(refusal.value).startswith("Model")
