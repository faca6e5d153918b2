"""Kubernetes' protobuf for the few messages that kubectl sends in no other form (create, drain, auth can-i).

Field numbers are those of the published `generated.proto` files. Answers are always JSON, which every client reads.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from whimbrel_lab.controlplane.embedded.errors import Json, Object, bad_request, unsupported_media_type

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"


@dataclass(frozen=True, slots=True)
class _Message:
    """Field number → (name, how to read it); names ending in `[]` repeat, those ending in `{}` are map entries."""

    fields: dict[int, tuple[str, "Callable[[bytes | int], Json] | _Message"]] = field(default_factory=dict)


def _text(value: bytes | int) -> str:
    if isinstance(value, int):
        raise bad_request("protobuf: a string was expected")
    return value.decode()


def _base64(value: bytes | int) -> str:
    return base64.b64encode(value if isinstance(value, bytes) else b"").decode()


def _integer(value: bytes | int) -> int:
    if not isinstance(value, int):
        raise bad_request("protobuf: a number was expected")
    return value - (1 << 64) if value >> 63 else value


def _truth(value: bytes | int) -> bool:
    return bool(value)


def _texts(*names: str) -> _Message:
    return _Message({number: (name, _text) for number, name in enumerate(names, 1)})


_TEXT_MAP = _Message({1: ("key", _text), 2: ("value", _text)})
_BYTES_MAP = _Message({1: ("key", _text), 2: ("value", _base64)})
_METADATA = _Message(
    {
        1: ("name", _text),
        2: ("generateName", _text),
        3: ("namespace", _text),
        5: ("uid", _text),
        6: ("resourceVersion", _text),
        11: ("labels{}", _TEXT_MAP),
        12: ("annotations{}", _TEXT_MAP),
        14: ("finalizers[]", _text),
    }
)
_DELETE_OPTIONS = _Message(
    {
        1: ("gracePeriodSeconds", _integer),
        2: ("preconditions", _texts("uid", "resourceVersion")),
        3: ("orphanDependents", _truth),
        4: ("propagationPolicy", _text),
        5: ("dryRun[]", _text),
    }
)
_RULE = _Message(
    {
        number: (f"{name}[]", _text)
        for number, name in enumerate(("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"), 1)
    }
)
_SUBJECT = _texts("kind", "apiGroup", "name", "namespace")
_ATTRIBUTES = _texts("namespace", "verb", "group", "version", "resource", "subresource", "name")
_REVIEW = _Message({1: ("resourceAttributes", _ATTRIBUTES), 2: ("nonResourceAttributes", _texts("path", "verb"))})


def _with_metadata(fields: dict[int, tuple[str, Callable[[bytes | int], Json] | _Message]]) -> _Message:
    return _Message({1: ("metadata", _METADATA), **fields})


_ROLE = _with_metadata({2: ("rules[]", _RULE)})
_BINDING = _with_metadata({2: ("subjects[]", _SUBJECT), 3: ("roleRef", _texts("apiGroup", "kind", "name"))})
_MESSAGES = {
    "ConfigMap": _with_metadata({2: ("data{}", _TEXT_MAP), 3: ("binaryData{}", _BYTES_MAP), 4: ("immutable", _truth)}),
    "Secret": _with_metadata({2: ("data{}", _BYTES_MAP), 3: ("type", _text), 4: ("stringData{}", _TEXT_MAP)}),
    "Namespace": _with_metadata({2: ("spec", _Message({1: ("finalizers[]", _text)}))}),
    "ServiceAccount": _with_metadata({4: ("automountServiceAccountToken", _truth)}),
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _BINDING,
    "ClusterRoleBinding": _BINDING,
    "Eviction": _with_metadata({2: ("deleteOptions", _DELETE_OPTIONS)}),
    "DeleteOptions": _DELETE_OPTIONS,
    "SelfSubjectAccessReview": _with_metadata({2: ("spec", _REVIEW)}),
    "SelfSubjectReview": _with_metadata({}),
    "TokenRequest": _with_metadata(
        {2: ("spec", _Message({1: ("audiences[]", _text), 4: ("expirationSeconds", _integer)}))}
    ),
}


def decode(body: bytes) -> Object:
    """The object in a protobuf body; 415 for kinds that are not read in this form, 400 for what cannot be read."""
    if not body.startswith(_MAGIC):
        raise bad_request("the protobuf body does not begin with its magic number")
    envelope = _Message({1: ("type", _texts("apiVersion", "kind")), 2: ("raw", lambda raw: raw)})
    try:
        outer = _read(envelope, body[len(_MAGIC) :])
        identity = outer.get("type") or {}
        message = _MESSAGES.get(identity.get("kind", ""))
        if message is None:
            raise unsupported_media_type(
                f"the embedded control plane reads {identity.get('kind')} in JSON and YAML only, not in protobuf: "
                "write a manifest and use `kubectl create -f` or `kubectl apply -f`"
            )
        return {**identity, **_read(message, outer.get("raw") or b"")}
    except (IndexError, UnicodeDecodeError) as problem:
        raise bad_request(f"the protobuf body cannot be read: {problem}") from problem


def _read(message: _Message, raw: bytes) -> Object:
    found: Object = {}
    for number, value in _fields(raw):
        if number not in message.fields:
            continue
        name, reader = message.fields[number]
        if not isinstance(reader, _Message):
            item = reader(value)
        elif isinstance(value, bytes):
            item = _read(reader, value)
        else:
            raise bad_request(f"protobuf: {name} is not a message")
        if name.endswith("[]"):
            found.setdefault(name[:-2], []).append(item)
        elif name.endswith("{}"):
            found.setdefault(name[:-2], {})[item.get("key", "")] = item.get("value", "")
        elif item != "":
            found[name] = item
    return found


def _fields(raw: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(field number, value) in the order of the wire: varints as int, length-delimited values as bytes."""
    place = 0
    while place < len(raw):
        key, place = _varint(raw, place)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, place = _varint(raw, place)
            yield number, value
        elif wire_type == 2:
            length, place = _varint(raw, place)
            if place + length > len(raw):
                raise IndexError("it ends early")
            yield number, raw[place : place + length]
            place += length
        else:
            place += 8 if wire_type == 1 else 4


def _varint(raw: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
