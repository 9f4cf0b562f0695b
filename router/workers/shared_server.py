"""uvicorn's server on a listener that several processes take connections from."""

import socket

import uvicorn

from router.app import Server
from router.edge.accepting import protocols_of
from router.tls import OfferedCertificate
from router.workers.acceptor import Acceptor
from router.workers.balance import Balance


class SharedServer(Server):
    """uvicorn's server on a listener that is not ours alone."""

    def __init__(self, config: uvicorn.Config, balance: Balance, offered: OfferedCertificate | None) -> None:
        super().__init__(config, offered)
        self.balance = balance
        self.place = 0  # Which slot of the balance is ours; known once it is told to listen.

    @property
    def connections(self) -> int:
        return len(self.server_state.connections) + sum(acceptor.taking for acceptor in self.servers)

    def tell_balance(self) -> None:
        """Let the others know how many connections we have."""
        self.balance.write(self.place, self.connections)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is not None
        await self.lifespan.startup()
        make = protocols_of(self)

        def has_more() -> bool:
            return self.balance.has_more(self.place, self.connections)

        self.servers: list[Acceptor] = [  # type: ignore[assignment]
            Acceptor(listener, make, self.offered, has_more, self.tell_balance) for listener in sockets
        ]
        self.started = True
        self.listening.set()
