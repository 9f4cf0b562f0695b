"""The shorter way in: requests as nearly all are go past the parser. The outside world: clients.

A request that is alone on an idle connection, with a plain head and a declared length, costs
half as much this way. Anything else is left, from its first byte on, to the parser, which
stands between two messages and never learns of what went past it.
"""

import asyncio
from typing import Any

import structlog
from uvicorn.config import Config
from uvicorn.server import ServerState

from router.edge.cycle import EdgeCycle
from router.edge.door import FrontDoor
from router.edge.protocol import EdgeProtocol

log = structlog.get_logger()


class PlainProtocol(EdgeProtocol):
    """One client connection, as a front door serves it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: FrontDoor,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop, door=door)
        self._at_boundary = True  # The parser stands between two requests.
        self._left_bytes = 0  # To come of the body of a request whose head went past the parser.

    def data_received(self, data: bytes) -> None:
        if self._left_bytes:
            data = self._take_rest(data)
            if not data:
                return
        if not (self._at_boundary and self._take_plain(data)):
            super().data_received(data)

    def on_message_begin(self) -> None:
        self._at_boundary = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._at_boundary = True
        super().on_message_complete()

    def _take_plain(self, data: bytes) -> bool:
        """Take a request as nearly all are, without the parser: one that is alone on an idle connection."""
        end = data.find(b"\r\n\r\n")
        before = self.cycle
        if end < 0 or self._poisoned or self._lingering or (before is not None and not before.response_complete):
            return False
        door = self.door
        if end > door.settings.edge.headers_bytes_max or self.flow.write_paused or self.transport.is_closing():
            return False
        plain = door.plain.read(data[:end])
        if plain is None:
            return False
        route, target, request, length = plain
        body = data[end + 4 :]
        left = length - len(body)
        if left < 0:
            return False  # Another request follows at once.
        self._head_began_at = self._rests_since = None
        self.expect_100_continue = False
        try:
            cycle = EdgeCycle(self, route, target, request)
            self.cycle = self._answering = self._reading = cycle
            self._left_bytes = left
            if not left:
                cycle.start_whole(body)
                return True
            if body:
                cycle.take(body)
            cycle.start()
        except Exception:
            log.exception("call failed in the edge")
            self.transport.abort()
        return True

    def _take_rest(self, data: bytes) -> bytes:
        """More of the body of a plain request; what comes behind it is returned."""
        body, rest = data[: self._left_bytes], data[self._left_bytes :]
        self._left_bytes -= len(body)
        self.on_body(body)
        if not self._left_bytes:
            self.on_message_complete()
        return rest
