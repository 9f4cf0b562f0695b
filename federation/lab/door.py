"""A listening port that can be shut and opened again under the same number.

Speaks to sockets. Owns its connections, so that shutting it resets them.
"""

import asyncio
import os
import socket
from typing import Final

from federation.lab.http_protocol import Handle, HttpProtocol

BACKLOG: Final = 1_024


class PortTaken(Exception):
    """Another process listens there, or the address is not ours; str() says what to do."""


class Door:
    """One port of a process. `port` 0 asks for a free one, known once it is open and kept from then on."""

    def __init__(self, host: str, port: int, handle: Handle) -> None:
        self.host = host
        self.port = port
        self._handle = handle
        self._connections: set[HttpProtocol] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def open(self) -> None:
        """PortTaken if that cannot be."""
        if self._server is not None:
            return
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            # Sets SO_REUSEADDR: a process that was killed returns to its ports at once.
            listener = socket.create_server((self.host, self.port), family=family, backlog=BACKLOG)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise PortTaken(
                f"cannot listen on {self.host}:{self.port} ({reason}); end what listens there, or choose another port"
            ) from error
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(
            lambda: HttpProtocol(self._handle, self._connections), sock=listener
        )

    def shut(self) -> None:
        """Listens no more and resets every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.reset()
