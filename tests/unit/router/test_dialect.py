"""Errors as the clients of each API read them."""

import json

import pytest

from router.dialect import Dialect, told, told_headers, told_in_stream
from router.errors import Failure, Kind, error_body, error_event, error_headers

OPENAI, RESPONSES, ANTHROPIC = Dialect


@pytest.mark.parametrize("dialect", [OPENAI, RESPONSES])
@pytest.mark.parametrize("kind", Kind)
def test_openai_is_told_as_ever(kind: Kind, dialect: Dialect) -> None:
    failure = Failure(kind, "Why.", "model")
    assert told(failure, dialect, "r") == error_body(failure)
    assert told_headers(failure, dialect, "r") == error_headers(failure)
    assert told_in_stream(failure, OPENAI, "r", 3) == error_event(failure)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.BAD_BODY, "invalid_request_error"),
        (Kind.INVALID_API_KEY, "authentication_error"),
        (Kind.MODEL_NOT_ALLOWED, "permission_error"),
        (Kind.MODEL_NOT_FOUND, "not_found_error"),
        (Kind.METHOD_NOT_ALLOWED, "invalid_request_error"),
        (Kind.REQUEST_TIMEOUT, "invalid_request_error"),
        (Kind.BODY_TOO_LARGE, "request_too_large"),
        (Kind.NO_ROOM, "rate_limit_error"),
        (Kind.INTERNAL, "api_error"),
        (Kind.UPSTREAM_FAILED, "api_error"),
        (Kind.NO_CLUSTER, "overloaded_error"),
        (Kind.DEADLINE_EXCEEDED, "timeout_error"),
        (Kind.STREAM_BROKEN, "api_error"),
    ],
)
def test_anthropic_has_types_of_its_own(kind: Kind, name: str) -> None:
    body = json.loads(told(Failure(kind, 'It said "no".'), ANTHROPIC, b"req_1"))
    assert body == {"type": "error", "error": {"type": name, "message": 'It said "no".'}, "request_id": "req_1"}


def test_anthropic_stream_breaks_with_a_named_event() -> None:
    failure = Failure(Kind.STREAM_BROKEN, "Broke.")
    name, data, *rest = told_in_stream(failure, ANTHROPIC, b"req_1", 9).split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    assert data == b"data: " + told(failure, ANTHROPIC, b"req_1")


def test_responses_stream_breaks_with_its_own_event_that_openai_raises_on() -> None:
    """Flat, as the API has it, and with the object that makes its client raise."""
    name, data, *rest = told_in_stream(Failure(Kind.STREAM_BROKEN, "Broke."), RESPONSES, None, 4).split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    event = json.loads(data.removeprefix(b"data: "))
    error = event.pop("error")
    assert event == {"type": "error", "code": "stream_broken", "message": "Broke.", "param": None, "sequence_number": 4}
    assert error == {"message": "Broke.", "type": "server_error", "param": None, "code": "stream_broken"}


def test_anthropic_client_finds_the_id_of_its_request() -> None:
    failure = Failure(Kind.NO_CLUSTER, "None.")
    assert told_headers(failure, ANTHROPIC, b"req_1") == [*error_headers(failure), (b"request-id", b"req_1")]
    assert told_headers(failure, ANTHROPIC) == error_headers(failure)
