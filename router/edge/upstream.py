"""One connection to a cluster, on httptools, for one call at a time. The outside world: clusters.

It hands what it reads to the taker that holds it: the head once, data as it comes (all of
one read at once), the end. A broken connection is told as an OutcomeKind.
"""

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from federation.outcome import OutcomeKind
from router.edge.upload import Upload
from router.pieces import Body, Pieces

HEAD_BYTES_MAX = 64 * 1024
# What the last event of a whole stream holds: OpenAI's, Anthropic's, the Responses API's.
LAST_EVENTS = (b"[DONE]", b"message_stop", b"response.completed", b"response.incomplete", b"response.failed")
LAST_BYTES = 16 * 1024  # Of an answer without a length: enough to see a stream's last event, however it was cut.
COALESCE_BYTES_MAX = 64 * 1024  # Head and body up to this go out in one write.

if TYPE_CHECKING:
    from router.edge.addresses import Address
    from router.edge.pool import ClusterPool


class Taker(Protocol):
    """Who holds a connection: an attempt, or a probe. Called synchronously, never re-entrantly."""

    def attach(self, connection: "UpstreamConnection", reused: bool) -> None:
        """A connection is there: send the request."""

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    def on_data(self, chunk: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_whole(self, headers: list[tuple[bytes, bytes]], lines: bytes, body: bytes) -> None:
        """A good answer (200) that came in one read, head and all; instead of the three above.

        `lines`: of its head, those that are for the client, ready to be sent.
        """

    def on_failed(self, kind: OutcomeKind) -> None: ...

    @property
    def wanted(self) -> bool:
        """False once nobody waits for a connection any more."""
        ...


class UpstreamConnection(asyncio.Protocol):
    """One HTTP/1.1 connection to a cluster."""

    __slots__ = (
        "_chunks",
        "_complete",
        "_dirty",
        "_framed",
        "_head_bytes",
        "_head_ready",
        "_headers",
        "_keep_alive",
        "_last",
        "_parser",
        "_status",
        "_upload",
        "address",
        "answered",
        "pool",
        "rested_at",
        "taker",
        "transport",
    )

    def __init__(self, pool: "ClusterPool") -> None:
        self.pool = pool
        self.address: Address  # The pool says which, before the connection is made.
        self.taker: Taker | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.rested_at = 0.0  # Loop time at which it came back to the pool.
        self.answered = False  # Whether any byte of the present answer has come.
        self._parser = httptools.HttpResponseParser(self)
        self._begin()

    def _begin(self) -> None:
        self.answered = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._status = 0
        self._head_bytes = 0
        self._head_ready = False
        self._last = b""  # The end of an answer without a length.
        self._framed = False  # Content-Length or chunked: the end does not depend on the connection's.
        self._keep_alive = False  # As the answer's head says; the parser forgets it with the message's end.
        self._complete = False
        self._dirty = False  # More came than was asked for.
        self._upload: Upload | None = None  # The request's body, where it is sent in steps.

    # For the taker.

    def send(self, taker: Taker, head: bytes, body: Body) -> None:
        """Send one request; the answer goes to `taker`."""
        if self._status:  # What went past the parser has left nothing behind.
            self._begin()
        self.taker = taker
        if isinstance(body, Pieces):
            self.transport.write(head)
            self._upload = Upload(self.transport, body)
            self._upload.go_on()
        elif len(body) <= COALESCE_BYTES_MAX:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))

    def release(self) -> None:
        """The taker wants no more of this answer: keep the connection if the answer is complete, else end it."""
        self.taker = None
        if self._complete:
            self._done()
        else:
            self.transport.abort()

    def pause(self) -> None:
        """The client reads slowly: read no more."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _done(self) -> None:
        """The answer is complete: back to the pool, or closed if it cannot carry another."""
        # It answered before it had taken the whole request.
        unsent = self.transport.get_write_buffer_size() or (self._upload is not None and not self._upload.done)
        self._upload = None
        if self._dirty or not self._keep_alive or unsent or self.transport.is_closing():
            self.transport.abort()
        else:
            self.transport.resume_reading()
            self.pool.put_back(self)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.pool.open += 1

    def pause_writing(self) -> None:
        if self._upload is not None:
            self._upload.pause()

    def resume_writing(self) -> None:
        if self._upload is not None:
            self._upload.resume()

    def data_received(self, data: bytes) -> None:
        if self.taker is None:
            self.transport.abort()  # Bytes that nobody asked for.
            return
        if not self.answered and self._take_plain(data):
            return
        self.answered = True
        if not self._status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._complete:
                self._fail(OutcomeKind.BAD_ANSWER)
                return
            self._dirty = True  # The answer is whole; what follows it is not its business.
        if self._head_bytes > HEAD_BYTES_MAX:
            # The reads may have held more than the head; only then is it worth measuring.
            if not self._status or sum(len(name) + len(value) for name, value in self._headers) > HEAD_BYTES_MAX:
                self._fail(OutcomeKind.BAD_ANSWER)
                return
            self._head_bytes = 0
        self._deliver()

    def _take_plain(self, data: bytes) -> bool:
        """Take an answer as most are, whole in one read, without the parser: that stands between two answers."""
        end = data.find(b"\r\n\r\n")
        if not 0 < end <= HEAD_BYTES_MAX:
            return False
        plain = self.pool.answers.read(data[:end])
        taker = self.taker
        if plain is None or taker is None or self._upload is not None:
            return False
        headers, lines, length = plain
        if len(data) - end - 4 != length:
            return False
        self.taker = None
        if self.transport.get_write_buffer_size() or self.transport.is_closing():
            self.transport.abort()  # It answered before it had taken the whole request.
        else:
            self.transport.resume_reading()
            self.pool.put_back(self)
        taker.on_whole(headers, lines, data[end + 4 :])
        return True

    def _deliver(self) -> None:
        taker = self.taker
        if taker is None:
            return
        if self._head_ready:
            self._head_ready = False
            taker.on_head(self._status, self._headers)
            if self.taker is not taker:
                return
        if self._chunks:
            chunks, self._chunks = self._chunks, []
            taker.on_data(chunks[0] if len(chunks) == 1 else b"".join(chunks))
            if self.taker is not taker:
                return
        if self._complete:
            self.taker = None
            self._done()
            taker.on_end()

    def _fail(self, kind: OutcomeKind) -> None:
        taker, self.taker = self.taker, None
        self.transport.abort()
        if taker is not None:
            taker.on_failed(kind)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.open -= 1
        self._upload = None
        self.pool.forget(self, exc)
        taker, self.taker = self.taker, None
        if taker is None:
            return
        if self._status and not self._framed and exc is None and not self._is_cut_stream():
            taker.on_end()  # An answer without a length ends with its connection.
        else:
            taker.on_failed(self.pool.meaning_of_loss(self))

    def _is_cut_stream(self) -> bool:
        """A stream that ends with its connection and without its last event: a killed server's end looks just so."""
        stream = any(name == b"content-type" and b"event-stream" in value.lower() for name, value in self._headers)
        return stream and not any(mark in self._last for mark in LAST_EVENTS)

    # httptools callbacks

    def on_message_begin(self) -> None:
        if self._complete:
            self._dirty = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status:
            return  # A trailer, or the head of an answer that nobody asked for.
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            if name == b"transfer-encoding" and (self._framed or value.lower() != b"chunked"):
                raise ValueError("undone, this body would still be encoded")  # A BAD_ANSWER: see data_received.
            self._framed = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._dirty:
            return
        version = self._parser.get_http_version()
        if version != "1.1" and (version != "1.0" or any(name == b"transfer-encoding" for name, _ in self._headers)):
            raise ValueError("the parser takes HTTP/0.9 and 2.0 as well, and a transfer encoding in HTTP/1.0")
        status = self._parser.get_status_code()
        if status < 200:
            self._headers = []  # 1xx: the real head is still to come.
            self._framed = False
            return
        self._status = status
        self._head_ready = True
        self._keep_alive = self._parser.should_keep_alive()
        if status in (204, 304):
            self._framed = True

    def on_body(self, chunk: bytes) -> None:
        if not self._dirty:
            self._chunks.append(chunk)
            if not self._framed:
                self._last = (self._last + chunk)[-LAST_BYTES:]

    def on_message_complete(self) -> None:
        if self._status:
            self._complete = True
