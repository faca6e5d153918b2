"""Every answer that is no answer becomes one of our own errors."""

import pytest

from whimbrel.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Throttled,
    TimedOut,
    Unauthorized,
    Unavailable,
    from_body,
)


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (400, "BadRequest", Invalid),
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", Throttled),
        (500, "InternalError", Unavailable),
        (503, "ServiceUnavailable", Unavailable),
        (504, "Timeout", TimedOut),
        (418, "Teapot", ApiError),
    ],
)
def test_each_code_has_its_type(code: int, reason: str, expected: type[ApiError]) -> None:
    error = from_body(code, f'{{"kind":"Status","reason":"{reason}","message":"the words"}}')

    assert type(error) is expected
    assert str(error) == "the words"


def test_a_kind_that_is_not_served_differs_from_an_object_that_is_missing() -> None:
    of_object = from_body(404, b'{"kind":"Status","reason":"NotFound","message":"x not found"}')
    of_kind = from_body(404, b"404 page not found\n")

    assert isinstance(of_object, NotFound)
    assert of_object.of_object
    assert isinstance(of_kind, NotFound)
    assert not of_kind.of_object


@pytest.mark.parametrize(
    ("header", "body", "expected_s"),
    [("7", "{}", 7.0), (None, '{"details":{"retryAfterSeconds":4}}', 4.0), (None, "", 1.0), ("soon", "{}", 1.0)],
)
def test_throttling_says_when_to_come_back(header: str | None, body: str, expected_s: float) -> None:
    error = from_body(429, body, header)

    assert isinstance(error, Throttled)
    assert error.retry_after_s == expected_s
