"""One page per kind: every field with its type, bounds, default and description, and the rules of the API server."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from crdgen.document import custom_resource_definition, definition_of

Schema = dict[str, Any]


def page(model: type[BaseModel]) -> str:
    """The page of a root model as Markdown."""
    definition = definition_of(model)
    crd = custom_resource_definition(model)
    schema: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    short = ", ".join(f"`{name}`" for name in definition.short_names)
    columns = ", ".join(f"{column.name}{' (wide)' if column.priority else ''}" for column in definition.printer_columns)
    lines = [
        f"# {definition.kind}",
        "",
        schema.get("description", ""),
        "",
        f"`{definition.api_version}`, {definition.scope.lower()}, short {short}. "
        f"`kubectl get {definition.short_names[0]}` shows: {columns}.",
    ]
    for part in ("spec", "status"):
        lines += ["", f"## {part}", "", schema["properties"][part].get("description", ""), ""]
        lines += ["| Field | Type | Meaning |", "| --- | --- | --- |"]
        lines += [_row(path, node, needed) for path, node, needed in _fields(schema["properties"][part], "")]
    if rules := list(_rules(schema, "")):
        lines += ["", "## Rules", "", "Refused at apply, in these words:", ""]
        lines += [f"- `{path or 'the object'}`: {message}" for path, message in rules]
    return "\n".join(lines) + "\n"


def _fields(node: Schema, path: str) -> Iterator[tuple[str, Schema, bool]]:
    needed = node.get("required", ())
    for name, child in node.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, child, name in needed
        if child.get("type") == "array":
            yield from _fields(child["items"], f"{here}[]")
        else:
            yield from _fields(child, here)


def _row(path: str, node: Schema, needed: bool) -> str:
    facts = [_type(node)]
    if needed:
        facts.append("**needed**")
    if "default" in node and node["default"] not in ({}, [], ""):
        facts.append(f"default `{_plain(node['default'])}`")
    if bounds := _bounds(node):
        facts.append(bounds)
    text = str(node.get("description", "")).replace("|", "\\|").replace("\n", " ")
    return f"| `{path}` | {', '.join(facts)} | {text} |"


def _type(node: Schema) -> str:
    if "enum" in node:
        return " \\| ".join(f"`{value}`" for value in node["enum"])
    kind = str(node.get("type", "any"))
    if kind == "array":
        return f"list of {_type(node['items'])}"
    if isinstance(node.get("additionalProperties"), dict):
        return f"map of {_type(node['additionalProperties'])}"
    return str(node.get("format", kind)) if node.get("format") == "date-time" else kind


def _bounds(node: Schema) -> str:
    least, most = node.get("minimum"), node.get("maximum")
    if least is not None and most is not None:
        return f"{least} to {most}"
    if least is not None:
        return f"at least {least}"
    if (items := node.get("maxItems")) is not None:
        return f"at most {items}"
    return ""


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rules(node: Schema, path: str) -> Iterator[tuple[str, str]]:
    for rule in node.get("x-kubernetes-validations", ()):
        yield path, rule["message"]
    for name, child in node.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield from _rules(child["items"] if child.get("type") == "array" else child, here)
