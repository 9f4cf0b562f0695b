"""The answers that model servers usually give, read in one go. Pure.

A head of plain lines with a Content-Length: its lines were nearly all in the answer before.
Anything else, streams too, is for the full parser.
"""

from router.edge.heads import Headers, goes_down, lines_of
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

_Line = tuple[tuple[bytes, bytes], bytes]  # Name and value; and the line for the client, empty if not for it.
PlainAnswer = tuple[Headers, bytes, int]  # Headers, names in lower case; the client's lines; the body's length.


class PlainAnswers:
    """Reads plain heads. Remembers, within bounds, the lines that it has seen."""

    def __init__(self) -> None:
        self._seen: dict[bytes, _Line] = {}
        self._values: dict[bytes, int] = {}

    def read(self, head: bytes) -> PlainAnswer | None:
        """A plain head, given up to the blank line, without it; None: let the full parser see it."""
        lines = head.split(b"\r\n")
        if lines[0] != _STATUS_LINE or len(lines) > HEADERS_MAX:
            return None
        seen = self._seen
        length: bytes | None = None
        headers: Headers = []
        down: list[bytes] = []
        del lines[0]
        for line in lines:
            known = seen.get(line) or self._learn(line)
            if known is None:
                return None
            pair, goes = known
            headers.append(pair)
            if goes:
                down.append(goes)
            elif pair[0] == b"content-length":
                if length is not None:
                    return None
                length = pair[1]
        if length is None or not length.isdigit() or len(length) > LENGTH_DIGITS_MAX:
            return None
        return headers, b"".join(down), int(length)

    def _learn(self, line: bytes) -> _Line | None:
        """What is to be known of a line; None: it is not plain."""
        match = LINE.fullmatch(line)
        if match is None:
            return None
        name = match[1].lower()
        if name in _UNUSUAL:
            return None
        pair = (name, match[2])
        known = (pair, lines_of([pair]) if goes_down(name) else b"")
        values = self._values.get(name, 0)
        if values < VALUES_REMEMBERED_MAX and len(line) <= LINE_LENGTH_REMEMBERED_MAX:
            if len(self._seen) >= LINES_REMEMBERED_MAX:
                self._seen.clear()
                self._values.clear()
            self._seen[line] = known
            self._values[name] = values + 1
        return known
