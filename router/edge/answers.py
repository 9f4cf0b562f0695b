"""What an upstream's status line means, before the first byte to the client. Pure.

The table of the field: a refusal that another cluster might not give is tried elsewhere and
held against whoever deserves it; what is the client's own doing is passed through.
"""

from collections.abc import Sequence

from federation.outcome import OutcomeKind

_REASON_HEADERS = (b"x-tradewind-model-unavailable", b"x-llm-d-request-dropped-reason")
_SERVED = OutcomeKind.SERVED  # Looking a member up costs more than the comparison.
RETRY_AFTER_S_MAX = 3600.0
SENTENCE_BYTES = 4096  # Of an error's body are read.


def meaning(status: int, headers: Sequence[tuple[bytes, bytes]]) -> OutcomeKind:
    """SERVED for 2xx and 3xx, else what went wrong."""
    if status < 400:
        return _SERVED
    if status == 429:
        return OutcomeKind.NO_ROOM
    if status in (401, 403):
        return OutcomeKind.CREDENTIALS
    if status == 404:
        return OutcomeKind.MODEL_MISSING
    if status < 500:
        return OutcomeKind.PASSED_THROUGH
    if status == 503 and any(name in _REASON_HEADERS for name, _ in headers):
        return OutcomeKind.MODEL_UNAVAILABLE
    return OutcomeKind.UNAVAILABLE if status in (502, 503, 504) else OutcomeKind.SERVER_ERROR


def names_the_model(body: bytes) -> bool:
    """Whether a 404 says that the model is missing, as model servers do, and not merely the path.

    A path that a cluster does not serve is the client's own doing; it must not take the model
    out of placement for everyone else.
    """
    sentence = body[:SENTENCE_BYTES].lower()
    absent = b"does not exist" in sentence or b"not found" in sentence
    return b"model_not_found" in sentence or (absent and b"model" in sentence)


def retry_after_s(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Seconds from a Retry-After header, where it gives seconds."""
    for name, value in headers:
        if name == b"retry-after":
            text = value.strip()
            if not text.isdigit():
                return None
            return min(RETRY_AFTER_S_MAX, float(text))
    return None


def is_event_stream(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether an answer's body is a stream of server-sent events."""
    content_type = header(headers, b"content-type")
    return content_type is not None and content_type[:17].lower() == b"text/event-stream"


def header(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    """The first value of a header, by its lower-case name."""
    for name, value in headers:
        if name == wanted:
            return value
    return None
