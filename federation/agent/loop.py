"""The agent's loops: look, summarize, seal, offer; and beside it one publisher a store and the key's watch.

The heartbeat's schedule is absolute: the n-th is due n intervals after the start, give or
take the jitter, so that a slow round delays itself and not all that follow.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from random import Random

import msgspec
import structlog

from federation.agent.facts import ServerFacts
from federation.agent.key import AgentKey
from federation.agent.metrics import AgentMetrics
from federation.agent.publish import IDLE_S_MAX, Publisher
from federation.agent.scrape import Scraper
from federation.agent.settings import AgentSettings
from federation.agent.summarize import PoolRules, Summary, summarize
from federation.clock import Clock
from federation.model import Epoch, Heartbeat, ModelPool
from federation.role_port import LoopAges
from federation.store.interface import FederationStore, heartbeat_ttl_s
from federation.wire import MESSAGE_BYTES_MAX, seal

log = structlog.get_logger()

JITTER = 0.05  # Of the interval, either way: agents that started together do not write together.
KEY_POLL_S = 1.0
OVERDUE_INTERVALS = 5.0
OVERDUE_S_MIN = 5.0


def loop_bounds(settings: AgentSettings, stores: Sequence[FederationStore]) -> dict[str, float]:
    """Every loop of the agent, and the age in seconds at which it counts as dead."""
    publishing_s = OVERDUE_S_MIN + IDLE_S_MAX + settings.store_timeout_s
    return {
        "heartbeat": max(OVERDUE_S_MIN, OVERDUE_INTERVALS * settings.interval_s),
        "key": max(OVERDUE_S_MIN, OVERDUE_INTERVALS * KEY_POLL_S),
        **{f"publish {store.name}": publishing_s for store in stores},
    }


class Agent:
    """One cluster's agent. `run` ends only by cancellation, or with an error if a loop died."""

    def __init__(
        self,
        settings: AgentSettings,
        key: AgentKey,
        scraper: Scraper,
        stores: Sequence[FederationStore],
        clock: Clock,
        rng: Random,
        ages: LoopAges,
        metrics: AgentMetrics,
    ) -> None:
        self._settings = settings
        self._key = key
        self._scraper = scraper
        self._clock = clock
        self._rng = rng
        self._ages = ages
        self._metrics = metrics
        self._rules = PoolRules(settings.slots_per_replica, settings.features)
        self._epoch = Epoch(boot_ms=int(clock.wall() * 1000))
        self._seq = 0
        self._summary = Summary()
        self._observed_at = clock.monotonic()
        self._trimmed = False
        ttl_s = heartbeat_ttl_s(settings.interval_s)
        self._publishers = [
            Publisher(store, settings.cluster, ttl_s, clock, metrics, partial(ages.beat, f"publish {store.name}"))
            for store in stores
        ]

    async def attempted(self) -> None:
        """Returns once the first heartbeat was offered to every store, taken or not."""
        for publisher in self._publishers:
            await publisher.attempted.wait()

    def unready(self) -> str | None:
        """Why this agent is not ready; None once its first heartbeat was attempted and all loops go round."""
        if not all(publisher.attempted.is_set() for publisher in self._publishers):
            return "the first heartbeat was not attempted yet"
        return self._ages.overdue()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._heartbeats(), name="heartbeat")
            loops.create_task(self._watch_key(), name="key")
            for publisher in self._publishers:
                loops.create_task(publisher.run(), name="publish")

    async def _heartbeats(self) -> None:
        interval_s = self._settings.interval_s
        started, beats = self._clock.monotonic(), 0
        while True:
            try:
                await self._beat()
            except Exception:  # The top of a loop: tell, count, go on.
                log.exception("heartbeat failed")
                self._metrics.loop_failures.labels("heartbeat").inc()
            else:
                self._ages.beat("heartbeat")
            behind = int((self._clock.monotonic() - started) / interval_s) - beats
            if behind > 0:
                self._metrics.ticks_missed.inc(behind)
                beats += behind
            beats += 1
            due = started + interval_s * (beats + JITTER * self._rng.uniform(-1.0, 1.0))
            await asyncio.sleep(max(0.0, due - self._clock.monotonic()))

    async def _beat(self) -> None:
        """One heartbeat: what the model servers say now, or the last knowledge if we cannot look at all."""
        observed = await self._observe()
        self._seq += 1
        now = self._clock.monotonic()
        heartbeat = Heartbeat(
            cluster=self._settings.cluster,
            region=self._settings.region,
            epoch=self._epoch,
            seq=self._seq,
            interval_ms=round(self._settings.interval_s * 1000),
            sent_unix_ms=int(self._clock.wall() * 1000),
            pools=self._summary.pools,
            observed=observed,
            observed_age_ms=0 if observed else int((now - self._observed_at) * 1000),
        )
        message = self._sealed(heartbeat)
        self._metrics.heartbeat_bytes.set(len(message))
        for publisher in self._publishers:
            publisher.offer(message)

    async def _observe(self) -> bool:
        started = self._clock.monotonic()
        try:
            facts = await self._scraper.scrape()
            self._summary = summarize(self._summary, facts, self._rules)
        except Exception:  # Nobody's fault out there: a scrape reports all of that as facts.
            log.exception("model servers were not looked at")
            self._metrics.loop_failures.labels("heartbeat").inc()
            return False
        self._observed_at = self._clock.monotonic()
        self._metrics.scrape_seconds.observe(self._observed_at - started)
        self._account(facts)
        return True

    def _account(self, facts: Sequence[ServerFacts]) -> None:
        for server in facts:
            self._metrics.scrapes.labels(server.result.value).inc()
        ready = sum(server.ready for server in facts)
        self._metrics.model_servers.labels("true").set(ready)
        self._metrics.model_servers.labels("false").set(len(facts) - ready)

    def _sealed(self, heartbeat: Heartbeat) -> bytes:
        """The message; if it would be too large, without adapters, then with the largest pools only."""
        message = seal(heartbeat, self._key.id, self._key.secret)
        if len(message) <= MESSAGE_BYTES_MAX:
            self._trimmed = False
            return message
        self._metrics.heartbeats_trimmed.inc()
        size, pools = len(message), tuple(msgspec.structs.replace(pool, adapters=()) for pool in heartbeat.pools)
        while True:
            heartbeat = msgspec.structs.replace(heartbeat, pools=pools)
            message = seal(heartbeat, self._key.id, self._key.secret)
            if len(message) <= MESSAGE_BYTES_MAX:
                break
            pools = _largest(pools, len(pools) // 2)
        if not self._trimmed:
            self._trimmed = True
            log.warning(
                "heartbeat leaves out adapters or pools, it would be too large",
                bytes=size,
                bytes_max=MESSAGE_BYTES_MAX,
                pools=len(pools),
            )
        return message

    async def _watch_key(self) -> None:
        while True:
            self._ages.beat("key")
            try:
                taken = self._key.poll()
                if taken is not None:
                    self._metrics.key_changes.labels(str(taken).lower()).inc()
            except Exception:  # The top of a loop: tell, count, go on.
                log.exception("key was not looked at")
                self._metrics.loop_failures.labels("key").inc()
            await asyncio.sleep(KEY_POLL_S)


def _largest(pools: tuple[ModelPool, ...], count: int) -> tuple[ModelPool, ...]:
    kept = sorted(pools, key=lambda pool: (-pool.slots, pool.model))[:count]
    return tuple(sorted(kept, key=lambda pool: pool.model))
