"""What can come back from the API server instead of an answer, as types the rest of the shell can tell apart.

`KubeApi` translates every failure into one of these, network errors and bare timeouts included.
"""

import json
from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """The API server did not answer as hoped. `message` is the server's, in its words."""

    code = 0

    def __init__(self, message: str, *, reason: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        if code is not None:
            self.code = code


class NotFound(ApiError):
    """404. `of_object` tells a missing object from a kind that is not served at all."""

    code = 404

    @property
    def of_object(self) -> bool:
        """Whether the server knows the kind and misses only the object."""
        return self.reason == "NotFound"


class Conflict(ApiError):
    """409: resourceVersion or UID is not what the write supposed."""

    code = 409


class AlreadyExists(Conflict):
    """409 on a create: the name is taken."""


class Invalid(ApiError):
    """400 or 422: schema, admission or a failed test of a JSON patch."""

    code = 422

    @property
    def of_unserved_field(self) -> bool:
        """Whether strict validation met a field that is not served. Only the text tells it from other bad requests."""
        return "strict decoding error" in self.message and "unknown field" in self.message


class Forbidden(ApiError):
    """403: a role is missing, or admission denies it."""

    code = 403


class Unauthorized(ApiError):
    """401: the credentials are wrong or have expired."""

    code = 401


class Gone(ApiError):
    """410: the version or the continue token has expired; only a new list helps."""

    code = 410


class Throttled(ApiError):
    """429: come back after `retry_after_s`."""

    code = 429

    def __init__(self, message: str, *, retry_after_s: float = 1.0, reason: str = "") -> None:
        super().__init__(message, reason=reason)
        self.retry_after_s = retry_after_s


class Unavailable(ApiError):
    """5xx or no connection: whether a write was applied is unknown."""

    code = 503


class TimedOut(Unavailable):
    """No answer in time: whether a write was applied is unknown."""

    code = 504


class Silent(TimedOut):
    """A watch that was opened and then said nothing for too long."""


class Garbled(Unavailable):
    """An answer that is not what the API speaks (cut off, or not JSON)."""

    code = 502


_BY_CODE: Mapping[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
}


def from_status(code: int, status: Mapping[str, Any], retry_after_s: float | None = None) -> ApiError:
    """The error that an HTTP code and a `Status` object (perhaps empty) stand for."""
    reason = str(status.get("reason") or "")
    message = str(status.get("message") or reason or f"HTTP {code}")
    if code == 429:
        stated = (status.get("details") or {}).get("retryAfterSeconds")
        return Throttled(message, retry_after_s=float(retry_after_s or stated or 1.0), reason=reason)
    if code == 409 and reason == "AlreadyExists":
        return AlreadyExists(message, reason=reason)
    if kind := _BY_CODE.get(code):
        return kind(message, reason=reason, code=code)
    if code == 504:
        return TimedOut(message, reason=reason)
    if code >= 500:
        return Unavailable(message, reason=reason, code=code)
    return ApiError(message, reason=reason, code=code)


def from_body(code: int, body: str | bytes | None, retry_after: str | None = None) -> ApiError:
    """As `from_status`, from the raw body of the answer and its Retry-After header."""
    status: object = None
    try:
        status = json.loads(body) if body else None
    except ValueError:
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
        status = {"message": (text or "").strip()[:500]}
    try:
        retry_after_s = float(retry_after) if retry_after else None
    except ValueError:
        retry_after_s = None
    return from_status(code, status if isinstance(status, dict) else {}, retry_after_s)
