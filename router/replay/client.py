"""A small HTTP/1.1 client for many calls at once, on httptools: no task and no wake-up a chunk. Speaks HTTP.

A call takes an idle connection or opens one; its answer is told to a callback as `tally.Answer`.
Nothing is tried twice: what fails is what we are here to see.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Final, cast
from urllib.parse import urlsplit

import httptools
import msgspec

from router.replay.tally import Answer

CONNECT_S: Final = 10.0
IDLE_MAX: Final = 512
KEPT_BYTES_MAX: Final = 16 * 1024  # Of an answer that is an error, for its message.
LINE_BYTES_MAX: Final = 4 * 1024 * 1024
_EVENT: Final = b"data: {"
_ERROR_EVENT: Final = b'data: {"error"'
_DONE: Final = b"data: [DONE]"

Done = Callable[[Answer], None]


class _Error(msgspec.Struct):
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _Error


_ERROR = msgspec.json.Decoder(_ErrorBody)


class Exchange:
    """One call on its way."""

    __slots__ = ("answer", "body", "carry", "done", "headers", "kept", "stream", "timer", "whole")

    def __init__(self, body: bytes, headers: bytes, *, stream: bool, answer: Answer, done: Done) -> None:
        self.body = body
        self.headers = headers
        self.stream = stream
        self.answer = answer
        self.done = done
        self.carry = b""
        self.kept = bytearray()
        self.whole = False  # The stream said [DONE].
        self.timer: asyncio.TimerHandle | None = None


class Client:
    """Calls to one URL. `send` never blocks; `close` cuts whatever is under way."""

    def __init__(self, url: str, path: str, headers: Sequence[tuple[str, str]], timeout_s: float) -> None:
        """`headers` go with every call. Raises ValueError for what is no URL."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not a URL like http://127.0.0.1:8080")
        self.host = parts.hostname
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.port = parts.port or (443 if self.tls else 80)
        self.timeout_s = timeout_s
        fixed = [("host", parts.netloc.rpartition("@")[2]), ("content-type", "application/json"), *headers]
        self._head = f"POST {parts.path.rstrip('/')}{path} HTTP/1.1\r\n".encode() + encode_headers(fixed)
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self.in_flight = 0
        self.quiet = asyncio.Event()  # Nothing is under way.
        self.quiet.set()

    def send(self, body: bytes, headers: bytes, *, stream: bool, done: Done) -> None:
        """Send one call; `headers` are its own, encoded. `done` is called exactly once, when it has ended."""
        exchange = Exchange(body, headers, stream=stream, answer=Answer(sent_at=self._loop.time()), done=done)
        self.in_flight += 1
        self.quiet.clear()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                connection.start(exchange)
                return
        task = self._loop.create_task(self._connect(exchange))
        self._connecting.add(task)
        task.add_done_callback(lambda task: self._connected(task, exchange))

    async def close(self) -> None:
        """Cut everything; calls under way end as failures."""
        for task in list(self._connecting):
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in list(self._open):
            connection.cut("not finished", "still under way when the replay's time was over")

    async def _connect(self, exchange: Exchange) -> None:
        try:
            async with asyncio.timeout(min(CONNECT_S, self.timeout_s)):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self), self.host, self.port, ssl=self.tls
                )
        except TimeoutError:
            self.settle(exchange, "connect timeout", f"no connection to {self.host}:{self.port}")
        except OSError as error:
            self.settle(exchange, "connect", str(error))
        else:
            connection.start(exchange)

    def _connected(self, task: "asyncio.Task[None]", exchange: Exchange) -> None:
        self._connecting.discard(task)
        if task.cancelled():  # Told here since a task that is cancelled early never runs.
            self.settle(exchange, "not finished", "still connecting when the replay's time was over")

    def request(self, exchange: Exchange) -> bytes:
        """The bytes of a call."""
        length = b"content-length: %d\r\n\r\n" % len(exchange.body)
        return b"".join((self._head, exchange.headers, length, exchange.body))

    def settle(self, exchange: Exchange, failure: str | None, message: str = "") -> None:
        """A call has ended, well (None) or ill."""
        if exchange.timer is not None:
            exchange.timer.cancel()
        exchange.answer.failure = failure
        exchange.answer.message = message
        self.in_flight -= 1
        exchange.done(exchange.answer)
        if not self.in_flight:
            self.quiet.set()

    def opened(self, connection: "Connection") -> None:
        self._open.add(connection)

    def gone(self, connection: "Connection") -> None:
        self._open.discard(connection)

    def free(self, connection: "Connection") -> None:
        """A connection whose call has ended well."""
        if len(self._idle) < IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.drop()


class Connection(asyncio.Protocol):
    """One connection, with at most one call on it. Also the parser's callbacks."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._parser = httptools.HttpResponseParser(self)

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing() and self._exchange is None

    def start(self, exchange: Exchange) -> None:
        """Send a call on this connection."""
        if self._transport is None:  # Lost between connecting and now.
            self._client.settle(exchange, "connection lost", "closed before the call was sent")
            return
        self._exchange = exchange
        self._parser = httptools.HttpResponseParser(self)
        exchange.timer = self._loop.call_later(self._client.timeout_s, self._on_timeout)
        self._transport.write(self._client.request(exchange))

    def cut(self, failure: str, message: str) -> None:
        """End the call that is on it, as a failure, and close."""
        exchange, self._exchange = self._exchange, None
        self.drop()
        if exchange is not None:
            self._client.settle(exchange, failure, message)

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _on_timeout(self) -> None:
        self.cut("timeout", f"no complete answer within {self._client.timeout_s:g} s")

    # asyncio's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance.
        self._client.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:
            self.drop()  # Nobody asked.
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.cut("bad answer", f"not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._client.gone(self)
        self.cut("connection lost", str(exc) if exc is not None else "closed before the answer was complete")

    # httptools' callbacks.

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        name = name.lower()
        if name == b"x-tradewind-region":
            exchange.answer.region = value.decode("latin-1")
        elif name == b"x-tradewind-decision":
            exchange.answer.decision = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._exchange is not None:
            self._exchange.answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        answer = exchange.answer
        now = self._loop.time()
        if answer.first_at is None:
            answer.first_at = now
        if answer.status != 200:
            exchange.kept += body[: KEPT_BYTES_MAX - len(exchange.kept)]
        elif exchange.stream:
            self._read_events(exchange, body, now)

    def _read_events(self, exchange: Exchange, body: bytes, now: float) -> None:
        """Count events by whole lines; what is behind the last line's end waits for the rest."""
        text, newline, rest = (exchange.carry + body).rpartition(b"\n")
        exchange.carry = rest
        if not newline:
            if len(rest) > LINE_BYTES_MAX:
                self.cut("bad answer", f"a line of more than {LINE_BYTES_MAX} bytes in a stream")
            return
        events = text.count(_EVENT)
        if events:
            exchange.answer.events += events
            exchange.answer.last_at = now
            if _ERROR_EVENT in text:
                exchange.kept += text[text.index(_ERROR_EVENT) + len(b"data: ") :][:KEPT_BYTES_MAX]
        if _DONE in text:
            exchange.whole = True

    def on_message_complete(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        answer = exchange.answer
        if self._parser.should_keep_alive():
            self._client.free(self)
        else:
            self.drop()
        if answer.status != 200:
            self._client.settle(exchange, f"status {answer.status}", error_message(bytes(exchange.kept)))
        elif exchange.kept:
            self._client.settle(exchange, "error event", error_message(bytes(exchange.kept)))
        elif exchange.stream and not exchange.whole:
            self._client.settle(exchange, "cut short", "the stream ended without [DONE]")
        else:
            self._client.settle(exchange, None)


def encode_headers(headers: Sequence[tuple[str, str]]) -> bytes:
    """Header lines. Raises ValueError where one could end its line."""
    for name, value in headers:
        if any(character in name + value for character in "\r\n\0"):
            raise ValueError(f"a header may not contain line ends: {name}")
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1", "replace")


def error_message(body: bytes) -> str:
    """The message in an OpenAI error object, or the beginning of whatever it is instead."""
    text = body.split(b"\n")[0]
    try:
        return _ERROR.decode(text).error.message
    except msgspec.DecodeError:
        return text[:200].decode("utf-8", "replace")
