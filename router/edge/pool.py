"""Connections to one cluster's endpoint: the idle ones, and how to make more. The outside world: clusters.

DNS is never asked on a call's way: a background loop calls `resolve`.
"""

import asyncio
import errno
import ipaddress
import ssl
from urllib.parse import urlsplit

import structlog

from federation.outcome import OutcomeKind
from router.edge.upstream import Taker, UpstreamConnection

# Errors of connecting that are this process's own: taken for the cluster's, they would eject the whole fleet.
OUR_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})

log = structlog.get_logger()


class ClusterPool:
    """Connections to one cluster's endpoint: the idle ones, and how to make more."""

    def __init__(
        self, cluster: str, endpoint: str, connect_s: float, idle_max: int, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(endpoint)
        assert parts.hostname is not None, "endpoints are checked when the inventory is read"
        self.cluster = cluster
        self.endpoint = endpoint
        self.host = parts.hostname
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.authority = parts.netloc.encode()
        self.connect_s = connect_s
        self.idle_max = idle_max
        self.tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self.idle: list[UpstreamConnection] = []
        self.open = 0
        self.closed = False
        self._connecting: set[asyncio.Task[None]] = set()
        self._next_address = 0
        self.addresses: tuple[str, ...] = (self.host,) if _is_address(self.host) else ()

    def trust(self, tls: ssl.SSLContext | None) -> None:
        """Other certificates are trusted from now on; connections that stand are left to finish."""
        if self.tls is not None:
            self.tls = tls or ssl.create_default_context()

    def acquire(self, taker: Taker, fresh: bool = False) -> None:
        """Attach a connection to `taker`: the one used last, else a new one; failures go to on_failed."""
        while self.idle and not fresh:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                taker.attach(connection, reused=True)
                return
        task = asyncio.get_running_loop().create_task(self._connect(taker))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _dial(self) -> UpstreamConnection:
        """A new connection to the next address. Raises OSError, ValueError or TimeoutError."""
        if not self.addresses:
            raise OSError(f"{self.host} has not been resolved yet")
        self._next_address = (self._next_address + 1) % len(self.addresses)
        async with asyncio.timeout(self.connect_s):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: UpstreamConnection(self),
                self.addresses[self._next_address],
                self.port,
                ssl=self.tls,
                server_hostname=self.host if self.tls is not None else None,
            )
        return connection

    async def _connect(self, taker: Taker) -> None:
        try:
            connection = await self._dial()
        except TimeoutError:
            failure = OutcomeKind.CONNECT_TIMEOUT
        except (OSError, ValueError) as error:  # A name that no certificate can bear is a ValueError.
            ours = isinstance(error, OSError) and error.errno in OUR_SHORTAGES
            failure = OutcomeKind.LOCAL_SHORTAGE if ours else OutcomeKind.REFUSED
        else:
            if not taker.wanted:
                self.put_back(connection)
                return
            if not connection.transport.is_closing():
                taker.attach(connection, reused=False)
                return
            failure = OutcomeKind.RESET  # Taken and dropped before we came to say a word.
        if taker.wanted:
            taker.on_failed(failure)

    def put_back(self, connection: UpstreamConnection) -> None:
        """An idle connection, for the next call; beyond the bound it is closed."""
        if self.closed or len(self.idle) >= self.idle_max or connection.transport.is_closing():
            connection.transport.close()
        else:
            connection.rested_at = asyncio.get_running_loop().time()
            self.idle.append(connection)

    def trim(self, now: float, idle_s: float) -> None:
        """Close what has rested for longer than `idle_s`: something on the way may have dropped it in silence."""
        for connection in [c for c in self.idle if now - c.rested_at > idle_s]:
            connection.transport.close()

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection is gone."""
        if connection in self.idle:
            self.idle.remove(connection)

    def close(self) -> None:
        """The cluster is no longer declared, or we end: close what is idle, let the rest finish."""
        self.closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Idle connections to a cluster that is gone are worth nothing."""
        for connection in self.idle[:]:
            connection.transport.close()

    async def resolve(self) -> None:
        """Ask DNS for the addresses of a named endpoint; a failure keeps the old ones."""
        if _is_address(self.host):
            return
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(5.0):
                found = await loop.getaddrinfo(self.host, self.port, proto=6)
        except (OSError, TimeoutError) as error:
            log.warning("endpoint not resolved", cluster=self.cluster, host=self.host, cause=repr(error))
            return
        addresses = tuple(sorted({str(address[4][0]) for address in found}))
        if addresses != self.addresses:
            log.info("endpoint resolved", cluster=self.cluster, host=self.host, addresses=addresses)
            self.addresses = addresses


PoolDirectory = dict[str, ClusterPool]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
