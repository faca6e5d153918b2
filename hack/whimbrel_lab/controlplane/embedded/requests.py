"""What an HTTP request asks: path, verb, body and the wanted form of the answer, without any state."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from whimbrel_lab.controlplane.embedded import protobuf
from whimbrel_lab.controlplane.embedded.errors import Json, Object, bad_request, unsupported_media_type

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
TRUE = ("1", "true", "True")


@dataclass(frozen=True, slots=True)
class Route:
    """A resource path taken apart."""

    group: str
    version: str
    namespace: str
    plural: str
    name: str
    subresource: str


def route(path: str) -> Route | None:
    """The route of a resource path, None when it is no resource path."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and not (not group and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3:
        return None
    name, subresource = [*rest, "", ""][1:3]
    return Route(group, version, namespace, rest[0], name, subresource)


def verb_of(method: str, named: bool, query: Mapping[str, str]) -> str | None:
    """Kubernetes' verb for an HTTP method; None for a method that is no verb."""
    verb = _VERBS.get(method)
    if verb == "get" and not named:
        return "watch" if query.get("watch") in TRUE else "list"
    if verb == "delete" and not named:
        return "deletecollection"
    return verb


class _Duplicates(dict[str, Json]):
    """An object in which keys occurred twice."""

    twice: tuple[str, ...] = ()


def _pairs(pairs: list[tuple[str, Json]]) -> Object:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    keys = [key for key, _ in pairs]
    marked = _Duplicates(found)
    marked.twice = tuple(sorted({key for key in keys if keys.count(key) > 1}))
    return marked


def parse_body(body: bytes, content_type: str) -> Json:
    """A JSON or YAML body; None when empty; 400 for what cannot be read, 415 for other media types."""
    if not body:
        return None
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == protobuf.MEDIA_TYPE:
        return protobuf.decode(body)
    try:
        if media_type in ("application/yaml", "application/apply-patch+yaml"):
            return yaml.safe_load(body)
        if media_type in ("", "application/json", "*/*") or media_type.endswith("+json"):
            return json.loads(body, object_pairs_hook=_pairs)
    except (ValueError, yaml.YAMLError, RecursionError) as problem:
        raise bad_request(f"couldn't get version/kind; json parse error: {problem}") from problem
    raise unsupported_media_type(
        "the body of the request was in an unknown format - accepted media types include: application/json, "
        "application/yaml, application/vnd.kubernetes.protobuf"
    )


def duplicate_fields(value: Json, path: str = "") -> list[str]:
    """Paths of keys that occur twice in one object of a parsed body."""
    found: list[str] = []
    if isinstance(value, dict):
        if isinstance(value, _Duplicates):
            found += [f"{path}.{key}" if path else key for key in value.twice]
        for key, item in value.items():
            if isinstance(item, (dict, list)):
                found += duplicate_fields(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += duplicate_fields(item, f"{path}[{index}]")
    return found


def accepts_json(accept: str) -> bool:
    """Whether a client that sends this Accept header can read JSON."""
    types = {wanted.partition(";")[0].strip() for wanted in accept.split(",")}
    return bool(types & {"", "application/json", "application/*", "*/*"})


def shape_of(accept: str) -> str:
    """`Table`, `PartialObjectMetadata` or empty: the form of objects that the client prefers among those offered."""
    for wanted in accept.split(","):
        parts = [part.strip() for part in wanted.split(";")]
        if parts[0] not in ("application/json", "application/*", "*/*"):
            continue
        form = next((part[3:] for part in parts if part.startswith("as=")), "")
        if form == "Table":
            return "Table"
        if form.startswith("PartialObjectMetadata"):
            return "PartialObjectMetadata"
        return ""
    return ""
