"""How an error is told to the client of each API: as its own clients read it, whole or in a stream. Pure.

OpenAI's clients read `{"error": {...}}`, in a stream as a `data:` event. Anthropic's read
`{"type": "error", "error": {...}}`, in a stream under the name `error`. A Responses stream has
an error event of its own, flat; OpenAI's client hands that on like any other event and raises
only on an `error` object, so ours is both.
"""

from enum import StrEnum

import msgspec

from router.errors import Failure, Kind, error_body, error_event, error_headers


class Dialect(StrEnum):
    """Whose API a path belongs to."""

    OPENAI = "openai"
    RESPONSES = "responses"  # OpenAI's too; its streams have events of their own.
    ANTHROPIC = "anthropic"


OPENAI, RESPONSES, ANTHROPIC = Dialect  # Looking a member up costs more than the comparison.

# Anthropic's types by status; for the rest `_client_or_server`.
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class _Error(msgspec.Struct):
    type: str
    message: str


class _Envelope(msgspec.Struct):
    type: str
    error: _Error
    request_id: str | None


class _ErrorObject(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str


class _ResponsesError(msgspec.Struct):
    type: str
    code: str
    message: str
    param: str | None
    sequence_number: int
    error: _ErrorObject


_ENCODE = msgspec.json.Encoder().encode


def told(failure: Failure, dialect: Dialect, request_id: bytes | None = None) -> bytes:
    """The body of an error."""
    return _anthropic(failure, request_id) if dialect is ANTHROPIC else error_body(failure)


def told_in_stream(failure: Failure, dialect: Dialect, request_id: bytes | None, events: int) -> bytes:
    """The last event of a stream that broke after so many events."""
    if dialect is ANTHROPIC:
        return b"event: error\ndata: %s\n\n" % _anthropic(failure, request_id)
    if dialect is RESPONSES:
        kind, message, param = failure.kind.value, failure.message, failure.param
        error = _ErrorObject(message, failure.row.type, param, kind)
        return b"event: error\ndata: %s\n\n" % _ENCODE(_ResponsesError("error", kind, message, param, events, error))
    return error_event(failure)


def told_headers(failure: Failure, dialect: Dialect, request_id: bytes | None = None) -> list[tuple[bytes, bytes]]:
    """The headers of an error; Anthropic's client looks for the request's id under a name of its own."""
    headers = error_headers(failure)
    if dialect is ANTHROPIC and request_id is not None:
        headers.append((b"request-id", request_id))
    return headers


def _anthropic(failure: Failure, request_id: bytes | None) -> bytes:
    known_as = None if request_id is None else request_id.decode("latin-1")
    return _ENCODE(_Envelope("error", _Error(_anthropic_type(failure), failure.message), known_as))


def _anthropic_type(failure: Failure) -> str:
    if failure.kind is Kind.STREAM_BROKEN:
        return "api_error"
    status = failure.row.status
    return ANTHROPIC_TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
