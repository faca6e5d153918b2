"""Validation of custom resources against compiled structural schemas, in kube-apiserver's words."""

import ipaddress
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any

from whimbrel_lab.controlplane.embedded.errors import (
    FieldError,
    Json,
    Object,
    duplicate,
    invalid_value,
    required,
    shown,
    too_long,
    too_many,
    unsupported,
    wrong_type,
)
from whimbrel_lab.controlplane.embedded.schema import Schema


def validate_root(schema: Schema, document: Object) -> list[FieldError]:
    """All errors of a custom resource; its metadata is validated elsewhere."""
    body = {key: value for key, value in document.items() if key not in ("apiVersion", "kind", "metadata")}
    root_required = tuple(key for key in schema.required if key not in ("apiVersion", "kind", "metadata"))
    errors = [required(key) for key in root_required if key not in body]
    for key, value in body.items():
        if sub := schema.properties.get(key):
            errors.extend(validate(sub, value, key))
    errors.extend(_combinations(schema, body, ""))
    return errors


def validate(schema: Schema, value: Json, path: str) -> Iterator[FieldError]:
    """Errors of one value. A value of the wrong type is not looked into."""
    if value is None:
        if not schema.nullable and schema.type:
            yield wrong_type(path, None, f'{path} in body must be of type {schema.type}: "null"')
        return
    if not _type_fits(schema, value):
        wanted = "integer,string" if schema.int_or_string else schema.type
        named = _type_name(value)
        yield wrong_type(path, named, f"{path} in body must be of type {wanted}: {shown(named)}")
        return
    if schema.enum is not None and not any(_same(value, each) for each in schema.enum):
        yield unsupported(path, value, schema.enum)
    if isinstance(value, str):
        yield from _string(schema, value, path)
    elif isinstance(value, bool):
        pass
    elif isinstance(value, (int, float)):
        yield from _number(schema, value, path)
    elif isinstance(value, list):
        yield from _list(schema, value, path)
    elif isinstance(value, dict):
        yield from _object(schema, value, path)
    yield from _combinations(schema, value, path)


def _type_fits(schema: Schema, value: Json) -> bool:
    if schema.int_or_string:
        return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    match schema.type:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
    return True


def _type_name(value: Json) -> str:
    if isinstance(value, bool):
        return "boolean"
    names: dict[type[Any], str] = {
        str: "string", int: "integer", float: "number", list: "array", dict: "object"
    }  # fmt: skip
    return names.get(type(value), "null")


def _same(left: Json, right: Json) -> bool:
    """JSON equality: 1 and 1.0 are equal, 1 and true are not."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _string(schema: Schema, value: str, path: str) -> Iterator[FieldError]:
    bounds = schema.bounds
    if "maxLength" in bounds and len(value) > bounds["maxLength"]:
        yield too_long(path, bounds["maxLength"])
    if "minLength" in bounds and len(value) < bounds["minLength"]:
        yield invalid_value(path, value, f"{path} in body should be at least {bounds['minLength']} chars long")
    if schema.pattern is not None and not schema.pattern.search(value):
        yield invalid_value(path, value, f"{path} in body should match '{schema.pattern_text}'")
    check = _FORMATS.get(schema.format)
    if check is not None and not check(value):
        yield wrong_type(path, value, f"{path} in body must be of type {schema.format}: {shown(value)}")


def _number(schema: Schema, value: float, path: str) -> Iterator[FieldError]:
    bounds = schema.bounds
    if (low := bounds.get("minimum")) is not None:
        if bounds.get("exclusiveMinimum") and value <= low:
            yield invalid_value(path, value, f"{path} in body should be greater than {low}")
        elif value < low:
            yield invalid_value(path, value, f"{path} in body should be greater than or equal to {low}")
    if (high := bounds.get("maximum")) is not None:
        if bounds.get("exclusiveMaximum") and value >= high:
            yield invalid_value(path, value, f"{path} in body should be less than {high}")
        elif value > high:
            yield invalid_value(path, value, f"{path} in body should be less than or equal to {high}")
    if (step := bounds.get("multipleOf")) and value % step:
        yield invalid_value(path, value, f"{path} in body should be a multiple of {step}")
    bits = {"int32": 31, "int64": 63}.get(schema.format)
    if bits is not None and not -(2**bits) <= value < 2**bits:
        yield invalid_value(path, value, f"{path} in body must be of type {schema.format}: {shown(value)}")


def _list(schema: Schema, value: list[Json], path: str) -> Iterator[FieldError]:
    bounds = schema.bounds
    if "maxItems" in bounds and len(value) > bounds["maxItems"]:
        yield too_many(path, len(value), bounds["maxItems"])
    if "minItems" in bounds and len(value) < bounds["minItems"]:
        yield invalid_value(path, len(value), f"{path} in body should have at least {bounds['minItems']} items")
    if bounds.get("uniqueItems") and len({shown(item) for item in value}) < len(value):
        yield invalid_value(path, value, f"{path} in body shouldn't contain duplicates")
    if schema.items is not None:
        for index, item in enumerate(value):
            yield from validate(schema.items, item, f"{path}[{index}]")
    if schema.list_type in ("set", "map"):
        yield from _duplicates(schema, value, path)


def _duplicates(schema: Schema, value: list[Json], path: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    told: set[str] = set()
    for index, item in enumerate(value):
        identity = item
        if schema.list_type == "map":
            if not isinstance(item, dict):
                continue
            identity = {key: item[key] for key in schema.list_keys if key in item}
        key = shown(identity)
        if key in seen and key not in told:
            yield duplicate(f"{path}[{index}]", identity)
            told.add(key)
        seen.add(key)


def _object(schema: Schema, value: Object, path: str) -> Iterator[FieldError]:
    bounds = schema.bounds
    if "maxProperties" in bounds and len(value) > bounds["maxProperties"]:
        yield too_many(path, len(value), bounds["maxProperties"])
    if "minProperties" in bounds and len(value) < bounds["minProperties"]:
        yield invalid_value(
            path, len(value), f"{path} in body should have at least {bounds['minProperties']} properties"
        )
    for key in schema.required:
        if key not in value:
            yield required(f"{path}.{key}")
    additional = schema.additional if isinstance(schema.additional, Schema) else None
    for key, item in value.items():
        sub = schema.properties.get(key, additional)
        if sub is not None:
            yield from validate(sub, item, f"{path}.{key}")


def _fits(schema: Schema, value: Json, path: str) -> bool:
    """Whether a value satisfies one branch; a branch without a type judges by its other parts."""
    return not any(validate(schema, value, path))


def _combinations(schema: Schema, value: Json, path: str) -> Iterator[FieldError]:
    if not (schema.all_of or schema.any_of or schema.one_of or schema.not_):
        return
    said = shown(path)
    branches = () if schema.int_or_string else schema.any_of
    if branches and not any(_fits(each, value, path) for each in branches):
        yield _of_junction(f"{said} must validate at least one schema (anyOf)")
        yield from validate(branches[0], value, path)
    if schema.one_of:
        fitting = sum(_fits(each, value, path) for each in schema.one_of)
        if fitting != 1:
            found = "Found none valid" if not fitting else f"Found {fitting} valid alternatives"
            yield _of_junction(f"{said} must validate one and only one schema (oneOf). {found}")
            if not fitting:
                yield from validate(schema.one_of[0], value, path)
    for each in schema.all_of:
        yield from validate(each, value, path)
    if schema.not_ is not None and _fits(schema.not_, value, path):
        yield _of_junction(f"{said} must not validate the schema (not)")


def _of_junction(detail: str) -> FieldError:
    """The server's validator forgets the place and the value where branches are combined."""
    return invalid_value("<nil>", "", detail)


_DATE_TIME = re.compile(r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$")
_DURATION = re.compile(r"^[+-]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h|d|w))+$|^0$")


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return check


def _date_time(value: str) -> bool:
    if not _DATE_TIME.match(value):
        return False
    return _parses(lambda text: datetime.fromisoformat(text[:19].upper()))(value)


_FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _date_time,
    "date": _parses(date.fromisoformat),
    "duration": lambda value: bool(_DURATION.match(value)),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": _parses(lambda value: ipaddress.ip_network(value, strict=False)),
    "uuid": _parses(uuid.UUID),
}
