"""CORS: which web pages may call from a browser, and what they may read of the answers. Pure.

Off unless configured. Credentials are never allowed: a page sends its key in a header of its
own, and a browser's cookies mean nothing here.
"""

import re
from collections.abc import Sequence

Headers = list[tuple[bytes, bytes]]

MAX_AGE_S = 600  # Browsers keep less than they are told anyway.
METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE")
ASKED_BYTES_MAX = 1024  # Of header names in a preflight.
EXPOSED = (
    b"retry-after, x-request-id, x-should-retry, x-tradewind-attempts, x-tradewind-cluster, x-tradewind-decision,"
    b" x-tradewind-region"
)
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_VARIES = (b"vary", b"origin")


class Cors:
    """The answer to each origin, for one list of those allowed."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._everyone = "*" in origins
        self._allowed = frozenset(origin.encode() for origin in origins)

    def answer(self, origin: bytes | None) -> Headers:
        """Headers for an answer to a request that a page of this origin made; None: no page did."""
        if self._everyone:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", EXPOSED)]
        if origin is None or origin not in self._allowed:
            return [_VARIES]
        return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED), _VARIES]

    def preflight(self, origin: bytes | None, method: bytes | None, names: bytes | None) -> Headers | None:
        """Headers for a browser that asks beforehand; None if it is no such question, or the page may not.

        `method` and `names` are what it asks for: access-control-request-method and -headers.
        """
        if origin is None or method is None or not (self._everyone or origin in self._allowed):
            return None
        headers = [
            (b"access-control-allow-origin", b"*" if self._everyone else origin),
            (b"access-control-allow-methods", b", ".join(METHODS)),
            (b"access-control-max-age", b"%d" % MAX_AGE_S),
            (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
        ]
        if names is not None and len(names) <= ASKED_BYTES_MAX and _NAMES.fullmatch(names.strip()):
            headers.append((b"access-control-allow-headers", names.strip().lower()))
        return headers
