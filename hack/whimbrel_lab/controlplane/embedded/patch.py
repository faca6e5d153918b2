"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902), neither of which changes its input."""

import copy
import json
from dataclasses import dataclass

from whimbrel_lab.controlplane.embedded.errors import ApiError, Json, Object, bad_request

MERGE_PATCH, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC_PATCH, APPLY_PATCH = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
_APPLY_REFUSED = (
    "server-side apply (application/apply-patch+yaml) is not supported by the embedded control plane; use a real API "
    "server, or a merge patch, a JSON patch or PUT"
)


def check_media_type(media_type: str, custom: bool) -> None:
    """415 for a patch of a type that is not offered: custom kinds take no strategic ones, nobody takes apply."""
    if media_type == APPLY_PATCH:
        raise ApiError(415, "UnsupportedMediaType", _APPLY_REFUSED)
    if media_type in (MERGE_PATCH, JSON_PATCH) or (media_type == STRATEGIC_PATCH and not custom):
        return
    if not custom:
        raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    text = "the body of the request was in an unknown format - accepted media types include: "
    raise ApiError(415, "UnsupportedMediaType", f"{text}{JSON_PATCH}, {MERGE_PATCH}")


def merge(target: Json, patch: Json) -> Json:
    """The target after a merge patch. Untouched parts are shared with the target, which stays as it was."""
    if not isinstance(patch, dict):
        return patch
    merged: Object = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = merge(merged.get(key), value)
        else:
            merged[key] = value
    return merged


_sorted_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class _PathError(Exception):
    """An operation that names a place that is not there, or a test that failed."""


@dataclass(frozen=True, slots=True)
class _Place:
    container: Json
    key: Json

    def read(self) -> Json:
        if isinstance(self.container, dict) and self.key in self.container:
            return self.container[self.key]
        if isinstance(self.container, list) and isinstance(self.key, int) and self.key < len(self.container):
            return self.container[self.key]
        raise _PathError

    def add(self, value: Json) -> None:
        if isinstance(self.container, dict):
            self.container[self.key] = value
        elif self.key <= len(self.container):
            self.container.insert(self.key, value)
        else:
            raise _PathError

    def replace(self, value: Json) -> None:
        self.read()
        self.container[self.key] = value

    def remove(self) -> Json:
        value = self.read()
        del self.container[self.key]
        return value


def json_patch(target: Json, operations: Json) -> Json:
    """The target after a JSON patch; 400 for what is no patch, 422 when a test or a path fails."""
    if not isinstance(operations, list):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        )
    document = [copy.deepcopy(target)]
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise bad_request("error decoding patch: each operation needs an op and a path")
        try:
            _apply(document, operation)
        except (_PathError, IndexError, KeyError) as problem:
            text = "the server rejected our request due to an error in our request"
            raise ApiError(422, "Invalid", text, {}) from problem
    return document[0]


def _apply(document: list[Json], operation: Object) -> None:
    place = _locate(document, operation["path"])
    match operation.get("op"):
        case "add":
            _overwrite(document, place, operation)
        case "remove":
            place.remove()
        case "replace":
            place.replace(copy.deepcopy(operation["value"]))
        case "test":
            _test(place, operation.get("value"))
        case "move":
            value = _locate(document, operation["from"]).remove()
            _locate(document, operation["path"]).add(value)
        case "copy":
            place.add(copy.deepcopy(_locate(document, operation["from"]).read()))
        case _:
            raise _PathError


def _overwrite(document: list[Json], place: _Place, operation: Object) -> None:
    value = copy.deepcopy(operation["value"])
    if place.container is document:
        document[0] = value
    else:
        place.add(value)


def _test(place: _Place, wanted: Json) -> None:
    """A test for null passes where the field is absent, as in the API server's library."""
    try:
        found = place.read()
    except _PathError:
        found = None
    if not equal(found, wanted):
        raise _PathError


def equal(left: Json, right: Json) -> bool:
    """JSON equality, in which true is not 1.

    Python's own comparison is fast and only ever too lenient; what it calls equal is compared as text.
    """
    if left != right:
        return False
    return _sorted_json(left) == _sorted_json(right) or _equal(left, right)


def _equal(left: Json, right: Json) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_equal(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _locate(document: list[Json], pointer: str) -> _Place:
    if pointer == "":
        return _Place(document, 0)
    if not pointer.startswith("/"):
        raise _PathError
    place = _Place(document, 0)
    for token in pointer[1:].split("/"):
        container = place.read()
        key: Json = token.replace("~1", "/").replace("~0", "~")
        if isinstance(container, list):
            key = len(container) if key == "-" else _index(key)
        elif not isinstance(container, dict):
            raise _PathError
        place = _Place(container, key)
    return place


def _index(token: str) -> int:
    if not token.isdigit():
        raise _PathError
    return int(token)
