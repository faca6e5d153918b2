"""Tolerant reading of raw JSON: whatever a cluster sends, a reader answers with a value of its type and never raises.

Repeated strings and equal label maps are shared, because a cluster repeats itself a hundred thousand times.
Called by the projections alone.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from sys import intern
from typing import Any

from whimbrel.domain.naming import RESERVED
from whimbrel.domain.quantities import bytes_of, millicores_of
from whimbrel.domain.records import Condition, Key, Labels

Json = Mapping[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for a creation time that is absent or unreadable."""

NOTHING: Json = {}

_SHARED_MAPS = 2048
"""How many distinct label maps are remembered for sharing; the most recently seen ones."""

_LONGEST_QUANTITY = 32
_HUGE_EXPONENT = re.compile(r"[eE][+-]?\d{3,}")


def find(document: Json, *path: str) -> Any:
    """The value at a path of members, or None where anything on the way is absent or no object."""
    value: Any = document
    for step in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def text(document: Json, *path: str) -> str:
    """A string; empty where absent or no string. For what differs from object to object."""
    value = find(document, *path)
    return value if isinstance(value, str) else ""


def word(document: Json, *path: str) -> str:
    """A string that many objects repeat, shared; empty where absent or no string."""
    value = find(document, *path)
    return intern(str(value)) if isinstance(value, str) else ""


def flag(document: Json, *path: str) -> bool:
    """True only for a JSON true."""
    return find(document, *path) is True


def optional_flag(document: Json, *path: str) -> bool | None:
    """A boolean, or None where it is not stated."""
    value = find(document, *path)
    return value if isinstance(value, bool) else None


def optional_whole(document: Json, *path: str) -> int | None:
    """A whole number that is not negative, or None."""
    value = find(document, *path)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def whole(document: Json, *path: str, default: int = 0) -> int:
    """A whole number that is not negative; the default where there is none."""
    value = optional_whole(document, *path)
    return default if value is None else value


def member(document: Json, *path: str) -> Json:
    """An object; empty where absent."""
    value = find(document, *path)
    return value if isinstance(value, Mapping) else NOTHING


def items(document: Json, *path: str) -> Iterator[Json]:
    """The objects of a list; whatever else is in it is passed over."""
    value = find(document, *path)
    if isinstance(value, list | tuple):
        yield from (item for item in value if isinstance(item, Mapping))


def strings(document: Json, *path: str) -> tuple[str, ...]:
    """The strings of a list."""
    value = find(document, *path)
    return tuple(intern(str(item)) for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def moment(document: Json, *path: str) -> datetime | None:
    """An RFC 3339 time, aware; None where absent or malformed."""
    value = find(document, *path)
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _quantity_text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        written = str(value)
    except ValueError:  # an integer of more than 4 300 digits
        return None
    return None if len(written) > _LONGEST_QUANTITY or _HUGE_EXPONENT.search(written) else written


@lru_cache(maxsize=4096)
def _memory(written: str) -> int | None:
    try:
        return max(0, bytes_of(written))
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _cpu(written: str) -> int | None:
    try:
        return max(0, millicores_of(written))
    except ValueError:
        return None


def optional_bytes(document: Json, *path: str) -> int | None:
    """Bytes of a quantity, or None where absent or malformed."""
    written = _quantity_text(find(document, *path))
    return None if written is None else _memory(written)


def optional_millicores(document: Json, *path: str) -> int | None:
    """Millicores of a CPU quantity, or None where absent or malformed."""
    written = _quantity_text(find(document, *path))
    return None if written is None else _cpu(written)


def memory_bytes(document: Json, *path: str) -> int:
    """Bytes of a quantity; 0 where absent or malformed."""
    return optional_bytes(document, *path) or 0


def count(document: Json, *path: str) -> int:
    """A quantity of whole things, such as pods; 0 where absent or malformed."""
    return optional_bytes(document, *path) or 0


def millicores(document: Json, *path: str) -> int:
    """Millicores of a CPU quantity; 0 where absent or malformed."""
    return optional_millicores(document, *path) or 0


@lru_cache(maxsize=4096)
def one_of(amount: int) -> int:
    """An equal number that other records share, if its like was seen lately: sizes repeat."""
    return amount


@lru_cache(maxsize=_SHARED_MAPS)
def _shared(pairs: frozenset[tuple[str, str]]) -> Labels:
    return dict(sorted(pairs))


def shared(labels: Mapping[str, str]) -> Labels:
    """An equal map that other records share, if its like was seen lately."""
    return _shared(frozenset(labels.items()))


def string_map(document: Json, *path: str, without: frozenset[str] = frozenset()) -> dict[str, str]:
    """The members of an object that are strings, except those named; names and values shared."""
    return {
        intern(str(name)): intern(str(value))
        for name, value in member(document, *path).items()
        if isinstance(value, str) and name not in without
    }


def labels_of(document: Json) -> Labels:
    """All labels of an object, shared."""
    return shared(string_map(document, "metadata", "labels"))


def reserved(document: Json, *path: str) -> Labels:
    """The members of a label or annotation map that are under whimbrel.dev/, shared."""
    return shared({name: value for name, value in string_map(document, *path).items() if name.startswith(RESERVED)})


def key_of(document: Json) -> Key | None:
    """Namespace and name; None for an object without a name, which no server sends."""
    name = text(document, "metadata", "name")
    return Key(word(document, "metadata", "namespace"), name) if name else None


def created_at(document: Json) -> datetime:
    """Creation time; the epoch where it is absent."""
    return moment(document, "metadata", "creationTimestamp") or EPOCH


def deleting(document: Json) -> bool:
    """Whether a deletion was asked for."""
    return bool(find(document, "metadata", "deletionTimestamp"))


@lru_cache(maxsize=1024)
def _condition(status: str, reason: str, message: str) -> Condition:
    return Condition(status, reason, message)


def condition(document: Json, kind: str) -> Condition | None:
    """The condition of this type, shared by value; None where there is none."""
    for item in items(document, "status", "conditions"):
        if item.get("type") == kind:
            return _condition(text(item, "status"), text(item, "reason"), text(item, "message"))
    return None
