"""HTTP/1.1 for the emulated model server, on httptools: bytes of one connection to exchanges and back.

Speaks to sockets. Owns the word *exchange*: one HTTP request and its response. A peer that closes its side is gone:
half-close cannot be told from leaving. Pipelined requests are answered in order, a bounded number of them.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, cast

import httptools

from federation.lab.recording import Recording

MAX_BODY_BYTES: Final = 16 * 2**20
MAX_FILE_BYTES: Final = 256 * 2**20  # of a body that holds a file; it is not kept
MAX_HEAD_BYTES: Final = 64 * 2**10
MAX_PIPELINED: Final = 16
MAX_UNSENT_BYTES: Final = 2**20  # of a stream that its reader does not take; then the connection is reset
_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}

Handle = Callable[["Exchange"], None]


class Exchange:
    """One request, complete with its body, and the verbs that answer it: `respond`, or `begin_stream`, `write` any
    number of times and `end`; `cut` and `reset` break off. After `gone` all verbs do nothing."""

    __slots__ = (
        "_chunked", "_protocol", "body", "gone", "headers", "keep_alive", "method", "on_gone", "path", "recording",
    )  # fmt: skip

    def __init__(self, protocol: "HttpProtocol") -> None:
        self._protocol = protocol
        self._chunked = False
        self.method = ""
        self.path = ""
        self.headers: dict[bytes, bytes] = {}  # names in lower case
        self.body = b""
        self.recording: Recording | None = None  # instead of a body, for one that holds a file
        self.keep_alive = True
        self.gone = False
        self.on_gone: Callable[[], object] | None = None  # called once, if the client leaves before the end

    def respond(
        self,
        status: int,
        body: bytes,
        content_type: bytes = b"application/json",
        extra: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        if self.gone:
            return
        head = self._head(status, content_type, b"content-length: %d\r\n" % len(body), extra)
        self._protocol.send(head if self.method == "HEAD" else head + body)
        self._finish()

    def begin_stream(self) -> None:
        if self.gone:
            return
        self._chunked = self.keep_alive  # else the end of the connection is the end of the body
        framing = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        self._protocol.send(self._head(200, b"text/event-stream; charset=utf-8", framing))

    def write(self, part: bytes) -> None:
        if not self.gone:
            self._protocol.send_bounded(b"%x\r\n%b\r\n" % (len(part), part) if self._chunked else part)

    def end(self) -> None:
        if self.gone:
            return
        if self._chunked:
            self._protocol.send(b"0\r\n\r\n")
        self._finish()

    def cut(self) -> None:
        """Ends the connection in the middle of the response, after what was written so far."""
        if not self.gone:
            self._forget()
            self._protocol.hang_up()

    def reset(self) -> None:
        if not self.gone:
            self._forget()
            self._protocol.reset()

    def leave(self) -> None:
        """The connection is lost: tells whoever answers."""
        on_gone = self.on_gone
        self._forget()
        if on_gone:
            on_gone()

    def _forget(self) -> None:
        self.gone = True
        self.on_gone = None

    def _finish(self) -> None:
        self._forget()
        self._protocol.exchange_done(self.keep_alive)

    def _head(
        self, status: int, content_type: bytes, framing: bytes, extra: tuple[tuple[bytes, bytes], ...] = ()
    ) -> bytes:
        more = b"".join(b"%b: %b\r\n" % pair for pair in extra)
        if not self.keep_alive:
            more += b"connection: close\r\n"
        reason = _REASONS.get(status, b"Unknown")
        return b"HTTP/1.1 %d %b\r\nserver: uvicorn\r\ncontent-type: %b\r\n%b%b\r\n" % (
            status, reason, content_type, framing, more,
        )  # fmt: skip


class HttpProtocol(asyncio.Protocol):
    """One connection; `handle` gets each exchange when its request is complete and the one before is over."""

    def __init__(self, handle: Handle, connections: "set[HttpProtocol]") -> None:
        self._handle = handle
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._reading: Exchange | None = None
        self._body: list[bytes] = []
        self._body_bytes = self._head_bytes = 0
        self._answering: Exchange | None = None
        self._pipelined: deque[Exchange] = deque()
        self._refused = False

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not say so themselves
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)
        self._pipelined.clear()
        if self._answering:
            self._answering.leave()
            self._answering = None

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            self._refuse(400, b"this is not HTTP/1.1")

    # The parser's side. Nothing here may raise: the parser would turn it into a 400.

    def on_message_begin(self) -> None:
        self._reading = Exchange(self)
        self._body = []
        self._body_bytes = self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        if self._reading:
            self._reading.path += url.decode("latin-1")
            self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, b"the header block is too large")
        elif self._reading:
            self._reading.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._reading is None or self._refused:
            return
        self._reading.method = self._parser.get_method().decode("latin-1")
        self._reading.keep_alive = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
        self._reading.path = self._reading.path.partition("?")[0]
        length = self._reading.headers.get(b"content-length", b"0")
        if self._parser.should_upgrade():
            self._refuse(400, b"no upgrades here")  # the parser would lose the body
            return
        if self._reading.headers.get(b"content-type", b"")[:10].lower() == b"multipart/":
            self._reading.recording = Recording(self._reading.headers[b"content-type"])
        if length.isdigit() and int(length) > self._max_bytes():
            self._refuse(413, b"the body is larger than %d bytes" % self._max_bytes())
        elif self._reading.headers.get(b"expect", b"").lower() == b"100-continue" and not self._answering:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._max_bytes():
            self._refuse(413, b"the body is larger than %d bytes" % self._max_bytes())
        elif self._reading is not None and self._reading.recording is not None:
            self._reading.recording.feed(body)
        elif not self._refused:
            self._body.append(body)

    def _max_bytes(self) -> int:
        return MAX_BODY_BYTES if self._reading is None or self._reading.recording is None else MAX_FILE_BYTES

    def on_message_complete(self) -> None:
        exchange, self._reading = self._reading, None
        if exchange is None or self._refused:
            return
        exchange.body = b"".join(self._body)
        if self._answering is None:
            self._answer(exchange)
        elif len(self._pipelined) < MAX_PIPELINED:
            self._pipelined.append(exchange)
        else:
            self.reset()

    # The exchange's side.

    def send(self, part: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(part)

    def send_bounded(self, part: bytes) -> None:
        """As `send`, for what goes on and on: resets a connection whose reader does not take it."""
        self.send(part)
        if self._transport is not None and self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.reset()

    def exchange_done(self, keep_alive: bool) -> None:
        self._answering = None
        if not keep_alive:
            self.hang_up()
        elif self._pipelined:
            # Not from here: a long pipeline of short answers would be a deep recursion.
            asyncio.get_running_loop().call_soon(self._answer_next)

    def hang_up(self) -> None:
        """Closes after what was written."""
        if self._transport:
            self._transport.close()

    def reset(self) -> None:
        """Closes at once."""
        if self._transport:
            self._transport.abort()

    def _answer_next(self) -> None:
        if self._pipelined and self._answering is None and self._transport:
            self._answer(self._pipelined.popleft())

    def _answer(self, exchange: Exchange) -> None:
        self._answering = exchange
        try:
            self._handle(exchange)
        except Exception:
            exchange.respond(500, b'{"error":{"message":"internal error","type":"InternalServerError","code":500}}')
            asyncio.get_running_loop().call_exception_handler({"message": f"{exchange.method} {exchange.path} failed"})
            raise

    def _refuse(self, status: int, message: bytes) -> None:
        """Answers what cannot be read and closes; a response that is under way is cut instead."""
        if self._refused:
            return
        self._refused = True
        if self._answering:
            self.reset()
            return
        exchange = Exchange(self)
        exchange.keep_alive = False
        exchange.respond(
            status, b'{"error":{"message":"%b","type":"BadRequestError","param":null,"code":%d}}' % (message, status)
        )
