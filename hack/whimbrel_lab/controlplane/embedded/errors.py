"""Refusals of the embedded API server, worded as kube-apiserver words them.

Every refusal is an `ApiError`; the HTTP layer turns it into a `Status` object. Field errors carry the causes that
clients (and people) read.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = Any
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field; `text` is the whole wording behind the field's path."""

    field: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


def shown(value: Json) -> str:
    """A bad value as the API server prints it: strings quoted, numbers plain, the rest as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def invalid_value(field: str, value: Json, detail: str) -> FieldError:
    return FieldError(field, "FieldValueInvalid", f"Invalid value: {shown(value)}: {detail}")


def wrong_type(field: str, value: Json, detail: str) -> FieldError:
    return FieldError(field, "FieldValueTypeInvalid", f"Invalid value: {shown(value)}: {detail}")


def required(field: str, detail: str = "") -> FieldError:
    return FieldError(field, "FieldValueRequired", "Required value" + (f": {detail}" if detail else ""))


def unsupported(field: str, value: Json, supported: Sequence[Json]) -> FieldError:
    known = ", ".join(shown(each if isinstance(each, str) else shown(each)) for each in supported)
    return FieldError(field, "FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {known}")


def duplicate(field: str, value: Json) -> FieldError:
    return FieldError(field, "FieldValueDuplicate", f"Duplicate value: {shown(value)}")


def forbidden_field(field: str, detail: str) -> FieldError:
    return FieldError(field, "FieldValueForbidden", f"Forbidden: {detail}")


def too_long(field: str, maximum: int) -> FieldError:
    return FieldError(field, "FieldValueTooLong", f"Too long: may not be more than {maximum} bytes")


def too_many(field: str, count: int, maximum: int, what: str = "items") -> FieldError:
    return FieldError(field, "FieldValueTooMany", f"Too many: {count}: must have at most {maximum} {what}")


class ApiError(Exception):
    """A refusal: HTTP code, machine-readable reason, message, and what it is about."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Object | None = None,
        retry_after_s: int | None = None,
        continue_token: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after_s = retry_after_s
        self.continue_token = continue_token

    def status(self) -> Object:
        """The `Status` object that is sent to the client."""
        metadata: Object = {"continue": self.continue_token} if self.continue_token else {}
        document: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            document["reason"] = self.reason
        details = dict(self.details or {})
        if self.retry_after_s is not None:
            details["retryAfterSeconds"] = self.retry_after_s
        if details or self.details is not None:
            document["details"] = details
        document["code"] = self.code
        return document


def about(group: str, plural: str, name: str) -> Object:
    """The `details` of most refusals; empty parts are left out."""
    return {key: value for key, value in (("name", name), ("group", group), ("kind", plural)) if value}


def qualified(group: str, plural: str) -> str:
    """`virtualmachines.kubevirt.io`, or `pods` in the core group."""
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> ApiError:
    text = f'{qualified(group, plural)} "{name}" not found'
    return ApiError(404, "NotFound", text, about(group, plural, name))


def already_exists(group: str, plural: str, name: str) -> ApiError:
    text = f'{qualified(group, plural)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", text, about(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str = "") -> ApiError:
    because = why or ("the object has been modified; please apply your changes to the latest version and try again")
    text = f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {because}'
    return ApiError(409, "Conflict", text, about(group, plural, name))


def invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> ApiError:
    """422 with one cause per field error."""
    listed = str(errors[0]) if len(errors) == 1 else "[" + ", ".join(str(each) for each in errors) + "]"
    text = f'{f"{kind}.{group}" if group else kind} "{name}" is invalid: {listed}'
    details = about(group, kind, name)
    details["causes"] = [{"reason": e.reason, "message": e.text, "field": e.field} for e in errors]
    return ApiError(422, "Invalid", text, details)


def forbidden(group: str, plural: str, name: str, why: str, causes: Sequence[Object] = ()) -> ApiError:
    subject = f'{qualified(group, plural)} "{name}"' if name else qualified(group, plural)
    details = about(group, plural, name)
    if causes:
        details["causes"] = list(causes)
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}", details)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def expired(message: str, continue_token: str | None = None) -> ApiError:
    return ApiError(410, "Expired", message, continue_token=continue_token)


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def no_such_resource() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


_ELSEWHERE = frozenset({"attach", "ephemeralcontainers", "exec", "log", "portforward", "proxy", "resize", "scale"})


def no_such_subresource(plural: str, subresource: str) -> ApiError:
    """404; in words where a real API server has this subresource."""
    if subresource not in _ELSEWHERE:
        return no_such_resource()
    return ApiError(
        404, "NotFound", f"the embedded control plane has no {plural}/{subresource}; use a real API server", {}
    )


def unsupported_media_type(message: str) -> ApiError:
    return ApiError(415, "UnsupportedMediaType", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")
