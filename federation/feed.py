"""The feed: hears about the fleet, folds it, swaps the snapshot. Everything here runs beside the calls.

One loop reads each store, so that a frozen one delays nobody. One loop ticks: it folds what
was heard since the last tick and replaces `snapshot` and `view`, each by one assignment.
Calls read `feed.view`, an attribute, and report what came of their attempts to a bounded
inbox.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random

import structlog

from federation.clock import Clock
from federation.ejection import Cause, EjectionRules, Standing, State
from federation.fold import (
    BytesSeen,
    DrainSeen,
    Event,
    HeartbeatSeen,
    InventorySeen,
    OutcomeSeen,
    ProbeSeen,
    ServedSeen,
    StoresSeen,
    fold,
    is_newer,
)
from federation.geography import Distances
from federation.loops import Loops
from federation.metrics import FeedMetrics
from federation.model import ClusterSpec, Drain, Snapshot
from federation.observation import observe
from federation.outcome import Outcome
from federation.store.breaker import Breaker
from federation.store.interface import FederationStore, StoreReading, StoreUnavailable
from federation.transitions import transitions
from federation.view import FleetView
from federation.wire import Rejected, Rejection, unseal

INBOX_MAX = 20_000  # Events between two ticks; more than any worker can make in 50 ms.
DRAIN_WRITES_PER_POLL = 20

log = structlog.get_logger()

HeartbeatKeys = Mapping[str, Mapping[str, bytes]]


def _gone(standing: Standing) -> bool:
    """Out, and nothing answers there now: one answer in between, and a new silence is news again."""
    return standing.state is State.EJECTED and standing.cause is Cause.UNREACHABLE and not standing.reachable


def _nothing_in_flight(cluster: str) -> Mapping[str, int]:
    return {}


def _nobody_waits(cluster: str) -> None:
    pass


def _nobody_asks(events: Sequence[Event]) -> None:
    pass


class StoreStatus:
    """How one store is doing, as `status` and the metrics show it."""

    def __init__(self, store: FederationStore) -> None:
        self.store = store
        self.breaker = Breaker()
        self.reachable: bool | None = None  # None: not asked yet.
        self.answered_at: float | None = None


class Feed:
    """Holds the current snapshot and view; see the module's docstring."""

    def __init__(
        self,
        *,
        specs: Mapping[str, ClusterSpec],
        heartbeat_keys: HeartbeatKeys,
        stores: Sequence[FederationStore],
        distances: Distances,
        own_region: str,
        clock: Clock,
        rng: Random,
        rules: EjectionRules,
        metrics: FeedMetrics,
        loops: Loops,
        poll_s: float,
        tick_s: float,
    ) -> None:
        self.heartbeat_keys = heartbeat_keys
        self.stores = [StoreStatus(store) for store in stores]
        self.distances = distances
        self.own_region = own_region
        self.clock = clock
        self.rng = rng
        self.rules = rules
        self.metrics = metrics
        self.poll_s = poll_s
        self.tick_s = tick_s
        self.loops = loops
        self.own_in_flight: Callable[[str], Mapping[str, int]] = _nothing_in_flight
        self.on_unreachable: Callable[[str], None] = _nobody_waits
        self.ticked_at = clock.monotonic()
        self.snapshot = Snapshot.of_inventory(specs, self.ticked_at)
        self.view: FleetView = observe(self.snapshot, self.ticked_at, clock.wall() * 1000, distances, own_region)
        self._inbox: deque[Event] = deque()
        self._told: deque[Event] = deque()
        self._pass_on: Callable[[Sequence[Event]], None] = _nobody_asks
        self._told_wall_ms = clock.wall() * 1000
        self._heard: set[str] = set()
        self._served: dict[str, int] = {}
        self._read_before: dict[tuple[str, str], bytes] = {}  # (store, cluster) -> the message found there last.
        self._complaints: set[tuple[str, str, Rejection]] = set()  # (store, cluster, cause) that were logged.

    def watch_calls(
        self, own_in_flight: Callable[[str], Mapping[str, int]], on_unreachable: Callable[[str], None]
    ) -> None:
        """Whom to ask for our calls at a cluster (by model), and whom to tell that nobody is there any more."""
        self.own_in_flight = own_in_flight
        self.on_unreachable = on_unreachable

    # What calls and probes tell us. Cheap, and never waits.

    def unreachable(self) -> frozenset[str]:
        """The clusters where nobody is there, as probes and connections say."""
        return frozenset(name for name, belief in self.snapshot.beliefs.items() if _gone(belief.standing))

    def report(self, outcome: Outcome) -> None:
        """What came of one attempt."""
        self.put(OutcomeSeen(outcome))

    def served(self, cluster: str) -> None:
        """One attempt was served: counted, and told at the next tick with the others."""
        self._served[cluster] = self._served.get(cluster, 0) + 1

    def heard_from(self, cluster: str) -> None:
        """A call received bytes from this cluster."""
        self._heard.add(cluster)

    def put(self, event: Event) -> None:
        """Anything else that was seen. Beyond the bound what calls and probes saw is dropped, and counted."""
        if len(self._inbox) >= INBOX_MAX and isinstance(event, (OutcomeSeen, ProbeSeen, BytesSeen)):
            self.metrics.events_dropped.inc()
            return
        self._inbox.append(event)

    # What other processes of this front door saw, and what they want to know of us.

    def hear(self, events: Iterable[Event]) -> None:
        """What another process saw; it is not passed on again. Beyond the bound it is dropped, and counted."""
        for event in events:
            if len(self._told) < INBOX_MAX:
                self._told.append(event)
            else:
                self.metrics.events_dropped.inc()

    def pass_on(self, to: Callable[[Sequence[Event]], None]) -> None:
        """Whom to tell, at each tick, what this process saw itself."""
        self._pass_on = to

    # What operators tell us.

    async def drain(self, drain: Drain) -> tuple[int, int]:
        """Keep a drain (or its end) at once and write it to every store; (written, configured)."""
        self.put(DrainSeen(drain))
        self.tick()
        results = await asyncio.gather(*(self._write_drain(status, drain) for status in self.stores))
        return sum(results), len(self.stores)

    def declare(self, specs: Mapping[str, ClusterSpec], heartbeat_keys: HeartbeatKeys, distances: Distances) -> None:
        """A new inventory."""
        self.heartbeat_keys = heartbeat_keys
        self.distances = distances
        self._read_before.clear()
        self._complaints.clear()
        self.put(InventorySeen(specs))

    # The loops.

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for status in self.stores:
                group.create_task(
                    self.loops.every(f"store {status.store.name}", self.poll_s, partial(self._poll, status))
                )
            group.create_task(self.loops.every("feed", self.tick_s, self.tick))

    def tick(self) -> None:
        """Fold what was heard, swap snapshot and view, say what changed."""
        now = self.clock.monotonic()
        events: list[Event] = [BytesSeen(cluster) for cluster in self._heard]
        events.extend(ServedSeen(cluster, count) for cluster, count in self._served.items())
        events.extend(self._inbox)
        own = tuple(events)
        events.extend(self._told)
        if self.stores:
            reachable = sum(1 for status in self.stores if status.reachable is not False)
            events.append(StoresSeen(reachable=reachable, configured=len(self.stores)))
        self._heard.clear()
        self._served.clear()
        self._inbox.clear()
        self._told.clear()
        before, before_at = self.snapshot, self.ticked_at
        after = fold(before, events, now, self.rng, self.rules)
        self.snapshot = after
        self.view = self._observe(now)
        self.ticked_at = now
        self._tell(before, after, before_at, now)
        self._pass_on(own)

    def _observe(self, now: float) -> FleetView:
        return observe(self.snapshot, now, self.clock.wall() * 1000, self.distances, self.own_region, self.view)

    def _tell(self, before: Snapshot, after: Snapshot, before_at: float, after_at: float) -> None:
        wall_ms = self.clock.wall() * 1000
        walls_ms = (self._told_wall_ms, wall_ms)
        self._told_wall_ms = wall_ms
        for change in transitions(before, after, before_at, after_at, walls_ms):
            self.metrics.transitions.labels(kind=change.kind, to=change.after).inc()
            say = log.warning if change.alarming else log.info
            say(
                "state changed",
                kind=change.kind,
                cluster=change.cluster,
                before=change.before,
                after=change.after,
                detail=change.detail,
            )
        for name, belief in after.beliefs.items():
            earlier = before.beliefs.get(name)
            if _gone(belief.standing) and not (earlier is not None and _gone(earlier.standing)):
                self.on_unreachable(name)
        self.metrics.observe(after, self.stores, after_at)

    async def _poll(self, status: StoreStatus) -> None:
        if not status.breaker.may_try(self.clock.monotonic()):
            return
        try:
            reading = await status.store.read(tuple(self.snapshot.beliefs))
        except Exception as error:  # StoreUnavailable; or what a client library throws at an answer it cannot read.
            status.breaker = status.breaker.after_failure(self.clock.monotonic())
            self.metrics.store_reads.labels(store=status.store.name, result="failed").inc()
            if status.reachable is not False:
                log.warning("store unreachable", store=status.store.name, cause=str(error))
            status.reachable = False
            return
        now = self.clock.monotonic()
        status.breaker = status.breaker.after_success(now)
        self.metrics.store_reads.labels(store=status.store.name, result="ok").inc()
        if status.reachable is False:
            log.info("store back", store=status.store.name)
        status.reachable = True
        status.answered_at = now
        self._take(status.store.name, reading)
        await self._write_back(status, reading)

    def _take(self, store: str, reading: StoreReading) -> None:
        for cluster, message in reading.heartbeats.items():
            if self._read_before.get((store, cluster)) == message:
                continue
            first_sight = (store, cluster) not in self._read_before
            self._read_before[store, cluster] = message
            try:
                heartbeat = unseal(message, cluster, self.heartbeat_keys)
                belief = self.snapshot.beliefs.get(cluster)
                held = belief.heartbeat if belief is not None else None
                if belief is not None and held is not None and not is_newer(belief, heartbeat, self.clock.monotonic()):
                    if heartbeat.order == held.order:
                        continue  # The same words from another store.
                    raise Rejected(Rejection.OLDER, f"epoch and seq of {cluster} went back")
            except Rejected as error:
                self._reject(store, cluster, error)
                continue
            self.metrics.heartbeats.labels(cluster=cluster).inc()
            self._forgive(store, cluster)
            self.put(HeartbeatSeen(heartbeat, dict(self.own_in_flight(cluster)), first_sight))
        for drain in reading.drains.values():
            self.put(DrainSeen(drain))

    def _reject(self, store: str, cluster: str, error: Rejected) -> None:
        self.metrics.heartbeats_rejected.labels(cause=error.cause).inc()
        if (store, cluster, error.cause) not in self._complaints:
            self._complaints.add((store, cluster, error.cause))
            log.warning("heartbeat rejected", store=store, cluster=cluster, cause=error.cause, detail=error.detail)

    def _forgive(self, store: str, cluster: str) -> None:
        """A good heartbeat: a later bad one in the same store is worth a line again."""
        if self._complaints:
            self._complaints = {entry for entry in self._complaints if entry[:2] != (store, cluster)}

    async def _write_back(self, status: StoreStatus, reading: StoreReading) -> None:
        """Give drains to a store that lacks them: it may have come back empty."""
        wall_ms = self.clock.wall() * 1000
        missing = [
            belief.drain
            for name, belief in self.snapshot.beliefs.items()
            if belief.drain is not None
            and belief.drain.until_unix_ms > wall_ms
            and (name not in reading.drains or reading.drains[name].version_ms < belief.drain.version_ms)
        ]
        for drain in missing[:DRAIN_WRITES_PER_POLL]:
            await self._write_drain(status, drain)

    async def _write_drain(self, status: StoreStatus, drain: Drain) -> bool:
        try:
            await status.store.put_drain(drain)
        except StoreUnavailable:
            return False  # The poll loop says so, and writes it once the store is back.
        return True
