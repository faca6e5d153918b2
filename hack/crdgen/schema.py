"""A pydantic model as a structural schema: what the API server accepts under `openAPIV3Schema`.

Pydantic speaks JSON Schema 2020-12, the API server a subset of OpenAPI 3.0 where everything is inline. What
has an equivalent is translated; what has none is refused here, by name, rather than by a server later.
"""

from copy import deepcopy
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

Schema = dict[str, Any]


class CannotBeStructural(Exception):
    """A model says something that no structural schema can say."""

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}. {remedy}")


class _InlineFriendly(GenerateJsonSchema):
    """Pydantic's generator without titles and without null: an optional field is absent, never null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def structural_schema(model: type[BaseModel]) -> Schema:
    """The model's schema with every reference inlined, defaults as far as the server should apply them.

    Raises CannotBeStructural with the path of the field that has to be modelled otherwise.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_InlineFriendly)
    definitions: Schema = raw.pop("$defs", {})
    schema = _translate(_inline(raw, definitions, model.__name__, ()), model.__name__)
    if status := schema.get("properties", {}).get("status"):
        # A status is written whole by the operator. A default there would show a state nobody reported, unless the
        # definition asks for it by name.
        status.pop("default", None)
        _drop_defaults(status)
        for name, value in model.CRD.status_defaults if hasattr(model, "CRD") else ():
            status["default"] = {}
            status["properties"][name]["default"] = value
    _shorten_defaults(schema)
    return schema


def _inline(node: Any, definitions: Schema, path: str, open_references: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_inline(item, definitions, path, open_references) for item in node]
    if not isinstance(node, dict):
        return node
    if "allOf" in node and len(node["allOf"]) == 1:
        node = {**node["allOf"][0], **{key: value for key, value in node.items() if key != "allOf"}}
    if reference := node.get("$ref"):
        name = reference.removeprefix("#/$defs/")
        if name in open_references:
            raise CannotBeStructural(path, f"{name} contains itself", "Bound the depth with a model per level.")
        target = _inline(definitions[name], definitions, path, (*open_references, name))
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        return deepcopy(target) | _inline(siblings, definitions, path, open_references)
    return {
        key: value if key in ("default", "enum") else _inline(value, definitions, f"{path}.{key}", open_references)
        for key, value in node.items()
    }


def _translate(node: Schema, path: str) -> Schema:
    """One schema node and all below it, in the server's words."""
    _refuse_what_has_no_equivalent(node, path)
    out = {key: value for key, value in node.items() if key not in ("title", "propertyNames", "examples")}
    if "anyOf" in out:
        _translate_union(out, path)
    if "const" in out:
        out["enum"] = [out.pop("const")]
    if out.pop("uniqueItems", False):
        out["x-kubernetes-list-type"] = "set"
    _translate_exclusive_bounds(out)
    if out.get("default", ...) is None:
        del out["default"]
    additional = out.get("additionalProperties")
    if additional is False:
        del out["additionalProperties"]
    elif isinstance(additional, dict):
        out["additionalProperties"] = _translate(additional, f"{path}[*]")
    if "items" in out:
        out["items"] = _translate(out["items"], f"{path}[]")
    if "properties" in out:
        out["properties"] = {name: _translate(child, f"{path}.{name}") for name, child in out["properties"].items()}
    return out


def _refuse_what_has_no_equivalent(node: Schema, path: str) -> None:
    if "prefixItems" in node:
        raise CannotBeStructural(
            path, "a tuple of fixed length has no structural form", "Use a model with named fields."
        )
    if "oneOf" in node or "discriminator" in node:
        raise CannotBeStructural(
            path,
            "a union of models has no structural form",
            "Give one optional field per variant and a rule that exactly one is set.",
        )
    if node.get("additionalProperties") is True:
        raise CannotBeStructural(path, "a map of anything is not bounded", "Give its values a type.")


def _translate_union(node: Schema, path: str) -> None:
    kinds = {branch.get("type") for branch in node["anyOf"]}
    if kinds != {"integer", "string"}:
        raise CannotBeStructural(
            path, f"a union of {sorted(map(str, kinds))} has no structural form", "Only int | str has one."
        )
    del node["anyOf"]
    node.pop("type", None)
    node["x-kubernetes-int-or-string"] = True


def _translate_exclusive_bounds(node: Schema) -> None:
    """OpenAPI 3.0 has flags where JSON Schema has numbers; whole numbers simply get the next bound."""
    for bound, plain, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
        value = node.get(bound)
        if value is None or isinstance(value, bool):
            continue
        if node.get("type") == "integer":
            node[plain] = value + step
            del node[bound]
        else:
            node[plain], node[bound] = value, True


def _children(node: Schema) -> list[Schema]:
    below = list(node.get("properties", {}).values())
    below += [node[key] for key in ("items", "additionalProperties") if isinstance(node.get(key), dict)]
    return below


def _drop_defaults(node: Schema) -> None:
    for child in _children(node):
        child.pop("default", None)
        _drop_defaults(child)


def _shorten_defaults(node: Schema) -> None:
    """Leaves out defaults that mean nothing, and says `{}` where the nested defaults say the rest."""
    for child in _children(node):
        _shorten_defaults(child)
    default = node.get("default")
    if isinstance(default, dict):
        node["default"] = default = _without_nulls(default)
        if _defaulted({}, node) == _defaulted(default, node):
            node["default"] = {}
    elif default in ("", []):
        del node["default"]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


def _defaulted(value: Schema, schema: Schema) -> Schema:
    """The value as the API server completes it from the defaults of the schema."""
    out = dict(value)
    for name, child in schema.get("properties", {}).items():
        if name not in out and "default" in child:
            out[name] = deepcopy(child["default"])
        if isinstance(out.get(name), dict):
            out[name] = _defaulted(out[name], child)
    return out
