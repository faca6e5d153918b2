"""For every bound of a CRD's schema a document on it, which must be accepted, and one past it, which must not.

Made from the documents of tests/data/objects/whole.yaml, which must be accepted themselves: what is required is there, and
what has a pattern or a format fits. A bound on a field that none of them sets raises NoCase.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from support.definitions import (
    Object,
    Place,
    Schema,
    at,
    field,
    locate,
    nodes,
    put,
    schema_of,
    whole,
    without,
)

NO_BOUNDS = frozenset(
    {
        "type", "description", "default", "properties", "items", "additionalProperties", "x-kubernetes-list-map-keys",
        "x-kubernetes-validations",
    }
)  # fmt: skip
"""Keywords that are no bound: shapes, defaults (a test of their own), rules (the same)."""
UNDECLARED = "Undeclared"
MATCHES_NO_PATTERN = "- -"
LONGEST_SUBNET = "0000:0000:0000:0000:0000:ffff:192.168.100.100/128"
BY_RULES: dict[tuple[str, str], Object | list[Object]] = {
    ("ladder[0].rung", "GiveUp"): [{"rung": "PreCopy"}, {"rung": "GiveUp"}],
    ("disruption.stun", "Never"): {"stun": "Never"},
    ("matchExpressions[0].operator", "Exists"): {"key": "tier", "operator": "Exists"},
    ("matchExpressions[0].operator", "DoesNotExist"): {"key": "tier", "operator": "DoesNotExist"},
}
"""(end of the field, value) → what its object, or the list of it, must be for the rules to hold as well."""


class NoCase(Exception):
    """A bound of the schema for which no case can be made; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Case:
    """One bound: documents that are on it, one that is past it, and what the server says of that one at which field."""

    field: str
    keyword: str
    accepted: tuple[Object, ...]
    refused: Object
    at: str
    says: str

    def __str__(self) -> str:
        return f"{self.field}: {self.keyword}"


def cases(kind: str, part: str) -> list[Case]:
    """All cases of a kind's `spec` or `status`."""
    return list(cases_of(schema_of(kind), whole(kind), part))


def cases_of(schema: Schema, documents: list[Object], part: str) -> Iterator[Case]:
    """The same for any schema, made from any documents."""
    for place, node in nodes(schema):
        if place[:1] == (part,):
            yield from _cases(place, node, documents)


def _cases(place: Place, node: Schema, candidates: list[Object]) -> Iterator[Case]:
    for document in candidates:
        if (found := locate(document, place)) is not None:
            break
    else:
        raise NoCase(f"{field(place)} is set in no document of tests/data/objects/whole.yaml")
    for keyword, bound in node.items():
        if keyword not in NO_BOUNDS:
            yield from _case(keyword, bound, node, document, found)


def _case(keyword: str, bound: Any, node: Schema, document: Object, place: Place) -> Iterator[Case]:
    here, value = field(place), at(document, place)
    # `None` on the bound: the document itself is.

    def case(on: Any, past: Any, says: str, where: str = here) -> Case:
        accepted = () if on is None else (put(document, place, on),)
        return Case(here, keyword, accepted, put(document, place, past), where, says)

    match keyword:
        case "minimum":
            yield case(bound, bound - 1, f"in body should be greater than or equal to {bound}")
        case "maximum":
            yield case(bound, bound + 1, f"in body should be less than or equal to {bound}")
        case "minLength":
            yield case("a" * bound, "a" * (bound - 1), f"in body should be at least {bound} chars long")
        case "maxLength":
            longest = LONGEST_SUBNET if _is_subnet(value) else "a" * bound
            yield case(longest, "a" * (bound + 1), f"Too long: may not be more than {bound} bytes")
        case "pattern":
            assert not re.search(bound, MATCHES_NO_PATTERN), f"{here}: {bound} matches even {MATCHES_NO_PATTERN}"
            yield case(None, MATCHES_NO_PATTERN, f"in body should match '{bound}'")
        case "format":
            yield case(None, UNDECLARED, f"in body must be of type {bound}")
        case "enum":
            accepted = tuple(_enumerated(document, place, each) for each in bound)
            supported = ", ".join(f'"{each}"' for each in bound)
            refused = put(document, place, UNDECLARED)
            yield Case(here, keyword, accepted, refused, here, f"supported values: {supported}")
        case "minItems":
            yield case(
                _items(node, value, bound), _items(node, value, bound - 1), f"should have at least {bound} items"
            )
        case "maxItems":
            says = f"Too many: {bound + 1}: must have at most {bound} items"
            yield case(_items(node, value, bound), _items(node, value, bound + 1), says)
        case "minProperties":
            yield case(_keys(bound), _keys(bound - 1), f"should have at least {bound} properties")
        case "maxProperties":
            says = f"Too many: {bound + 1}: must have at most {bound} items"
            yield case(_keys(bound), _keys(bound + 1), says)
        case "required":
            for name in bound:
                missing = (*place, name)
                yield Case(field(missing), keyword, (), without(document, missing), field(missing), "Required value")
        case "x-kubernetes-list-type":
            yield case(_items(node, value, 2), [value[0], value[0]], "Duplicate value", f"{here}[1]")
        case _:
            raise NoCase(f"{here}: nobody knows how to try {keyword}")


def _enumerated(document: Object, place: Place, value: Any) -> Object:
    for (end, of), instead in BY_RULES.items():
        if of == value and field(place).endswith(end):
            return put(document, place[:-2] if isinstance(instead, list) else place[:-1], instead)
    return put(document, place, value)


def _items(node: Schema, present: list[Any], count: int) -> list[Any]:
    """Some items, all different where the list must not hold the same twice."""
    items = node["items"]
    keys = node.get("x-kubernetes-list-map-keys", ())
    if keys:
        (key,) = keys
        names = items["properties"][key].get("enum") or [f"Type{number}" for number in range(count)]
        return [{**present[0], key: names[number % len(names)]} for number in range(count)]
    if _is_subnet(present[0]):
        return [f"10.{number}.0.0/16" for number in range(count)]
    if items["type"] == "string" and "enum" not in items:
        return [f"a{number}" for number in range(count)]
    return [present[0]] * count


def _is_subnet(value: Any) -> bool:
    """Whether it is text that the model accepts only as a subnet."""
    try:
        return "/" in value and bool(ip_network(value))
    except (TypeError, ValueError):
        return False


def _keys(count: int) -> dict[str, str]:
    return {f"key-{number}": "value" for number in range(count)}
