"""One publisher for each store: writes the newest heartbeat there, and waits for no other publisher."""

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from federation.agent.metrics import AgentMetrics
from federation.clock import Clock
from federation.store.breaker import BACK_OFF_S, Breaker
from federation.store.interface import FederationStore, StoreUnavailable

log = structlog.get_logger()

IDLE_S_MAX = 1.0  # It comes round at least this often, so that its age tells whether it lives.


class Publisher:
    """Offered a message each interval, it sends the newest only; what it missed is of no use to anyone."""

    def __init__(
        self,
        store: FederationStore,
        cluster: str,
        ttl_s: float,
        clock: Clock,
        metrics: AgentMetrics,
        beat: Callable[[], None],
    ) -> None:
        self.attempted = asyncio.Event()  # Set once the first try has ended, well or not.
        self._store = store
        self._cluster = cluster
        self._ttl_s = ttl_s
        self._clock = clock
        self._metrics = metrics
        self._beat = beat
        self._newest: bytes | None = None
        self._offered = asyncio.Event()
        self._breaker = Breaker()
        self._last_result: str | None = None
        self._answers = metrics.store_answers.labels(store.name)
        self._seconds = metrics.publish_seconds.labels(store.name)

    def offer(self, message: bytes) -> None:
        """Replace whatever waits to be sent."""
        self._newest = message
        self._offered.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            self._beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._offered.wait()
            self._offered.clear()
            if self._newest is None:
                continue
            if not self._breaker.may_try(self._clock.monotonic()):
                # A new offer must not cut the pause short; what waits is sent when it ends.
                await asyncio.sleep(max(0.0, self._breaker.retry_at - self._clock.monotonic()))
            await self._send(self._newest)

    def _pause_s(self) -> float:
        """How long to wait for the next offer before trying the last one again."""
        if self._newest is None or self._breaker.failures == 0:
            return IDLE_S_MAX
        return max(self._breaker.retry_at - self._clock.monotonic(), BACK_OFF_S)

    async def _send(self, message: bytes) -> None:
        started = self._clock.monotonic()
        try:
            written = await self._store.publish(self._cluster, message, self._ttl_s)
        except StoreUnavailable as error:
            self._breaker = self._breaker.after_failure(self._clock.monotonic())
            self._account(error.cause.value, str(error))
        except Exception:  # The top of a loop: whatever it is, the next heartbeat is tried again.
            log.exception("heartbeat was not sent", store=self._store.name)
            self._breaker = self._breaker.after_failure(self._clock.monotonic())
            self._metrics.loop_failures.labels(f"publish {self._store.name}").inc()
            self._account("error", "unexpected error")
        else:
            self._breaker = self._breaker.after_success(self._clock.monotonic())
            if self._newest is message:
                self._newest = None
            self._account("written" if written else "newer", "")
        self._seconds.observe(self._clock.monotonic() - started)
        self.attempted.set()

    def _account(self, result: str, detail: str) -> None:
        """Count each result; log only where it changed."""
        self._metrics.heartbeats.labels(self._store.name, result).inc()
        self._answers.set(result in ("written", "newer"))
        if result == self._last_result:
            return
        before, self._last_result = self._last_result, result
        if result == "written":
            log.info("store takes heartbeats", store=self._store.name, before=before)
        elif result == "newer":
            log.warning(
                "store holds a newer heartbeat of this cluster: another agent speaks for it, or this clock went back",
                store=self._store.name,
                cluster=self._cluster,
            )
        else:
            log.warning("store does not take heartbeats", store=self._store.name, detail=detail)
