"""What a client may be told went wrong, and how.

    downstream  (the request's own doing)     router  (ours, or the fleet's state)     upstream  (a cluster's doing)
    ├─ bad_http                400            ├─ invalid_api_key        401            ├─ upstream_failed      502
    ├─ bad_body                400            ├─ model_not_allowed      403            ├─ upstream_credentials 502
    ├─ bad_header              400            ├─ model_not_found        404            ├─ clusters_broken      502
    ├─ not_found               404            ├─ no_room                429            ├─ first_byte_timeout   504
    ├─ method_not_allowed      405            ├─ no_cluster             503            ├─ stream_broken  (error event)
    ├─ body_too_large          413            ├─ nobody_connected       503
    ├─ encoded_body            415            ├─ deadline_exceeded      504
    ├─ request_timeout         408            ├─ too_busy               503
    ├─ headers_too_large       431            └─ internal               500
    └─ refused_by_cluster      400

429 is "no room, come back"; 503 "nobody serves this now"; 504 "not in time"; 502 "a cluster
took it and failed". After the first byte there is no status any more, only the event.
"""

from dataclasses import dataclass
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """Stable names: the `code` of the error object and a metric label."""

    __hash__ = str.__hash__  # The enumeration's own takes ten times as long.

    BAD_HTTP = "bad_http"
    BAD_BODY = "bad_body"
    BAD_HEADER = "bad_header"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BODY_TOO_LARGE = "body_too_large"
    ENCODED_BODY = "encoded_body"
    REQUEST_TIMEOUT = "request_timeout"
    HEADERS_TOO_LARGE = "headers_too_large"
    INVALID_API_KEY = "invalid_api_key"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    MODEL_NOT_FOUND = "model_not_found"
    NO_ROOM = "no_room"
    NO_CLUSTER = "no_cluster"
    NOBODY_CONNECTED = "nobody_connected"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    TOO_BUSY = "too_busy"
    INTERNAL = "internal"
    UPSTREAM_FAILED = "upstream_failed"
    UPSTREAM_CREDENTIALS = "upstream_credentials"
    CLUSTERS_BROKEN = "clusters_broken"
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    STREAM_BROKEN = "stream_broken"
    REFUSED_BY_CLUSTER = "refused_by_cluster"


@dataclass(frozen=True, slots=True)
class Row:
    """How a kind is told. `retry` says whether the same call may succeed later."""

    status: int
    type: str
    origin: str
    retry: bool


_DOWN = ("invalid_request_error", "downstream")
_ROUTER = ("server_error", "router")
_UP = ("server_error", "upstream")

TABLE: dict[Kind, Row] = {
    Kind.BAD_HTTP: Row(400, *_DOWN, retry=False),
    Kind.BAD_BODY: Row(400, *_DOWN, retry=False),
    Kind.BAD_HEADER: Row(400, *_DOWN, retry=False),
    Kind.NOT_FOUND: Row(404, *_DOWN, retry=False),
    Kind.METHOD_NOT_ALLOWED: Row(405, *_DOWN, retry=False),
    Kind.BODY_TOO_LARGE: Row(413, *_DOWN, retry=False),
    Kind.ENCODED_BODY: Row(415, *_DOWN, retry=False),
    Kind.REQUEST_TIMEOUT: Row(408, *_DOWN, retry=True),
    Kind.HEADERS_TOO_LARGE: Row(431, *_DOWN, retry=False),
    Kind.INVALID_API_KEY: Row(401, "authentication_error", "router", retry=False),
    Kind.MODEL_NOT_ALLOWED: Row(403, "permission_error", "router", retry=False),
    Kind.MODEL_NOT_FOUND: Row(404, "invalid_request_error", "router", retry=False),
    Kind.NO_ROOM: Row(429, "rate_limit_error", "router", retry=True),
    Kind.NO_CLUSTER: Row(503, *_ROUTER, retry=True),
    Kind.NOBODY_CONNECTED: Row(503, *_ROUTER, retry=True),
    Kind.DEADLINE_EXCEEDED: Row(504, *_ROUTER, retry=False),
    Kind.TOO_BUSY: Row(503, *_ROUTER, retry=True),
    Kind.INTERNAL: Row(500, *_ROUTER, retry=True),
    Kind.UPSTREAM_FAILED: Row(502, *_UP, retry=True),
    Kind.UPSTREAM_CREDENTIALS: Row(502, *_UP, retry=False),
    Kind.CLUSTERS_BROKEN: Row(502, *_UP, retry=False),  # Suspected of killing servers: not invited to go on.
    Kind.FIRST_BYTE_TIMEOUT: Row(504, *_UP, retry=True),
    Kind.STREAM_BROKEN: Row(502, *_UP, retry=True),
    Kind.REFUSED_BY_CLUSTER: Row(400, *_DOWN, retry=False),  # Told as an event, behind a head that is out.
}

RETRY_AFTER_S = 1  # Where nothing better is known: about the time in which a cluster is ejected or found again.


@dataclass(frozen=True, slots=True)
class Failure:
    """One error as it will be told to the client."""

    kind: Kind
    message: str
    param: str | None = None
    retry_after_s: int | None = None

    @property
    def row(self) -> Row:
        return TABLE[self.kind]


class _Error(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str


class _Envelope(msgspec.Struct):
    error: _Error


_ENCODE = msgspec.json.Encoder().encode


def error_body(failure: Failure) -> bytes:
    """The OpenAI error object."""
    return _ENCODE(_Envelope(_Error(failure.message, failure.row.type, failure.param, failure.kind)))


def error_event(failure: Failure) -> bytes:
    """The same object as the last event of a stream; never followed by [DONE]."""
    return b"data: %s\n\n" % error_body(failure)


def error_headers(failure: Failure) -> list[tuple[bytes, bytes]]:
    """Headers that tell a client whether trying again can help."""
    headers = [(b"content-type", b"application/json")]
    row = failure.row
    if row.retry:
        if row.status in (429, 503):
            seconds = failure.retry_after_s if failure.retry_after_s is not None else RETRY_AFTER_S
            headers.append((b"retry-after", b"%d" % max(1, seconds)))
    else:
        headers.append((b"x-should-retry", b"false"))
    if failure.kind is Kind.INVALID_API_KEY:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
