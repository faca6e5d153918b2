"""What the API server, or our own habits, would not accept in a CRD. Pure: a document in, findings out.

Structural rules save a round trip to a server; bounds keep the cost of CEL rules within the server's budget;
a description on every field is what `kubectl explain` shows.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from crdgen.reads import unguarded
from crdgen.schema import Schema

KEYWORDS = frozenset(
    {
        "additionalProperties",
        "default",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "nullable",
        "pattern",
        "properties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-validations",
    }
)
"""All that a schema of ours may say; anything else was left over by the translation, or slipped in."""

TYPES = frozenset({"array", "boolean", "integer", "object", "string"})
SELF_BOUNDED_FORMATS = frozenset({"date-time"})
LIST_TYPES = frozenset({"atomic", "map", "set"})
_STEP = re.compile(r"\.([A-Za-z][A-Za-z0-9]*)(\[\?\(@\.([A-Za-z]+)==\"[^\"]*\"\)\])?")


def findings(document: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a CRD document, one sentence each, `path: what`."""
    name = document["metadata"]["name"]
    out: list[str] = []
    for version in document["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        out += _schema_findings(schema, name)
        out += _column_findings(version.get("additionalPrinterColumns", []), schema, name)
        for field in version.get("selectableFields", []):
            if _resolve(field["jsonPath"], schema) is None:
                out.append(f"{name}: selectable field {field['jsonPath']} names no field")
    return out


def _schema_findings(schema: Schema, name: str) -> Iterator[str]:
    yield from _node_findings(schema, name)
    yield from _read_findings(schema, name, ())
    for field, child in schema["properties"].items():
        if field in ("apiVersion", "kind", "metadata"):
            continue
        if "description" not in child:
            yield f"{name}.{field}: no description"
        yield from _tree_findings(child, f"{name}.{field}")


def _tree_findings(node: Schema, path: str) -> Iterator[str]:
    yield from _node_findings(node, path)
    yield from _bound_findings(node, path)
    for field, child in node.get("properties", {}).items():
        if "description" not in child:
            yield f"{path}.{field}: no description"
        yield from _tree_findings(child, f"{path}.{field}")
    if isinstance(node.get("items"), dict):
        yield from _tree_findings(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from _tree_findings(node["additionalProperties"], f"{path}[*]")


def _node_findings(node: Schema, path: str) -> Iterator[str]:
    """The structural rules for one node."""
    for keyword in sorted(node.keys() - KEYWORDS):
        yield f"{path}: {keyword} is no keyword of a structural schema"
    if node.get("type") not in TYPES and not node.get("x-kubernetes-int-or-string"):
        yield f"{path}: type {node.get('type')!r} is none of {', '.join(sorted(TYPES))}"
    if node.get("properties") and "additionalProperties" in node:
        yield f"{path}: properties and additionalProperties exclude each other"
    if "additionalProperties" in node and not isinstance(node["additionalProperties"], dict):
        yield f"{path}: additionalProperties must be a schema"
    if node.get("type") == "array" and "items" not in node:
        yield f"{path}: an array without items"
    if node.get("type") == "object" and not {"properties", "additionalProperties"} & node.keys():
        yield f"{path}: an object without properties; the server would drop all that is in it"
    if "default" in node and node["default"] is None:
        yield f"{path}: a default of null"
    for flag in ("exclusiveMinimum", "exclusiveMaximum"):
        if flag in node and not isinstance(node[flag], bool):
            yield f"{path}: {flag} must be a flag beside the bound"
    for required in node.get("required", ()):
        if required not in node.get("properties", {}):
            yield f"{path}: requires {required}, which it has not"
    yield from _rule_findings(node, path)
    yield from _list_findings(node, path)


def _rule_findings(node: Schema, path: str) -> Iterator[str]:
    for rule in node.get("x-kubernetes-validations", ()):
        if not rule.get("rule"):
            yield f"{path}: a validation without a rule"
        if not rule.get("message"):
            yield f"{path}: the rule {rule.get('rule')!r} has no message"
        elif "\n" in rule["message"]:
            yield f"{path}: the message of the rule {rule.get('rule')!r} has a line break; servers refuse it"


def _read_findings(node: Schema, path: str, defaults: Sequence[Any]) -> Iterator[str]:
    """Fields that a rule reads though they may be absent. `defaults` are those of the parents, as far as they reach here.

    A rule is also evaluated on each default as it is written, before the defaults of its fields complete it.
    """
    if "default" in node:
        defaults = (*defaults, node["default"])
    for rule in node.get("x-kubernetes-validations", ()):
        for read, why in unguarded(rule.get("rule", ""), node, defaults):
            yield f"{path}: the rule {rule['rule']!r} reads {read} without has(), {why}"
    for field, child in node.get("properties", {}).items():
        reaching = [default[field] for default in defaults if isinstance(default, dict) and field in default]
        yield from _read_findings(child, f"{path}.{field}", reaching)
    for keyword, step in (("items", "[]"), ("additionalProperties", "[*]")):
        if isinstance(node.get(keyword), dict):
            yield from _read_findings(node[keyword], f"{path}{step}", ())


def _list_findings(node: Schema, path: str) -> Iterator[str]:
    kind = node.get("x-kubernetes-list-type")
    keys = node.get("x-kubernetes-list-map-keys", [])
    items = node.get("items", {})
    if kind is not None and (kind not in LIST_TYPES or node.get("type") != "array"):
        yield f"{path}: list type {kind!r} on a {node.get('type')}"
    if kind == "set" and items.get("type") in ("array", "object"):
        yield f"{path}: a set of {items['type']}s; only scalars make a set"
    if (kind == "map") != bool(keys):
        yield f"{path}: a list type of map and its keys belong together"
    for key in keys:
        property_ = items.get("properties", {}).get(key)
        if property_ is None:
            yield f"{path}: list key {key} is no field of its items"
        elif key not in items.get("required", ()) and "default" not in property_:
            yield f"{path}: list key {key} must be required or have a default"


def _bound_findings(node: Schema, path: str) -> Iterator[str]:
    kind = node.get("type")
    if kind == "string" and "maxLength" not in node and "enum" not in node:
        if node.get("format") not in SELF_BOUNDED_FORMATS:
            yield f"{path}: a string without maxLength"
    elif kind == "array" and "maxItems" not in node:
        yield f"{path}: a list without maxItems"
    elif kind == "object" and "additionalProperties" in node and "maxProperties" not in node:
        yield f"{path}: a map without maxProperties"


def _column_findings(columns: list[dict[str, Any]], schema: Schema, name: str) -> Iterator[str]:
    for column in columns:
        where = f"{name}: column {column['name']}"
        path = column["jsonPath"]
        if path.startswith(".metadata."):
            continue
        target = _resolve(path, schema)
        if target is None:
            yield f"{where}: {path} names no field"
        elif column["type"] == "date" and target.get("format") != "date-time":
            yield f"{where}: a date column on a field that is no date"
        elif column["type"] in ("integer", "boolean", "string") and target.get("type") not in (
            column["type"],
            None,
        ):
            yield f"{where}: a column of {column['type']} on a field of {target['type']}"


def _resolve(json_path: str, schema: Schema) -> Schema | None:
    """The schema that a column's path leads to; None: to nothing. Knows steps and one filter, no more."""
    node, position = schema, 0
    while position < len(json_path):
        step = _STEP.match(json_path, position)
        if step is None or step[1] not in node.get("properties", {}):
            return None
        node = node["properties"][step[1]]
        if step[2]:
            node = node.get("items", {})
            if step[3] not in node.get("properties", {}):
                return None
        position = step.end()
    return node
