"""Takes connections from a listener that other processes take from as well. The outside world: clients.

The event loop's own server empties the queue each time it wakes, so that the worker that wakes
first takes a whole burst. This one takes a single connection at a time, and waits a moment
before that while it `has_more` than another: whoever has fewer comes first then.
"""

import asyncio
import errno
import socket
from collections.abc import Callable

import structlog

from router.tls import SHUTDOWN_S, OfferedCertificate

HESITATE_S = 0.005  # Of a connection's time at most, while another worker is too busy to take it.
SHORTAGE_S = 0.1  # Without descriptors: how long until we try again; other workers may have some.

log = structlog.get_logger()


class Acceptor:
    """In the place of an asyncio.Server."""

    def __init__(
        self,
        listener: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
        offered: OfferedCertificate | None,
        has_more: Callable[[], bool],
        taken: Callable[[], None],
    ) -> None:
        self.listener = listener
        self.factory = factory
        self.offered = offered
        self.has_more = has_more
        self.taken = taken  # Told of each connection.
        self._loop = asyncio.get_running_loop()
        self._serving = True
        self._taking: set[asyncio.Task[None]] = set()
        self._loop.add_reader(listener.fileno(), self._look)

    @property
    def taking(self) -> int:
        """Connections whose handshake is not over yet."""
        return len(self._taking)

    def is_serving(self) -> bool:
        return self._serving

    def close(self) -> None:
        """Take no more; connections that were taken go on."""
        if self._serving:
            self._serving = False
            self._loop.remove_reader(self.listener.fileno())
            self.listener.close()

    async def wait_closed(self) -> None:
        """End those whose handshake is not over: they have not asked for anything yet, and may never do."""
        for task in self._taking:
            task.cancel()
        if self._taking:
            await asyncio.wait(self._taking)

    def _look(self) -> None:
        if self.has_more():
            self._pause(HESITATE_S)
        else:
            self._take_one()

    def _take_one(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # Another worker has it, or the client has left again.
        except OSError as error:
            if error.errno == errno.EINVAL:  # The parent has shut the port, for all of us.
                self._loop.remove_reader(self.listener.fileno())
                return
            log.error("no connection could be taken: raise ulimit -n", cause=str(error))
            self._pause(SHORTAGE_S)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._serve(connection))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)
        self.taken()

    def _pause(self, pause_s: float) -> None:
        self._loop.remove_reader(self.listener.fileno())
        self._loop.call_later(pause_s, self._go_on)

    def _go_on(self) -> None:
        """Take what the others have left, and look again."""
        if self._serving:
            self._loop.add_reader(self.listener.fileno(), self._look)
            self._take_one()

    async def _serve(self, connection: socket.socket) -> None:
        offered = self.offered
        try:
            if offered is None:
                await self._loop.connect_accepted_socket(self.factory, connection)
            else:
                await self._loop.connect_accepted_socket(
                    self.factory,
                    connection,
                    ssl=offered.context,
                    ssl_handshake_timeout=offered.handshake_s,
                    ssl_shutdown_timeout=SHUTDOWN_S,
                )
        except OSError:
            connection.close()  # It broke, or its handshake did, before anything was said.
