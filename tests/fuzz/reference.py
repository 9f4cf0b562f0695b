"""A strict reader of HTTP/1.1, written from RFC 9110 and 9112 alone: what a message means, or that it means nothing.

It shares no code with the front door or its parsers, and is not fast. What the front door
accepts, this must accept and read as the same. The only liberties it takes are those that
change nothing of what is meant: spaces in a request line, empty lines before a message, any
byte in a reason phrase, and the names that RTSP and ICE give to HTTP.
"""

import re
from dataclasses import dataclass, field

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# RFC 9112, 3: more than one space between the words may be taken, which changes nothing of what is meant.
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") +([\x21-\x7e]+) +(?:HTTP|RTSP|ICE)/1\.([01])")
_STATUS_LINE = re.compile(
    rb"(?:HTTP|RTSP|ICE)/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?"
)  # The reason means nothing, whatever it holds.
_FIELD_LINE = re.compile(
    rb"(" + _TOKEN + rb"):[ \t]*"
    rb"((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_EXTENSION = re.compile(rb"(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")  # Means nothing either.
_DIGITS = re.compile(rb"[0-9]{1,40}")
_SIZE = re.compile(rb"[0-9A-Fa-f]+")
_LENGTH_MAX = 2**64 - 1

Lines = tuple[tuple[bytes, bytes], ...]


class Invalid(Exception):
    """No reading of these bytes is right. `body` is what of a body came before the fault."""

    def __init__(self, reason: str, message: "Message | None" = None) -> None:
        super().__init__(reason)
        self.message = message


class Incomplete(Exception):
    """More has to come. `message` is what there is, once its head is complete."""

    def __init__(self, message: "Message | None" = None) -> None:
        super().__init__("incomplete")
        self.message = message


@dataclass
class Message:
    """A request or an answer."""

    method: bytes = b""
    target: bytes = b""
    status: int = 0
    minor: int = 1
    headers: Lines = ()
    body: bytes = b""
    trailers: Lines = ()
    framing: str = "none"  # none, length, chunked, close
    end: int = 0  # Offset behind it.
    interim: int = 0  # Answers of 1xx before it.
    fields: dict[bytes, list[bytes]] = field(default_factory=dict)

    def all(self, name: bytes) -> list[bytes]:
        return self.fields.get(name, [])

    def one(self, name: bytes) -> bytes:
        values = self.all(name)
        if len(values) != 1:
            raise KeyError(f"{name!r}: {values}")
        return values[0]


def read_request(data: bytes, at: int = 0) -> Message:
    """The request that begins at `at`. Empty lines before it are none of it."""
    while data[at : at + 1] in (b"\r", b"\n"):
        at += 1
    line, headers, at = _head(data, at)
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise Invalid(f"request line {line[:80]!r}")
    message = Message(found[1], found[2], minor=int(found[3]), headers=headers, fields=_by_name(headers), end=at)
    hosts = len(message.all(b"host"))
    if hosts > 1 or (message.minor == 1 and hosts != 1):
        raise Invalid(f"{hosts} hosts")
    encodings, lengths = message.all(b"transfer-encoding"), message.all(b"content-length")
    if encodings:
        if message.minor == 0 or lengths or len(encodings) > 1 or encodings[0].lower() != b"chunked":
            raise Invalid(f"framing {encodings} {lengths}")
        return _chunked(message, data, at)
    if lengths:
        return _measured(message, data, at, lengths)
    return message


def read_answer(data: bytes, at: int = 0, method: bytes = b"POST", ended: bool = False) -> Message:
    """The final answer that begins at `at`, to a request of `method`. `ended`: the connection closed behind `data`."""
    interim = 0
    while True:
        while data[at : at + 1] in (b"\r", b"\n"):  # As before a request: RFC 9112, 2.2.
            at += 1
        line, headers, at = _head(data, at)
        found = _STATUS_LINE.fullmatch(line)
        if found is None:
            raise Invalid(f"status line {line[:80]!r}")
        status = int(found[2])
        if status >= 200:
            break
        interim += 1
    message = Message(
        status=status, minor=int(found[1]), headers=headers, fields=_by_name(headers), end=at, interim=interim
    )
    encodings, lengths = message.all(b"transfer-encoding"), message.all(b"content-length")
    if encodings and (message.minor == 0 or lengths or len(encodings) > 1 or encodings[0].lower() != b"chunked"):
        raise Invalid(f"framing {encodings} {lengths}")
    if lengths and (len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0])):
        raise Invalid(f"lengths {lengths}")
    if method == b"HEAD" or status in (204, 304):
        return message
    if encodings:
        return _chunked(message, data, at)
    if lengths:
        return _measured(message, data, at, lengths)
    message.framing, message.body, message.end = "close", data[at:], len(data)
    if not ended:
        raise Incomplete(message)
    return message


def _head(data: bytes, at: int) -> tuple[bytes, Lines, int]:
    """The first line, the header lines, and where the body begins."""
    end = data.find(b"\r\n\r\n", at)
    block = data[at:] if end < 0 else data[at:end]
    first, *rest = block.split(b"\r\n")
    complete = rest if end >= 0 else rest[:-1]
    if end < 0 and not rest:
        if b"\0" in first or b"\n" in first or b"\r" in first[:-1]:
            raise Invalid(f"control character in {first[:80]!r}")
        raise Incomplete
    headers = []
    for line in complete:
        found = _FIELD_LINE.fullmatch(line)
        if found is None:
            raise Invalid(f"field line {line[:80]!r}")
        headers.append((found[1].lower(), found[2]))
    if end < 0:
        raise Incomplete
    return first, tuple(headers), end + 4


def _by_name(headers: Lines) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    return found


def _measured(message: Message, data: bytes, at: int, lengths: list[bytes]) -> Message:
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise Invalid(f"lengths {lengths}")
    message.framing = "length"
    length = int(lengths[0])
    if length > _LENGTH_MAX:
        raise Invalid(f"length {length}")
    message.body = data[at : at + length]
    message.end = at + length
    if len(message.body) < length:
        raise Incomplete(message)
    return message


def _chunked(message: Message, data: bytes, at: int) -> Message:
    message.framing = "chunked"
    pieces: list[bytes] = []
    try:
        at = _chunks(data, at, pieces)
        message.trailers, message.end = _trailers(data, at)
    except Incomplete:
        message.body = b"".join(pieces)
        raise Incomplete(message) from None
    except Invalid as error:
        message.body = b"".join(pieces)
        raise Invalid(str(error), message) from None
    message.body = b"".join(pieces)
    return message


def _chunks(data: bytes, at: int, pieces: list[bytes]) -> int:
    """Add the chunks that begin at `at`; the offset behind the last one."""
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            raise Incomplete
        found = _SIZE.match(data, at, end)
        if found is None or not _EXTENSION.fullmatch(data, found.end(), end):
            raise Invalid(f"chunk size {data[at:end][:80]!r}")
        size, at = int(found[0], 16), end + 2
        if size > _LENGTH_MAX:
            raise Invalid(f"chunk size {size}")
        if size == 0:
            return at
        pieces.append(data[at : at + size])
        at += size
        behind = data[at : at + 2]
        if behind != b"\r\n":
            raise Incomplete if behind in (b"", b"\r") else Invalid("chunk end")
        at += 2


def _trailers(data: bytes, at: int) -> tuple[Lines, int]:
    """The field lines behind the last chunk, and the offset behind them."""
    trailers = []
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            raise Incomplete
        line, at = data[at:end], end + 2
        if not line:
            return tuple(trailers), at
        found = _FIELD_LINE.fullmatch(line)
        if found is None or found[1].lower() == b"content-length":
            raise Invalid(f"trailer {line[:80]!r}")
        trailers.append((found[1].lower(), found[2]))
