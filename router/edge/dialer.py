"""Probes over the calls' own connections. The outside world: clusters."""

import asyncio
from collections.abc import Sequence

from federation.clock import Clock
from federation.outcome import OutcomeKind
from federation.probe import ProbeAnswer, ProbeNotSent
from router.edge.pool import ClusterPool, PoolDirectory
from router.edge.upstream import UpstreamConnection


class ProbeTaker:
    """Takes the answer to one probe."""

    def __init__(self, pool: ClusterPool, path: str, origin: bytes, settled: "asyncio.Future[int | None]") -> None:
        self.pool = pool
        self.path = path
        self.origin = origin
        self.settled = settled
        self.status = 0
        self.connection: UpstreamConnection | None = None
        self.reused = False

    @property
    def wanted(self) -> bool:
        return not self.settled.done()

    def attach(self, connection: UpstreamConnection, reused: bool) -> None:
        self.connection = connection
        self.reused = reused
        head = b"GET %s HTTP/1.1\r\nhost: %s\r\nx-tradewind-origin: %s\r\n\r\n" % (
            self.path.encode(),
            self.pool.authority,
            self.origin,
        )
        connection.send(self, head, b"")

    def on_head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.status = status

    def on_data(self, chunk: bytes) -> None:
        pass  # A health page's text says nothing that its status does not.

    def on_end(self) -> None:
        self.connection = None
        self._settle(self.status)

    def on_whole(self, headers: Sequence[tuple[bytes, bytes]], lines: bytes, body: bytes) -> None:
        self.connection = None
        self._settle(200)

    def on_failed(self, kind: OutcomeKind) -> None:
        connection, self.connection = self.connection, None
        if self.reused and connection is not None and not connection.answered and self.wanted:
            # A resting connection was closed under us: that says nothing of the cluster. Once more, on a new one.
            self.reused = False
            self.pool.acquire(self, fresh=True, bounded=False)
        elif kind is OutcomeKind.LOCAL_SHORTAGE:
            if not self.settled.done():
                self.settled.set_exception(ProbeNotSent())
        else:
            self._settle(None)

    def give_up(self) -> None:
        """Too late: end the connection, for its answer would come to nobody."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.release()

    def _settle(self, status: int | None) -> None:
        if not self.settled.done():
            self.settled.set_result(status)


class PoolDialer:
    """Sends probes over the calls' own connections."""

    def __init__(self, pools: PoolDirectory, own_region: str, clock: Clock) -> None:
        self.pools = pools
        self.origin = own_region.encode()
        self.clock = clock

    async def probe(self, cluster: str, path: str, timeout_s: float) -> ProbeAnswer | None:
        """One GET; None if there was no answer in time."""
        pool = self.pools.get(cluster)
        if pool is None:
            return None
        settled: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        taker = ProbeTaker(pool, path, self.origin, settled)
        started = self.clock.monotonic()
        pool.acquire(taker, bounded=False)
        try:
            async with asyncio.timeout(timeout_s):
                status = await settled
        except TimeoutError:
            return None
        finally:
            settled.cancel()
            taker.give_up()
        return None if status is None else ProbeAnswer(status, self.clock.monotonic() - started)
