"""One connection of a client. Speaks to the network."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

READ_BYTES = 64 * 1024


class Ended(Exception):
    """The other side closed it where more was due."""


@dataclass(slots=True)
class Answer:
    """One answer, as far as it has come."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False


class Connection:
    """Requests go out as bytes, answers come in their order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = httptools.HttpResponseParser(self)
        self._coming: deque[Answer] = deque()
        self._name = ""

    @classmethod
    async def open(cls, host: str, port: int, receive_bytes: int | None = None) -> "Connection":
        """`receive_bytes`: as little as the kernel may take in for it."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
            return cls(*await asyncio.open_connection(sock=sock, limit=receive_bytes or READ_BYTES))
        except BaseException:
            sock.close()
            raise

    async def exchange(
        self, request: bytes, answers: int, wants_more: Callable[[Answer], bool], pause_s: float = 0.0
    ) -> list[Answer]:
        """Send, and read the answers; between two reads ask whether to go on. Raises Ended with what came in `args`."""
        expected = [Answer() for _ in range(answers)]
        self._coming.extend(expected)
        self._writer.write(request)
        while not expected[-1].complete:
            if not wants_more(expected[0]):
                return expected
            if pause_s:
                await asyncio.sleep(pause_s)
            try:
                data = await self._reader.read(READ_BYTES)
                if not data:
                    raise Ended(expected)
                self._parser.feed_data(data)
            except (OSError, httptools.HttpParserError) as error:
                raise Ended(expected) from error
        return expected

    async def send_and_wait(self, request: bytes, seconds: float) -> None:
        """Send, and read nothing; the connection is of no more use."""
        self._coming.append(Answer())
        self._writer.write(request)
        await asyncio.sleep(seconds)

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        return not self._coming and self._parser.should_keep_alive() and not self._reader.at_eof()

    def close(self) -> None:
        """At once, whatever is still under way."""
        self._writer.transport.abort()

    # What the parser tells.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._coming:
            self._coming[0].headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._coming:
            self._coming[0].status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self._coming[0].body += data

    def on_message_complete(self) -> None:
        self._coming.popleft().complete = True
