"""Lists: selectors, pages that show one version, and versions that are too old or not there yet."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass

from whimbrel_lab.controlplane.embedded.errors import ApiError, Object, bad_request, expired, forbidden_field, invalid
from whimbrel_lab.controlplane.embedded.kinds import Kind
from whimbrel_lab.controlplane.embedded.selectors import Predicate, both, field_selector, label_selector
from whimbrel_lab.controlplane.embedded.storage import Key, Record, Storage, TooOld, encode

_CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a list request; `metadata` is the list's own."""

    records: list[Record]
    metadata: Object


def predicate_of(kind: Kind, query: Mapping[str, str]) -> Predicate | None:
    """The request's label and field selectors as one predicate on shown objects."""
    return both(label_selector(query.get("labelSelector", "")), field_selector(query.get("fieldSelector", ""), kind))


def number(query: Mapping[str, str], key: str) -> int:
    """A non-negative integer parameter; 0 when absent, 400 when it is none."""
    text = query.get(key, "")
    if not text:
        return 0
    if not text.isdigit():
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def not_a_version(text: str) -> str:
    """The server's words for a resourceVersion that is no number."""
    return f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'


def _check_options(query: Mapping[str, str]) -> None:
    match = query.get("resourceVersionMatch", "")
    problem = None
    if match and not query.get("resourceVersion"):
        problem = "resourceVersionMatch is forbidden unless resourceVersion is provided"
    elif match and query.get("continue"):
        problem = "resourceVersionMatch is forbidden when continue is provided"
    elif match == "Exact" and query.get("resourceVersion") == "0":
        problem = 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'
    elif query.get("sendInitialEvents"):
        error = forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list")
        raise invalid("meta.k8s.io", "ListOptions", "", [error])
    if problem:
        raise invalid("meta.k8s.io", "ListOptions", "", [forbidden_field("resourceVersionMatch", problem)])


def list_page(storage: Storage, kind: Kind, namespace: str, query: Mapping[str, str]) -> Page:
    """The page that a list request asks for."""
    _check_options(query)
    predicate = predicate_of(kind, query)
    limit = number(query, "limit") if query.get("resourceVersion") != "0" else 0
    version, start = _place(storage, query)
    table = storage.table(kind.resource)
    records, keys = table.records, table.keys(namespace)
    if version < storage.version:
        try:
            records = table.at(version)
        except TooOld as old:
            raise expired(f"The resourceVersion for the provided list is too old: {version}") from old
        if records is not table.records:
            keys = sorted(key for key in records if not namespace or key[0] == namespace)
    page = _cut(records, keys, predicate, limit, start, version)
    if kind.custom:
        page.metadata.setdefault("continue", "")  # custom lists always carry the field
    return page


def _cut(
    records: Mapping[Key, Record],
    keys: list[Key],
    predicate: Predicate | None,
    limit: int,
    start: Key | None,
    version: int,
) -> Page:
    metadata: Object = {"resourceVersion": str(version)}
    if not limit and start is None and predicate is None:
        return Page([records[key] for key in keys], metadata)
    chosen: list[Record] = []
    for index, key in enumerate(keys):
        if start is not None and key <= start:
            continue
        record = records[key]
        if predicate is not None and not predicate(record.object):
            continue
        if limit and len(chosen) == limit:
            metadata["continue"] = _token(version, chosen[-1].key)
            if predicate is None:
                metadata["remainingItemCount"] = len(keys) - index
            break
        chosen.append(record)
    return Page(chosen, metadata)


def _place(storage: Storage, query: Mapping[str, str]) -> tuple[int, Key | None]:
    """(version to show, key after which to start)."""
    if token := query.get("continue"):
        version, start = _parse_token(token)
        if version < 0:
            return storage.version, start
        if version < storage.compacted:
            raise expired(_CONTINUE_EXPIRED, _token(-1, start))
        return version, start
    text = query.get("resourceVersion") or "0"
    if not text.isdigit():
        raise bad_request(f"invalid resource version: {not_a_version(text)}")
    asked = int(text)
    if asked > storage.version:
        text = f"Too large resource version: {asked}, current: {storage.version}"
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        raise ApiError(504, "Timeout", text, {"causes": [cause]}, retry_after_s=1)
    if asked and query.get("resourceVersionMatch") == "Exact":
        if asked < storage.compacted:
            raise expired(f"The resourceVersion for the provided list is too old: {asked}")
        return asked, None
    return storage.version, None


def _token(version: int, after: Key) -> str:
    plain = encode({"v": "meta.k8s.io/v1", "rv": version, "start": list(after)})
    return base64.urlsafe_b64encode(plain).decode().rstrip("=")


def _parse_token(token: str) -> tuple[int, Key]:
    try:
        plain = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(plain["rv"]), (str(plain["start"][0]), str(plain["start"][1]))
    except (binascii.Error, ValueError, KeyError, TypeError, IndexError) as problem:
        raise bad_request("continue key is not valid: the token cannot be read") from problem
