"""A client connection of the load: sends one request at a time, and checks each answer."""

import asyncio
import time
from collections.abc import Callable

import httptools

from tests.benchmarks.answer import TEXT

_TEXT = TEXT.encode()


class Connection(asyncio.Protocol):
    """Tells `answered(self, ok)` once an answer is complete, and `closed(self)` when the connection went."""

    def __init__(
        self, answered: "Callable[[Connection, bool], None]", closed: "Callable[[Connection], None] | None" = None
    ) -> None:
        self.answered = answered
        self.closed = closed
        self.busy = False
        self.asked_at = self.first_byte_at = 0.0
        self.body = b""
        self.status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.write = transport.write  # type: ignore[attr-defined]
        self.parser = httptools.HttpResponseParser(self)

    def ask(self, head: bytes, body: bytes) -> None:
        self.busy = True
        self.first_byte_at = 0.0
        if len(body) < 16_384:
            self.write(head + body)
        else:
            self.write(head)
            self.write(body)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body = self.body + body if self.body else body

    def on_message_complete(self) -> None:
        self.status = self.parser.get_status_code()
        if self.status == 100:
            return
        self.busy = False
        if not self.parser.should_keep_alive():
            self.transport.close()
        self.answered(self, self.status == 200 and _TEXT in self.body)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.closed is not None:
            self.closed(self)


class TimedConnection(Connection):
    """Notes as well when the first byte of an answer came."""

    def data_received(self, data: bytes) -> None:
        if not self.first_byte_at:
            self.first_byte_at = time.monotonic()
        self.parser.feed_data(data)
