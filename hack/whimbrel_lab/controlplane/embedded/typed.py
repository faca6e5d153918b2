"""Types of the fields that our own clients write into built-in kinds: Leases and Events.

A real server decodes every built-in kind into typed fields; here only these are held to theirs, in its words.
"""

import re
from collections.abc import Mapping
from typing import Any

from whimbrel_lab.controlplane.embedded.errors import FieldError, Json, Object, bad_request, invalid_value

_MICRO_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}(Z|[+-]\d{2}:\d{2})")
MICRO_TIME, STRING, INTEGER = "MicroTime", "string", "int32"
_LEASE = {
    "holderIdentity": STRING, "leaseDurationSeconds": INTEGER, "leaseTransitions": INTEGER,
    "acquireTime": MICRO_TIME, "renewTime": MICRO_TIME, "strategy": STRING, "preferredHolder": STRING,
}  # fmt: skip
_JSON_NAMES: Mapping[type[Any], str] = {
    str: "string", int: "number", float: "number", bool: "bool", list: "array", dict: "object"
}  # fmt: skip


def check_types(kind: str, path: str, document: Object, types: Mapping[str, str]) -> None:
    """400 for a field that is not of its type, as from a decoder."""
    for name, wanted in types.items():
        if (value := document.get(name)) is not None and (problem := _problem(value, wanted, f"{path}{name}")):
            raise bad_request(f'{kind} in version "v1" cannot be handled as a {kind}: {problem}')


def _problem(value: Json, wanted: str, field: str) -> str:
    fits = isinstance(value, int) and not isinstance(value, bool) if wanted == INTEGER else isinstance(value, str)
    if not fits:
        return f"json: cannot unmarshal {_JSON_NAMES[type(value)]} into Go struct field {field} of type {wanted}"
    if wanted == MICRO_TIME and not _MICRO_TIME.fullmatch(value):
        return f'parsing time "{value}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse it'
    return ""


def check_lease(lease: Object) -> list[FieldError]:
    """A lease's times have microseconds, and its numbers make sense."""
    spec = lease.get("spec") or {}
    check_types("Lease", "LeaseSpec.spec.", spec, _LEASE)
    errors: list[FieldError] = []
    if (duration_s := spec.get("leaseDurationSeconds")) is not None and duration_s <= 0:
        errors.append(invalid_value("spec.leaseDurationSeconds", duration_s, "must be greater than 0"))
    if (transitions := spec.get("leaseTransitions")) is not None and transitions < 0:
        errors.append(invalid_value("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    return errors
