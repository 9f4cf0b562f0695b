"""A worker's end of the channel: what it is told, what it tells, and what it does when nobody speaks to it."""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from prometheus_client import CollectorRegistry

from federation.clock import Clock
from federation.fold import DrainSeen, Event
from router.api.figures import OneProcess
from router.edge.door import FrontDoor
from router.edge.resolver import Resolver
from router.reload import RESOLVED_WITHIN_S
from router.workers.channel import Channel
from router.workers.evidence import Evidence, events_of, evidence_of
from router.workers.exposition import families_of
from router.workers.in_flight import Elsewhere
from router.workers.messages import Ask, Beat, Figures, Message, Order, Phase, Step, Told
from router.workers.shared_server import SharedServer
from router.workers.tally import from_worker

BEAT_S = 0.1
SILENT_S_MIN = 1.0
SILENT_PROBES = 4  # So many intervals without a word, and the parent counts as silent.
WARM_S_MAX = 1.0  # For the stores and DNS to answer, before a worker begins without them.
WARM_LOOK_S = 0.02
HELD_UP_S = 0.5  # Our own lateness beyond which the parent's silence may be ours.

log = structlog.get_logger()


class Work:
    """A worker's end of the channel, and what it is told to do."""

    def __init__(self, door: FrontDoor, main: SharedServer, registry: CollectorRegistry, clock: Clock) -> None:
        self.door = door
        self.main = main
        self.registry = registry
        self.clock = clock
        self.elsewhere = Elsewhere(door.in_flight)
        self.channel: Channel | None = None
        self.listen, self.stop, self.at_once = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.orphaned = False
        federation = door.settings.federation
        self.silent_s = max(SILENT_S_MIN, SILENT_PROBES * federation.probe_s)
        self._figures = OneProcess(door, registry)
        self._heard_at = self._went_round_at = clock.monotonic()
        self._probing: asyncio.Task[None] | None = None

    @property
    def phase(self) -> Phase:
        if not self.main.started:
            return Phase.WARM
        if not any(server.is_serving() for server in self.main.servers):
            return Phase.CLOSED
        return Phase.LAME_DUCK if self.door.lame_duck else Phase.LISTENING

    def hear(self, message: Message) -> None:
        """One word of the parent's."""
        now = self._heard_at = self.clock.monotonic()
        match message:
            case Evidence():
                self.door.feed.hear(events_of(message, now))
            case Told(elsewhere=elsewhere, drains=drains):
                self.elsewhere.lay(elsewhere)
                for drain in drains:
                    self.door.feed.put(DrainSeen(drain))
            case Ask(number=number):
                self.tell_figures(number)
            case Order(step=Step.LISTEN, place=place):
                self.main.place = place
                self.door.feed.tick()  # What we were told up to now counts for the first call.
                self.listen.set()
            case Order(step=Step.END):
                self.stop.set()
            case Order(step=Step.CUT):
                self.stop.set()
                self.at_once.set()
            case _:
                raise AssertionError(f"no word for a worker: {message}")

    def parent_gone(self) -> None:
        """The channel has ended, and so has the parent."""
        if not self.stop.is_set():
            log.warning("parent has ended: no more connections, calls are finished", calls=len(self.door.active))
        self.orphaned = True
        self.stop.set()

    def send(self, message: Message) -> None:
        if self.channel is not None:
            self.channel.send(message)  # What a frozen parent has no room for is told anew, or is no news by then.

    def beat(self) -> None:
        door = self.door
        if self.main.started:
            self.main.tell_balance()
        connections = len(self.main.server_state.connections)
        self.send(
            Beat(phase=self.phase, calls=len(door.active), connections=connections, in_flight=self.elsewhere.own())
        )

    def tell_evidence(self, events: Sequence[Event]) -> None:
        """What our calls saw."""
        evidence = evidence_of(events, self.clock.monotonic())
        if evidence is not None:
            self.send(evidence)

    def tell_figures(self, number: int = 0) -> None:
        self._figures.set_gauges()
        counted = [*self.registry.collect(), *self.door.feed.metrics.events_dropped.collect()]
        self.send(Figures(number=number, families=from_worker(families_of(counted))))

    def watch_parent(self, probe: Callable[[], "asyncio.Task[None]"]) -> None:
        """While the parent is silent: probe ourselves, and leave the others' calls to the heartbeats."""
        now = self.clock.monotonic()
        held_up = now - self._went_round_at > BEAT_S + HELD_UP_S
        self._went_round_at = now
        if now - self._heard_at <= self.silent_s:
            if self._probing is not None:
                log.info("parent speaks again: its probes count")
                self._probing.cancel()
                self._probing = None
        elif self._probing is None and not held_up:
            log.warning("parent is silent: probing ourselves", silent_s=round(now - self._heard_at, 2))
            self.elsewhere.lay(())
            self._probing = probe()

    async def warm_up(self, resolver: Resolver) -> None:
        """Until the stores and DNS have been asked, or have had their time."""
        try:
            async with asyncio.timeout(WARM_S_MAX):
                await resolver.settle(self.door.pools, RESOLVED_WITHIN_S)
                while not all(status.reachable is not None for status in self.door.feed.stores):  # noqa: ASYNC110
                    await asyncio.sleep(WARM_LOOK_S)  # The feed has no event for it.
        except TimeoutError:
            log.warning("stores or DNS did not answer, begins without them")
        self.door.feed.tick()
