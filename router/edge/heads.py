"""Heads: what of a request's head goes on to a cluster, and what of an answer's goes back.

Pure. Dropped on the way up: hop-by-hop headers and those that `Connection` names, the
client's credentials and cookies, and every header by which a client could pose as us or as
a proxy. Dropped on the way down: hop-by-hop headers, cookies, and names that are ours.
"""

from collections.abc import Sequence
from enum import Enum

from router.edge.request_head import RequestHead

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_DROPPED_UP = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"authorization",
    b"api-key",
    b"x-api-key",
    b"cookie",
    b"accept-encoding",  # Bytes are passed on as they come; compressed streams cannot be continued.
    b"forwarded",
    b"via",
    b"x-real-ip",
    b"x-client-region",
    b"x-request-id",
}
_DROPPED_UP_PREFIXES = (b"x-tradewind-", b"x-forwarded-", b"proxy-", b"x-gateway-", b"x-llm-d-", b"x-envoy-")
_DROPPED_DOWN = HOP_BY_HOP | {b"content-length", b"set-cookie", b"server", b"alt-svc", b"x-request-id"}
# Which pages may read an answer is for the front door to say: see router.cors.
_DROPPED_DOWN_PREFIXES = (b"x-tradewind-", b"proxy-", b"x-envoy-", b"access-control-")

_PLAIN_CONNECTION = (b"keep-alive", b"close", b"Keep-Alive", b"Close")  # Name no header.

REQUEST_ID_LENGTH_MAX = 128
_REQUEST_ID_CHARACTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/")
NAMES_REMEMBERED_MAX = 1024
NAME_LENGTH_REMEMBERED_MAX = 64


class BadHead(ValueError):
    """A head that parsers could read differently, or that lacks what HTTP demands."""


class Fate(Enum):
    """What becomes of a header line that we do not read ourselves."""

    FORWARD = "forward"
    DROP = "drop"


FORWARD = Fate.FORWARD  # Looking a member up costs more than the comparison.


# Headers that we read ourselves: attribute of RequestHead, and whether it also goes on.
_READ: dict[bytes, str] = {
    b"authorization": "authorization",
    b"x-api-key": "api_key",
    b"x-request-id": "request_id",
    b"x-tradewind-priority": "priority",
    b"x-tradewind-deadline-ms": "deadline_ms",
    b"x-tradewind-session": "session",
    b"x-tradewind-regions": "regions",
    b"x-tradewind-resume": "resume",
    b"content-length": "content_length",
    b"content-encoding": "content_encoding",
    b"origin": "web_origin",
}


class HeadReader:
    """Reads request heads. Remembers, within a bound, the fate of the header names it has seen."""

    def __init__(self, client_region_header: str | None) -> None:
        self._read = dict(_READ)
        if client_region_header:
            self._read[client_region_header.lower().encode()] = "client_region"
        self._fates: dict[bytes, Fate | str] = {}

    def read(self, headers: Sequence[tuple[bytes, bytes]]) -> RequestHead:
        """Sort the headers (names in lower case). Raises BadHead."""
        lines: list[bytes] = []
        head = RequestHead(forwarded=b"")
        hosts = 0
        named: frozenset[bytes] | None = None
        for name, value in headers:
            fate = self._fates.get(name)
            if fate is None:
                fate = self.fate(name)
            if fate is FORWARD:
                lines.append(b"%s: %s\r\n" % (name, value))
            elif isinstance(fate, str):
                if getattr(head, fate) is not None:
                    raise BadHead(f"The header {name.decode('latin-1')} stands twice in the request.")
                setattr(head, fate, value)
            elif name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                if head.chunked or value.strip().lower() != b"chunked":
                    raise BadHead("The only transfer encoding taken is one 'chunked'.")
                head.chunked = True
            elif name == b"connection" and value not in _PLAIN_CONNECTION:
                named = _named(value) if named is None else named | _named(value)
        if hosts != 1:
            raise BadHead("A request needs exactly one Host header.")
        if head.chunked and head.content_length is not None:
            raise BadHead("A request cannot have both Content-Length and Transfer-Encoding.")
        if named is not None:
            lines = [line for line in lines if line.partition(b":")[0] not in named]
        head.forwarded = b"".join(lines)
        return head

    def fate(self, name: bytes) -> Fate | str:
        """What becomes of a header: an attribute of RequestHead that takes its value, or a Fate."""
        fate: Fate | str
        if name in self._read:
            fate = self._read[name]
        elif name in _DROPPED_UP or name.startswith(_DROPPED_UP_PREFIXES):
            fate = Fate.DROP
        else:
            fate = Fate.FORWARD
        if len(self._fates) < NAMES_REMEMBERED_MAX and len(name) <= NAME_LENGTH_REMEMBERED_MAX:
            self._fates[name] = fate
        return fate


def _named(connection: bytes) -> frozenset[bytes]:
    """Header names that a Connection header declares hop-by-hop."""
    tokens = frozenset(token.strip().lower() for token in connection.split(b","))
    return tokens - {b"keep-alive", b"close", b""}


def is_request_id(value: bytes) -> bool:
    """Whether a client's request id can be taken over: short, and harmless in logs and headers."""
    return 0 < len(value) <= REQUEST_ID_LENGTH_MAX and _REQUEST_ID_CHARACTERS.issuperset(value)


def upstream_head(
    path: bytes, authority: bytes, head: RequestHead, request_id: bytes, origin: bytes, length: int
) -> bytes:
    """The head sent to a cluster, for a body of `length` bytes."""
    return (
        b"POST %s HTTP/1.1\r\nhost: %s\r\n%sx-request-id: %s\r\nx-tradewind-origin: %s\r\ncontent-length: %d\r\n\r\n"
        % (path, authority, head.forwarded, request_id, origin, length)
    )


def lines_of(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Headers as they stand in a head."""
    return b"".join([b"%s: %s\r\n" % pair for pair in headers])


def downstream_headers(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """An answer's headers as the client may see them; framing is ours."""
    named: frozenset[bytes] = frozenset()
    for name, value in headers:
        if name == b"connection" and value not in _PLAIN_CONNECTION:
            named |= _named(value)
    return [pair for pair in headers if goes_down(pair[0]) and pair[0] not in named]


def goes_down(name: bytes) -> bool:
    """Whether a header of an answer is for the client; framing and some names are ours."""
    return name not in _DROPPED_DOWN and not name.startswith(_DROPPED_DOWN_PREFIXES)
