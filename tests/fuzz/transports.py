"""Connections in memory: what a protocol writes is at its peer at once, or when the peer takes it."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = 16 * 1024

Heard = Callable[[bytes], None]


class MemoryTransport(asyncio.Transport):
    """A protocol's end of a connection. The other end is whoever holds this object, and hears by `heard`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, heard: Heard, takes: bool = True
    ) -> None:
        super().__init__({"peername": ("127.0.0.1", 40_000), "sockname": ("127.0.0.1", 8080)})
        self.lost = False  # Nobody is there any more, on our side.
        self.said_all = False  # Our side half-closed.
        self._loop = loop
        self._protocol = protocol
        self._heard = heard
        self._takes = takes
        self._closing = False
        self._reading = True
        self._inbound: deque[bytes | None] = deque()  # None: the peer's FIN.
        self._delivering = False
        self._unsent = bytearray()
        self._write_paused = False
        protocol.connection_made(self)

    # The protocol's side.

    def write(self, data: Any) -> None:
        assert not self.said_all, "written behind its own end"
        if self._closing and self.lost:
            return
        if self._takes and not self._unsent:
            if data:
                self._heard(bytes(data))
            return
        self._unsent += data
        if len(self._unsent) > HIGH_WATER_BYTES and not self._write_paused:
            self._write_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.said_all = True

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._plan()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._unsent:
                self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        if not self.lost:
            self._closing = True
            self._unsent.clear()
            self._loop.call_soon(self._lose, None)

    def _lose(self, error: Exception | None) -> None:
        if not self.lost:
            self._closing = self.lost = True
            self._inbound.clear()
            self._protocol.connection_lost(error)

    # The peer's side.

    def feed(self, data: bytes) -> None:
        """A segment arrives."""
        self._inbound.append(data)
        self._plan()

    def feed_eof(self) -> None:
        """The peer's FIN arrives, behind what it sent."""
        self._inbound.append(None)
        self._plan()

    def reset(self) -> None:
        """The peer's RST arrives: what was under way both ways is gone."""
        self._unsent.clear()
        self._lose(ConnectionResetError())

    def take(self, bytes_max: int) -> None:
        """A slow peer takes some of what waits for it."""
        if self.lost or not self._unsent:
            return
        taken = bytes(self._unsent[:bytes_max])
        del self._unsent[:bytes_max]
        self._heard(taken)
        if self._write_paused and len(self._unsent) <= LOW_WATER_BYTES:
            self._write_paused = False
            self._protocol.resume_writing()
        if self._closing and not self._unsent:
            self._loop.call_soon(self._lose, None)

    def take_all(self) -> None:
        """The peer is slow no longer."""
        self._takes = True
        while self._unsent and not self.lost:
            self.take(len(self._unsent))

    def _plan(self) -> None:
        if self._inbound and not self._delivering:
            self._delivering = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        """One segment a turn, as a loop reads."""
        self._delivering = False
        if not self._reading or self._closing or not self._inbound:
            return
        data = self._inbound.popleft()
        if data is None:
            if not self._protocol.eof_received():
                self.close()
            return
        self._protocol.data_received(data)
        self._plan()
