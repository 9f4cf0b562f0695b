"""One end of the socket pair between the parent and a worker. The outside world: the other process.

Nothing waits here: what the other side does not take in time is left out, and the sender is told so.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import structlog

from router.workers.messages import LENGTH_BYTES, BadFrame, Begin, Frames, Message, framed, length_of

UNSENT_BYTES_MAX = 1024 * 1024  # Beyond what the kernel holds; a process that wakes up has no use for more.
BEGIN_S_MAX = 10.0

log = structlog.get_logger()


class Channel(asyncio.Protocol):
    """Sends and receives messages; `on_message` is called for each, `on_end` once."""

    def __init__(self, on_message: Callable[[Message], None], on_end: Callable[[], None]) -> None:
        self.on_message = on_message
        self.on_end = on_end
        self.left_out = 0  # Messages for which there was no room.
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def over(
        cls, end: socket.socket, on_message: Callable[[Message], None], on_end: Callable[[], None]
    ) -> "Channel":
        """A channel over one end of a socket pair, which it owns from now on."""
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(lambda: cls(on_message, on_end), sock=end)
        return channel

    def send(self, message: Message) -> bool:
        """Send, if there is room; whether there was."""
        return self.send_frame(framed(message))

    def send_frame(self, frame: bytes) -> bool:
        """The same for a message in its frame."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        unsent = transport.get_write_buffer_size()
        if unsent and unsent + len(frame) > UNSENT_BYTES_MAX:
            self.left_out += 1
            return False
        transport.write(frame)
        return True

    def close(self) -> None:
        """End it; what was not sent is dropped."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._frames.feed(data):
                self.on_message(message)
        except BadFrame as error:
            log.error("channel between parent and worker broken", cause=str(error))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.on_end()


def receive_begin(end: socket.socket) -> Begin:
    """The first message to a worker, waited for. Raises OSError or BadFrame."""
    end.settimeout(BEGIN_S_MAX)
    content = _exactly(end, length_of(_exactly(end, LENGTH_BYTES)))
    message = Frames().message(content)
    if not isinstance(message, Begin):
        raise BadFrame(f"expected the first word, got {type(message).__name__}")
    return message


def _exactly(end: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        part = end.recv(count - len(received))
        if not part:
            raise OSError("the parent has ended")
        received += part
    return bytes(received)
