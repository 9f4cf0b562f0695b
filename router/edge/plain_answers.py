"""The answers that model servers usually give, read in one go. Pure.

A head of plain lines with a Content-Length: its lines were nearly all in the answer before.
Anything else, streams too, is for the full parser.
"""

from router.edge.heads import Headers
from router.edge.plain_requests import (
    LENGTH_DIGITS_MAX,
    LINE,
    LINE_LENGTH_REMEMBERED_MAX,
    LINES_REMEMBERED_MAX,
    VALUES_REMEMBERED_MAX,
)

HEADERS_MAX = 64

_UNUSUAL = frozenset({b"transfer-encoding", b"connection", b"upgrade", b"trailer", b"keep-alive"})
_STATUS_LINE = b"HTTP/1.1 200 OK"


class PlainAnswers:
    """Reads plain heads. Remembers, within bounds, the lines that it has seen."""

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[bytes, bytes]] = {}
        self._values: dict[bytes, int] = {}

    def read(self, head: bytes) -> tuple[Headers, int] | None:
        """Headers, names in lower case, and the length of the body; None: let the full parser see it.

        `head` goes up to the blank line, without it.
        """
        lines = head.split(b"\r\n")
        if lines[0] != _STATUS_LINE or len(lines) > HEADERS_MAX:
            return None
        seen = self._seen
        length: bytes | None = None
        headers: Headers = []
        del lines[0]
        for line in lines:
            pair = seen.get(line) or self._learn(line)
            if pair is None:
                return None
            if pair[0] == b"content-length":
                if length is not None:
                    return None
                length = pair[1]
            headers.append(pair)
        if length is None or not length.isdigit() or len(length) > LENGTH_DIGITS_MAX:
            return None
        return headers, int(length)

    def _learn(self, line: bytes) -> tuple[bytes, bytes] | None:
        """A line's name and value; None: not plain."""
        match = LINE.fullmatch(line)
        if match is None:
            return None
        name = match[1].lower()
        if name in _UNUSUAL:
            return None
        pair = (name, match[2])
        values = self._values.get(name, 0)
        if values < VALUES_REMEMBERED_MAX and len(line) <= LINE_LENGTH_REMEMBERED_MAX:
            if len(self._seen) >= LINES_REMEMBERED_MAX:
                self._seen.clear()
                self._values.clear()
            self._seen[line] = pair
            self._values[name] = values + 1
        return pair
