"""Connections to one cluster's endpoint: the idle ones, and how to make more. The outside world: clusters.

DNS is never asked on a call's way: `router.edge.resolver` tells the addresses.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from urllib.parse import urlsplit

import structlog

from federation.outcome import OutcomeKind
from router.edge.addresses import Address, AddressBook
from router.edge.plain_answers import PlainAnswers
from router.edge.race import first_to_answer, is_our_shortage
from router.edge.upstream import Taker, UpstreamConnection
from router.tls import SHUTDOWN_S, ClusterTls, cause_of, is_alert, system_tls

STAGGER_RATIO = 0.25  # Of the time for connecting: when an address has not answered by then, the next is tried beside.
TELL_AGAIN_S = 30.0
CAUSES_MAX = 32
YOUNG_S = 1.0  # A connection at rest that is lost so soon was not wanted there.
WARM_WAIT_S = 1.0  # After a loss or a failure; doubled each time in a row.
WARM_WAIT_S_MAX = 30.0

log = structlog.get_logger()

Opener = Callable[["ClusterPool", Address], Coroutine[Any, Any, UpstreamConnection]]


async def over_the_network(pool: "ClusterPool", address: Address) -> UpstreamConnection:
    """A new connection to one address. Raises OSError, or ValueError for a name that no certificate can bear."""
    loop = asyncio.get_running_loop()

    def make() -> UpstreamConnection:
        connection = UpstreamConnection(pool)
        connection.address = address
        return connection

    if pool.tls is None:
        _, connection = await loop.create_connection(make, address.text, pool.port)
    else:
        _, connection = await loop.create_connection(
            make,
            address.text,
            pool.port,
            ssl=pool.tls.context,
            server_hostname=pool.server_name or pool.host,
            ssl_handshake_timeout=pool.connect_s,
            ssl_shutdown_timeout=SHUTDOWN_S,
        )
    return connection


class ClusterPool:
    """Connections to one cluster's endpoint: the idle ones, and how to make more."""

    def __init__(
        self,
        cluster: str,
        endpoint: str,
        *,
        connect_s: float,
        idle_max: int,
        connections_max: int,
        tls: ClusterTls | None = None,
        server_name: str | None = None,
        opener: Opener = over_the_network,
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
        self.connections_max = connections_max
        self.tls = (tls or system_tls()) if parts.scheme == "https" else None
        self.server_name = server_name
        self.opener = opener
        self.idle: list[UpstreamConnection] = []
        self.open = 0
        self.closed = False
        self.proved = False  # Whether a request was ever answered on the present terms; see `meaning_of_loss`.
        self.is_named = not _is_address(self.host)
        self.book = AddressBook(() if self.is_named else (self.host,))
        self.answers = PlainAnswers()
        self._connecting: set[asyncio.Task[None]] = set()
        self._told: dict[str, float] = {}
        self._warming = 0
        self._warmed_at = float("-inf")
        self._warm_wait_s = 0.0
        self._cooled = False

    def trust(self, tls: ClusterTls | None) -> None:
        """Other authorities, or another certificate of ours, from now on; connections that stand are left to finish."""
        if self.tls is not None and (tls.source if tls is not None else "") != self.tls.source:
            self.tls = tls or system_tls()
            self._retire()

    def _retire(self) -> None:
        self.proved = False
        self.book.renew()
        self.close_idle()

    def move(self, addresses: Iterable[str]) -> None:
        """DNS names these now. Idle connections to others are closed; calls on them finish."""
        if not self.book.replace(addresses):
            return
        log.info("endpoint resolved", cluster=self.cluster, host=self.host, addresses=self.book.texts)
        for connection in [c for c in self.idle if c.address.gone]:
            connection.transport.close()

    # Taking and giving back.

    def acquire(self, taker: Taker, fresh: bool = False, bounded: bool = True) -> None:
        """Attach a connection to `taker`: the one used last, else a new one; failures go to on_failed.

        Probes are not bounded: a cluster that froze with every place taken would never be found out.
        """
        while self.idle and not fresh:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                taker.attach(connection, reused=True)
                return
        if bounded and self.is_full:
            asyncio.get_running_loop().call_soon(self._turn_away, taker)
            return
        self._spawn(self._connect(taker))

    @property
    def is_full(self) -> bool:
        """As many connections as there may be; one that was opened in this very round of the loop counts twice."""
        return self.open + len(self._connecting) >= self.connections_max

    def _turn_away(self, taker: Taker) -> None:
        self._tell(f"as many connections as edge.connections_max allows ({self.connections_max})")
        if taker.wanted:
            taker.on_failed(OutcomeKind.POOL_FULL)

    def put_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next call, unless it is one too many or on terms that no longer hold."""
        if connection.answered:
            self.proved = True
        if (
            self.closed
            or connection.address.gone
            or len(self.idle) >= self.idle_max
            or connection.transport.is_closing()
        ):
            connection.transport.close()
        else:
            connection.rested_at = asyncio.get_running_loop().time()
            self.idle.append(connection)

    def trim(self, now: float, idle_s: float) -> None:
        """Close what has rested for longer than `idle_s`: something on the way may have dropped it in silence."""
        for connection in [c for c in self.idle if now - c.rested_at > idle_s]:
            connection.transport.close()

    def forget(self, connection: UpstreamConnection, error: Exception | None) -> None:
        """A connection is gone."""
        if connection.answered:
            self.proved = True
        if is_alert(error):
            assert error is not None
            self.proved = False
            self._tell(cause_of(error))
        if connection in self.idle:
            self.idle.remove(connection)
            if asyncio.get_running_loop().time() - connection.rested_at < YOUNG_S:
                self._cool()

    def meaning_of_loss(self, connection: UpstreamConnection) -> OutcomeKind:
        """What a connection that was lost in the middle of a request says.

        With TLS 1.3 a cluster refuses our certificate only after the handshake, and its reason is often lost in the
        reset that follows. So on terms that were never yet good for an answer a loss counts as a refusal: else two
        clusters that refuse us would make a call look like one that kills servers.
        """
        if self.tls is not None and not self.proved and not connection.answered:
            self._tell("it ended the connection before it ever answered; does it believe our certificate?")
            return OutcomeKind.REFUSED
        return OutcomeKind.RESET

    def close(self) -> None:
        """The cluster is no longer declared, or we end: close what is idle, let the rest finish."""
        self.closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Idle connections to a cluster that is gone are worth nothing."""
        for connection in self.idle[:]:
            connection.transport.close()

    # Connecting.

    def _spawn(self, connecting: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(connecting)
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, taker: Taker) -> None:
        try:
            connection = await self._dial()
        except (OSError, ValueError) as error:  # A name that no certificate can bear is a ValueError.
            failure = self._meaning_of_error(error)
        else:
            if not taker.wanted:
                self.put_back(connection)
                return
            if not connection.transport.is_closing():
                taker.attach(connection, reused=False)
                return
            failure = self.meaning_of_loss(connection)  # Taken and dropped before we came to say a word.
        if taker.wanted:
            taker.on_failed(failure)

    def _meaning_of_error(self, error: OSError | ValueError) -> OutcomeKind:
        if is_our_shortage(error):
            return OutcomeKind.LOCAL_SHORTAGE
        self._tell(cause_of(error))
        return OutcomeKind.CONNECT_TIMEOUT if isinstance(error, TimeoutError) else OutcomeKind.REFUSED

    def _tell(self, cause: str) -> None:
        """Why there is no connection, once in a while."""
        now = asyncio.get_running_loop().time()
        if now - self._told.get(cause, float("-inf")) > TELL_AGAIN_S:
            if len(self._told) >= CAUSES_MAX:
                self._told.clear()
            self._told[cause] = now
            log.warning("no connection to a cluster", cluster=self.cluster, endpoint=self.endpoint, cause=cause)

    async def _dial(self) -> UpstreamConnection:
        """A new connection, to whichever address answers. Raises OSError, ValueError or TimeoutError."""
        order = self.book.order(asyncio.get_running_loop().time())
        if not order:
            raise OSError(f"{self.host} has not been resolved yet")
        async with asyncio.timeout(self.connect_s):
            if len(order) == 1:
                return await self._open(order[0])
            return await first_to_answer(order, self._open, self.connect_s * STAGGER_RATIO, self.put_back)

    async def _open(self, address: Address) -> UpstreamConnection:
        return await self.opener(self, address)

    # Warming.

    def warm(self, now: float, count: int) -> None:
        """Have `count` connections at rest; what is missing is opened beside. After a loss, ever less eagerly."""
        missing = count - len(self.idle) - self._warming
        if missing <= 0:
            if self.idle and now - self.idle[0].rested_at >= YOUNG_S:
                self._warm_wait_s = 0.0
            return
        if self.closed or not len(self.book) or now < self._warmed_at + self._warm_wait_s:
            return
        self._warmed_at = now
        self._cooled = False
        for _ in range(missing):
            if self.is_full:
                return
            self._warming += 1
            self._spawn(self._open_one_to_rest())

    async def _open_one_to_rest(self) -> None:
        try:
            self.put_back(await self._dial())
        except (OSError, ValueError) as error:
            self._meaning_of_error(error)
            self._cool()
        finally:
            self._warming -= 1

    def _cool(self) -> None:
        """What was opened last was not wanted; told once for all that were opened together."""
        if not self._cooled:
            self._cooled = True
            self._warm_wait_s = min(WARM_WAIT_S_MAX, 2.0 * self._warm_wait_s or WARM_WAIT_S)


PoolDirectory = dict[str, ClusterPool]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
