"""Background loops: on an absolute schedule, never dead without a trace, their age a metric."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from federation.clock import Clock

log = structlog.get_logger()

Step = Callable[[], Awaitable[None] | None]


class Loops:
    """Runs steps for ever. A step that fails is logged and counted, and the loop goes on."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self.clock = clock
        self.went_round_at: dict[str, float] = {}
        self._age = Gauge(
            "tradewind_loop_age_seconds", "Time since a background loop last went round", ["loop"], registry=registry
        )
        self._failures = Counter(
            "tradewind_loop_failures", "Rounds of a background loop that failed", ["loop"], registry=registry
        )

    async def every(self, name: str, interval_s: float, step: Step) -> None:
        """Run `step` each `interval_s` seconds until cancelled; rounds that were missed are not made up for."""
        loop = asyncio.get_running_loop()
        self._age.labels(name).set_function(lambda: self.age_s(name))
        self.went_round_at[name] = self.clock.monotonic()
        failing = False
        due = loop.time()
        while True:
            try:
                result = step()
                if inspect.isawaitable(result):
                    await result
                failing = False
            except Exception:
                self._failures.labels(name).inc()
                if not failing:
                    log.exception("loop failed, goes on", loop=name)
                failing = True
            self.went_round_at[name] = self.clock.monotonic()
            due = max(due + interval_s, loop.time())
            await asyncio.sleep(due - loop.time())

    def age_s(self, name: str) -> float:
        """Seconds since this loop last went round; 0 before it has begun."""
        at = self.went_round_at.get(name)
        return 0.0 if at is None else self.clock.monotonic() - at
