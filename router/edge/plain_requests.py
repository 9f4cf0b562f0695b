"""The request heads that nearly every client sends, read in one go. Pure.

Clients and proxies repeat themselves: of twenty header lines, eighteen stood in the request
before. So a head is split into lines and each line looked up; only lines not seen before are
taken apart. Whatever is unusual about a head, allowed or not, is not judged here: the full
parser gets the same bytes. What is returned is what the full parser and HeadReader would have
made of it; a test compares them.
"""

import re
from collections.abc import Mapping

from router.edge.heads import FORWARD, HeadReader, RequestHead
from router.paths import Form, Route

LINES_REMEMBERED_MAX = 4096
LINE_LENGTH_REMEMBERED_MAX = 256
VALUES_REMEMBERED_MAX = 32  # Of one name; with more, it is one whose value changes from request to request.
LENGTH_DIGITS_MAX = 12

# A name, a colon, a value without white space around it; what else HTTP allows is for the full parser.
LINE = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)"
)
# Names whose mere presence makes a head one for the full parser.
_UNUSUAL = frozenset({b"transfer-encoding", b"upgrade", b"expect", b"trailer", b"te"})
_KEEPS = (b"keep-alive", b"Keep-Alive")

Fate = bytes | tuple[str, bytes] | None  # A line ready to be forwarded; an attribute and its value; nothing.


class Unusual(Exception):
    """Something for the full parser."""


class PlainRequests:
    """Reads plain heads. Remembers, within bounds, the lines that it has seen."""

    def __init__(self, reader: HeadReader, routes: Mapping[bytes, Route], headers_max: int) -> None:
        self._reader = reader
        self._routes = {
            b"POST %s HTTP/1.1" % target: (route, target) for target, route in routes.items() if route.form is Form.JSON
        }
        self._lines_max = headers_max + 1
        self._seen: dict[bytes, Fate] = {}
        self._values: dict[bytes, int] = {}

    def read(self, head: bytes) -> tuple[Route, bytes, RequestHead, int] | None:
        """Route, target, head and length of the body of a plain request; None: let the full parser see it.

        `head` goes up to the blank line, without it.
        """
        lines = head.split(b"\r\n")
        known = self._routes.get(lines[0])
        if known is None or len(lines) > self._lines_max:
            return None
        seen = self._seen
        forwarded: list[bytes] = []
        found = RequestHead(forwarded=b"")
        hosts = 0
        del lines[0]
        try:
            for line in lines:
                fate = seen.get(line, _UNSEEN)
                if fate is _UNSEEN:
                    fate = self._learn(line)
                if fate.__class__ is bytes:
                    forwarded.append(fate)
                elif fate is not None:
                    attribute, value = fate
                    if attribute == "host":
                        hosts += 1
                    elif getattr(found, attribute) is None:
                        setattr(found, attribute, value)
                    else:
                        return None
        except Unusual:
            return None
        length = found.content_length
        if hosts != 1 or length is None or not length.isdigit() or len(length) > LENGTH_DIGITS_MAX:
            return None
        found.forwarded = b"".join(forwarded)
        return (*known, found, int(length))

    def _learn(self, line: bytes) -> Fate:
        """What becomes of a line. Raises Unusual."""
        match = LINE.fullmatch(line)
        if match is None:
            raise Unusual
        name, value = match[1].lower(), match[2]
        if name in _UNUSUAL or (name == b"connection" and value not in _KEEPS):
            raise Unusual
        kind = self._reader.fate(name)
        fate: Fate
        if kind is FORWARD:
            fate = b"%s: %s\r\n" % (name, value)
        elif isinstance(kind, str):
            fate = (kind, value)
        else:
            fate = ("host", value) if name == b"host" else None
        values = self._values.get(name, 0)
        if values < VALUES_REMEMBERED_MAX and len(line) <= LINE_LENGTH_REMEMBERED_MAX:
            if len(self._seen) >= LINES_REMEMBERED_MAX:
                self._seen.clear()
                self._values.clear()
            self._seen[line] = fate
            self._values[name] = values + 1
        return fate


_UNSEEN: tuple[str, bytes] = ("", b"")
