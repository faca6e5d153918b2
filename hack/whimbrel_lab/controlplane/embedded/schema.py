"""Structural schemas: compiled once per CustomResourceDefinition, then pruning and defaulting.

Validation is in `validation.py`. The source is apiextensions v1; CEL rules are noticed, never evaluated.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from whimbrel_lab.controlplane.embedded.errors import Json, Object

_TYPE_META = frozenset({"apiVersion", "kind", "metadata"})


@dataclass(slots=True, eq=False)
class Schema:
    """One compiled node of a structural schema."""

    type: str = ""
    properties: "dict[str, Schema]" = field(default_factory=dict)
    items: "Schema | None" = None
    additional: "Schema | bool | None" = None
    preserve: bool = False
    embedded: bool = False
    int_or_string: bool = False
    nullable: bool = False
    has_default: bool = False
    default: Json = None
    required: tuple[str, ...] = ()
    enum: list[Json] | None = None
    pattern: re.Pattern[str] | None = None
    pattern_text: str = ""
    format: str = ""
    bounds: Object = field(default_factory=dict)
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    all_of: "tuple[Schema, ...]" = ()
    any_of: "tuple[Schema, ...]" = ()
    one_of: "tuple[Schema, ...]" = ()
    not_: "Schema | None" = None
    rules: bool = False


_BOUNDS = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
    "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
)  # fmt: skip


def compile_schema(source: Object) -> Schema:
    """Compile an `openAPIV3Schema`; raises ValueError naming a pattern that Python cannot read."""
    many = {key: tuple(compile_schema(each) for each in source.get(key) or ()) for key in ("allOf", "anyOf", "oneOf")}
    additional = source.get("additionalProperties")
    node = Schema(
        type=source.get("type", ""),
        properties={name: compile_schema(sub) for name, sub in (source.get("properties") or {}).items()},
        items=compile_schema(source["items"]) if isinstance(source.get("items"), dict) else None,
        additional=compile_schema(additional) if isinstance(additional, dict) else additional,
        preserve=bool(source.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(source.get("x-kubernetes-embedded-resource")),
        int_or_string=bool(source.get("x-kubernetes-int-or-string")),
        nullable=bool(source.get("nullable")),
        has_default="default" in source,
        default=source.get("default"),
        required=tuple(source.get("required") or ()),
        enum=source.get("enum"),
        format=source.get("format", ""),
        bounds={key: source[key] for key in _BOUNDS if source.get(key) is not None},
        list_type=source.get("x-kubernetes-list-type", ""),
        list_keys=tuple(source.get("x-kubernetes-list-map-keys") or ()),
        all_of=many["allOf"],
        any_of=many["anyOf"],
        one_of=many["oneOf"],
        not_=compile_schema(source["not"]) if isinstance(source.get("not"), dict) else None,
    )
    if source.get("pattern"):
        node.pattern_text = source["pattern"]
        try:
            node.pattern = re.compile(_python_pattern(source["pattern"]))
        except re.error as problem:
            raise ValueError(f"pattern {source['pattern']!r} cannot be read: {problem}") from problem
    node.rules = bool(source.get("x-kubernetes-validations")) or any(child.rules for child in children(node))
    return node


def _python_pattern(pattern: str) -> str:
    """RE2's `$` and `\\z` mean the very end; Python's `$` would also match before a last newline."""
    pattern = pattern.replace(r"\z", r"\Z")
    return re.sub(r"(?<!\\)\$(?=$|\))", r"\\Z", pattern)


def children(node: Schema) -> list[Schema]:
    found = [*node.properties.values(), *node.all_of, *node.any_of, *node.one_of]
    found += [each for each in (node.items, node.not_) if each is not None]
    return [*found, node.additional] if isinstance(node.additional, Schema) else found


def normalise_root(node: Schema, document: Object, unknown: Callable[[str], None]) -> None:
    """Prune and default a custom resource in place; `unknown` is told the path of each pruned field."""
    _normalise_object(node, document, "", unknown, _TYPE_META)


def _normalise(node: Schema, value: Json, path: str, unknown: Callable[[str], None]) -> None:
    if isinstance(value, dict):
        _normalise_object(node, value, path, unknown, _TYPE_META if node.embedded else frozenset())
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            if isinstance(item, (dict, list)):
                _normalise(node.items, item, f"{path}[{index}]", unknown)


def _normalise_object(
    node: Schema, value: Object, path: str, unknown: Callable[[str], None], kept: frozenset[str]
) -> None:
    properties, additional = node.properties, node.additional
    for key in list(value):
        sub = properties.get(key)
        if key in kept:
            continue
        if sub is None and isinstance(additional, Schema):
            sub = additional
        if sub is None:
            if not node.preserve and additional is not True:
                unknown(f"{path}.{key}" if path else key)
                del value[key]
            continue
        item = value[key]
        if item is None and not (sub.nullable or (sub.preserve and not sub.type)):
            del value[key]
        elif isinstance(item, (dict, list)):
            _normalise(sub, item, f"{path}.{key}" if path else key, unknown)
    for key, sub in properties.items():
        if sub.has_default and key not in value:
            value[key] = json.loads(json.dumps(sub.default))
            if isinstance(value[key], (dict, list)):
                _normalise(sub, value[key], f"{path}.{key}" if path else key, unknown)
