"""The request heads that nearly every client sends, read in one go. Pure.

Clients and proxies repeat themselves: of twenty header lines, eighteen stood in the request
before, and mostly in the same order. So the beginning of a head up to the first line that
changes from request to request is known as a whole; the rest is split into lines, and each
line looked up; only lines not seen before are taken apart. Whatever is unusual about a head,
allowed or not, is not judged here: the full parser gets the same bytes. What is returned is
what the full parser and HeadReader would have made of it; a test compares them.
"""

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

from router.edge.heads import FORWARD, HeadReader
from router.edge.request_head import RequestHead
from router.paths import Form, Route

LINES_REMEMBERED_MAX = 4096
LINE_LENGTH_REMEMBERED_MAX = 256
VALUES_REMEMBERED_MAX = 32  # Of one name; with more, it is one whose value changes from request to request.
NAMES_REMEMBERED_MAX = 1024
BEGINNINGS_MAX = 8  # One for each kind of client, for the busiest ones.
BEGINNING_LINES_MIN = 4
REPLACED_EVERY = 64
LENGTH_DIGITS_MAX = 12

# A name, a colon, a value without white space around it; what else HTTP allows is for the full parser.
LINE = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)"
)
VALUE = re.compile(rb"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
# Names whose mere presence makes a head one for the full parser.
_UNUSUAL = frozenset({b"transfer-encoding", b"upgrade", b"expect", b"trailer", b"te"})
_KEEPS = (b"keep-alive", b"Keep-Alive")

Fate = bytes | tuple[str, bytes]  # A line ready to be forwarded, empty if it is not; an attribute and its value.
Plain = tuple[Route, bytes, RequestHead, int]  # Route, target, head, and the length of the body.
_HOST = "host"


class Unusual(Exception):
    """Something for the full parser."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first lines of a head, read."""

    text: bytes  # Up to and with the line end.
    route: Route
    target: bytes
    found: RequestHead
    hosts: int
    lines: int


class PlainRequests:
    """Reads plain heads. Remembers, within bounds, the lines that it has seen, and how heads begin."""

    def __init__(self, reader: HeadReader, routes: Mapping[bytes, Route], headers_max: int) -> None:
        self._reader = reader
        self._routes = {
            b"POST %s HTTP/1.1" % target: (route, target) for target, route in routes.items() if route.form is Form.JSON
        }
        self._lines_max = headers_max + 1
        self._seen: dict[bytes, Fate] = {}
        self._values: dict[bytes, int] = {}
        # Names, as written, of lines that change with each request: in lower case, or the attribute that takes them.
        self._changing: dict[bytes, bytes | str] = {}
        self._beginnings: list[Beginning] = []
        self._unknown = 0  # Heads whose beginning was not known.

    def read(self, head: bytes) -> Plain | None:
        """A plain head, given up to the blank line, without it; None: let the full parser see it."""
        for beginning in self._beginnings:
            if head.startswith(beginning.text):
                found, hosts, forwarded = copy(beginning.found), beginning.hosts, [beginning.found.forwarded]
                lines = head[len(beginning.text) :].split(b"\r\n")
                route, target, before = beginning.route, beginning.target, beginning.lines
                break
        else:
            lines = head.split(b"\r\n")
            known = self._routes.get(lines[0])
            if known is None:
                return None
            route, target = known
            del lines[0]
            found, hosts, forwarded, before = RequestHead(forwarded=b""), 0, [], 0
        if before + len(lines) >= self._lines_max:
            return None
        try:
            hosts = self._read_lines(lines, found, hosts, forwarded, None if before else (route, target))
        except Unusual:
            return None
        length = found.content_length
        if hosts != 1 or length is None or not length.isdigit() or len(length) > LENGTH_DIGITS_MAX:
            return None
        found.forwarded = b"".join(forwarded)
        return route, target, found, int(length)

    def _read_lines(
        self,
        lines: list[bytes],
        found: RequestHead,
        hosts: int,
        forwarded: list[bytes],
        begins: tuple[Route, bytes] | None,
    ) -> int:
        """Read lines into `found` and `forwarded`; how many Host headers there were. Raises Unusual.

        `begins`: these are all of a head, whose beginning may be worth remembering.
        """
        seen, changing = self._seen, self._changing
        for index, line in enumerate(lines):
            fate = seen.get(line)
            if fate is None:
                name, _, value = line.partition(b": ")
                kind = changing.get(name)
                if kind is None or VALUE.fullmatch(value) is None:
                    fate = self._learn(line)
                else:
                    if begins is not None:
                        self._may_remember(lines[:index], *begins, found, hosts, forwarded)
                        begins = None
                    fate = (kind, value) if isinstance(kind, str) else b"%s: %s\r\n" % (kind, value)
            if isinstance(fate, bytes):
                forwarded.append(fate)
                continue
            attribute, value = fate
            if attribute == _HOST:
                hosts += 1
            elif getattr(found, attribute) is None:
                setattr(found, attribute, value)
            else:
                raise Unusual
        return hosts

    def _may_remember(
        self, lines: list[bytes], route: Route, target: bytes, found: RequestHead, hosts: int, forwarded: list[bytes]
    ) -> None:
        """How a head begins, up to its first line that changes: of one in so many, once all places are taken."""
        self._unknown += 1
        is_full = len(self._beginnings) == BEGINNINGS_MAX
        if len(lines) < BEGINNING_LINES_MIN or (is_full and self._unknown % REPLACED_EVERY):
            return
        read = copy(found)
        read.forwarded = b"".join(forwarded)
        text = b"".join([b"POST %s HTTP/1.1\r\n" % target, *(line + b"\r\n" for line in lines)])
        beginning = Beginning(text, route, target, read, hosts, len(lines))
        if is_full:
            self._beginnings.pop(0)
        self._beginnings.append(beginning)

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
            fate = (_HOST, value) if name == b"host" else b""
        values = self._values.get(name, 0)
        if values < VALUES_REMEMBERED_MAX and len(line) <= LINE_LENGTH_REMEMBERED_MAX:
            if len(self._seen) >= LINES_REMEMBERED_MAX:
                self._seen.clear()
                self._values.clear()
            self._seen[line] = fate
            self._values[name] = values + 1
        elif (kind is FORWARD or isinstance(kind, str)) and len(self._changing) < NAMES_REMEMBERED_MAX:
            self._changing[match[1]] = kind if isinstance(kind, str) else name
        return fate
