"""Taking connections on sockets of our own, with TLS or without. The outside world: clients.

As uvicorn's own start does it, but with bounds of ours on a handshake and on a goodbye: before the handshake is over
no protocol of ours is there to look at the clock.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn

from router.tls import SHUTDOWN_S, OfferedCertificate


async def accept_on(
    server: uvicorn.Server, sockets: Sequence[socket.socket], offered: OfferedCertificate | None
) -> None:
    """Begin to take connections; the server ends them as it would its own."""
    config = server.config
    loop = asyncio.get_running_loop()
    await server.lifespan.startup()
    make = protocols_of(server)
    server.servers = []
    for sock in sockets:
        if offered is None:
            listening = await loop.create_server(make, sock=sock, backlog=config.backlog)
        else:
            listening = await loop.create_server(
                make,
                sock=sock,
                backlog=config.backlog,
                ssl=offered.context,
                ssl_handshake_timeout=offered.handshake_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        server.servers.append(listening)
    server.started = True


def protocols_of(server: uvicorn.Server) -> Callable[[], asyncio.Protocol]:
    """Makes the protocol of each connection, once the server has started its lifespan."""
    config, app_state = server.config, server.lifespan.state
    protocol: Any = config.http_protocol_class

    def make() -> asyncio.Protocol:
        made: asyncio.Protocol = protocol(config=config, server_state=server.server_state, app_state=app_state)
        return made

    return make
