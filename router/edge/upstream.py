"""Upstream connections: pooled, on httptools, one call at a time each. The outside world: clusters.

A connection hands what it reads to the attempt that holds it: the head once, data as it
comes (all of one read at once), the end. A broken or refused connection is told as an
OutcomeKind. DNS is never asked on a call's way: a background loop calls `resolve`.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import Sequence
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools
import structlog

from federation.outcome import OutcomeKind

HEAD_BYTES_MAX = 64 * 1024
COALESCE_BYTES_MAX = 64 * 1024  # Head and body up to this go out in one write.

log = structlog.get_logger()


class Taker(Protocol):
    """Who holds a connection: an attempt, or a probe. Called synchronously, never re-entrantly."""

    def attach(self, connection: "UpstreamConnection", reused: bool) -> None:
        """A connection is there: send the request."""

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    def on_data(self, chunk: bytes) -> None: ...

    def on_end(self) -> None: ...

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
        "_parser",
        "_status",
        "answered",
        "pool",
        "taker",
        "transport",
    )

    def __init__(self, pool: "ClusterPool") -> None:
        self.pool = pool
        self.taker: Taker | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
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
        self._framed = False  # Content-Length or chunked: the end does not depend on the connection's.
        self._keep_alive = False  # As the answer's head says; the parser forgets it with the message's end.
        self._complete = False
        self._dirty = False  # More came than was asked for.

    # For the taker.

    def send(self, taker: Taker, head: bytes, body: bytes) -> None:
        """Send one request; the answer goes to `taker`."""
        self._begin()
        self.taker = taker
        if len(body) <= COALESCE_BYTES_MAX:
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
        unsent = self.transport.get_write_buffer_size()  # It answered before it had taken the whole request.
        if self._dirty or not self._keep_alive or unsent or self.transport.is_closing():
            self.transport.abort()
        else:
            self.transport.resume_reading()
            self.pool.put_back(self)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.pool.open += 1

    def data_received(self, data: bytes) -> None:
        if self.taker is None:
            self.transport.abort()  # Bytes that nobody asked for.
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
        self.pool.forget(self)
        taker, self.taker = self.taker, None
        if taker is None:
            return
        if self._status and not self._framed and exc is None:
            taker.on_end()  # An answer without a length ends with its connection.
        else:
            taker.on_failed(OutcomeKind.RESET)

    # httptools callbacks

    def on_message_begin(self) -> None:
        if self._complete:
            self._dirty = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status:
            return  # A trailer, or the head of an answer that nobody asked for.
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._framed = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._headers = []  # 1xx: the real head is still to come.
            self._framed = False
            return
        if self._dirty:
            return
        self._status = status
        self._head_ready = True
        self._keep_alive = self._parser.should_keep_alive()
        if status in (204, 304):
            self._framed = True

    def on_body(self, chunk: bytes) -> None:
        if not self._dirty:
            self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        if self._status:
            self._complete = True


class ClusterPool:
    """Connections to one cluster's endpoint: the idle ones, and how to make more."""

    def __init__(
        self, cluster: str, endpoint: str, connect_s: float, idle_max: int, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(endpoint)
        assert parts.hostname is not None, "endpoints are checked when the inventory is read"
        self.cluster = cluster
        self.endpoint = endpoint
        self.host = parts.hostname
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.authority = parts.netloc.encode()
        self.connect_s = connect_s
        self.idle_max = idle_max
        self.tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self.idle: list[UpstreamConnection] = []
        self.open = 0
        self.closed = False
        self._connecting: set[asyncio.Task[None]] = set()
        self._next_address = 0
        self.addresses: tuple[str, ...] = (self.host,) if _is_address(self.host) else ()

    def acquire(self, taker: Taker, fresh: bool = False) -> None:
        """Attach a connection to `taker`: the one used last, else a new one; failures go to on_failed."""
        while self.idle and not fresh:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                taker.attach(connection, reused=True)
                return
        task = asyncio.get_running_loop().create_task(self._connect(taker))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, taker: Taker) -> None:
        loop = asyncio.get_running_loop()
        try:
            if not self.addresses:
                raise OSError(f"{self.host} has not been resolved yet")
            self._next_address = (self._next_address + 1) % len(self.addresses)
            async with asyncio.timeout(self.connect_s):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self),
                    self.addresses[self._next_address],
                    self.port,
                    ssl=self.tls,
                    server_hostname=self.host if self.tls is not None else None,
                )
        except TimeoutError:
            failure = OutcomeKind.CONNECT_TIMEOUT
        except (OSError, ValueError):  # A name that no certificate can bear is a ValueError.
            failure = OutcomeKind.REFUSED
        else:
            if not taker.wanted:
                self.put_back(connection)
                return
            if not connection.transport.is_closing():
                taker.attach(connection, reused=False)
                return
            failure = OutcomeKind.RESET  # Taken and dropped before we came to say a word.
        if taker.wanted:
            taker.on_failed(failure)

    def put_back(self, connection: UpstreamConnection) -> None:
        """An idle connection, for the next call; beyond the bound it is closed."""
        if self.closed or len(self.idle) >= self.idle_max or connection.transport.is_closing():
            connection.transport.close()
        else:
            self.idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection is gone."""
        if connection in self.idle:
            self.idle.remove(connection)

    def close(self) -> None:
        """The cluster is no longer declared, or we end: close what is idle, let the rest finish."""
        self.closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Idle connections to a cluster that is gone are worth nothing."""
        for connection in self.idle[:]:
            connection.transport.close()

    async def resolve(self) -> None:
        """Ask DNS for the addresses of a named endpoint; a failure keeps the old ones."""
        if _is_address(self.host):
            return
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(5.0):
                found = await loop.getaddrinfo(self.host, self.port, proto=6)
        except (OSError, TimeoutError) as error:
            log.warning("endpoint not resolved", cluster=self.cluster, host=self.host, cause=repr(error))
            return
        addresses = tuple(sorted({str(address[4][0]) for address in found}))
        if addresses != self.addresses:
            log.info("endpoint resolved", cluster=self.cluster, host=self.host, addresses=addresses)
            self.addresses = addresses


PoolDirectory = dict[str, ClusterPool]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class ProbeTaker:
    """Takes the answer to one probe."""

    def __init__(self, pool: ClusterPool, path: str, origin: bytes, settled: "asyncio.Future[int | None]") -> None:
        self.pool = pool
        self.path = path
        self.origin = origin
        self.settled = settled
        self.status = 0
        self.connection: UpstreamConnection | None = None

    @property
    def wanted(self) -> bool:
        return not self.settled.done()

    def attach(self, connection: UpstreamConnection, reused: bool) -> None:
        self.connection = connection
        head = b"GET %s HTTP/1.1\r\nhost: %s\r\nx-tradewind-origin: %s\r\n\r\n" % (
            self.path.encode(),
            self.pool.authority,
            self.origin,
        )
        connection.send(self, head, b"")

    def on_head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.status = status

    def on_data(self, chunk: bytes) -> None:
        pass  # A health page's text says nothing that its status does not.

    def on_end(self) -> None:
        self.connection = None
        self._settle(self.status)

    def on_failed(self, kind: OutcomeKind) -> None:
        self.connection = None
        self._settle(None)

    def give_up(self) -> None:
        """Too late: end the connection, for its answer would come to nobody."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.release()

    def _settle(self, status: int | None) -> None:
        if not self.settled.done():
            self.settled.set_result(status)
