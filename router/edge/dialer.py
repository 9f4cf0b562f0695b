"""Probes over the calls' own connections. The outside world: clusters."""

import asyncio

from federation.clock import Clock
from federation.probe import ProbeAnswer
from router.edge.upstream import PoolDirectory, ProbeTaker


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
        pool.acquire(taker)
        try:
            async with asyncio.timeout(timeout_s):
                status = await settled
        except TimeoutError:
            return None
        finally:
            settled.cancel()
            taker.give_up()
        return None if status is None else ProbeAnswer(status, self.clock.monotonic() - started)
