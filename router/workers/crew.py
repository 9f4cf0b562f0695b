"""The workers as their parent sees them: every place is kept taken, and each hears what the others saw.

A worker begins as a spare, which has loaded everything and waits; when a place is vacant the
spare takes it at once, and another is started for the next time. Nothing waits for a worker
that is silent: it is told nothing but orders until it speaks again.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from federation.clock import Clock
from federation.fold import Event
from federation.loops import Loops
from router.edge.door import FrontDoor
from router.settings import RouterSettings
from router.workers.evidence import Evidence, drains_held, events_of, evidence_of, probes_so_far
from router.workers.exposition import families_of, page_of
from router.workers.hand import SPARE, Hand, WorkerCommand, start_hand
from router.workers.in_flight import less, summed
from router.workers.messages import Ask, Beat, Begin, Figures, Message, Order, Phase, Step, Told, framed
from router.workers.metrics import WorkerMetrics
from router.workers.restarts import Restarts
from router.workers.tally import Family, Tally, lasting, total_by

BEAT_S = 0.1
LOAD_S_MAX = 30.0  # From its start until a worker is warm.
FIGURES_S_MAX = 0.25  # For fresh figures, when the metrics are read; then the last ones must do.
CLOSE_S_MAX = 1.0  # Beyond the lame duck's time, for the workers to close their listeners.
CUT_S_MAX = 2.0  # Between the order to cut what is left and SIGKILL.
LOOK_S = 0.25  # How often a wait looks whether somebody has fallen silent.
SEED_STEP = 1_000_003  # Workers must not draw the same request ids.

log = structlog.get_logger()


class Crew:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        settings: RouterSettings,
        command: WorkerCommand,
        listener: socket.socket,
        door: FrontDoor,
        registry: CollectorRegistry,
        loops: Loops,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.command = command
        self.listener = listener
        self.door = door
        self.registry = registry
        self.loops = loops
        self.clock = clock
        self.metrics = WorkerMetrics(registry)
        self.restarts = Restarts()
        self.hands: list[Hand] = []
        self.names = tuple(str(number) for number in range(1, settings.workers + 1))
        self.ending = False
        self._gone_tally = Tally()  # What workers that are gone have counted.
        self._starting = 0
        self._started = 0
        self._question = 0
        self._news = asyncio.Event()  # Set when anything changed that somebody may wait for.
        self._went_round_at = clock.monotonic()
        self._group: asyncio.TaskGroup | None = None
        door.feed.pass_on(self._tell_evidence)

    # Keeping the places taken.

    async def run(self) -> None:
        """Until cancelled; workers that still run then are killed."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self.loops.every("workers", BEAT_S, self._round)
        finally:
            for hand in self.hands:
                hand.kill()

    async def all_listening(self, stop: asyncio.Event) -> bool:
        """Wait until every place takes connections; False if none ever will, or `stop` is set before."""
        while not self._full():
            if self.restarts.hopeless or stop.is_set():
                return False
            await self._next_news()
        return True

    def _full(self) -> bool:
        return sum(1 for hand in self.hands if hand.name != SPARE and hand.takes_connections) == len(self.names)

    def _round(self) -> None:
        now = self.clock.monotonic()
        held_up = now - self._went_round_at > 1.0  # Then what looks like their silence is our own.
        self._went_round_at = now
        if not self.ending and not held_up:
            self._staff()
        self._tell_all()

    def _staff(self) -> None:
        """Put spares into vacant places, and start spares."""
        now = self.clock.monotonic()
        for hand in self.hands:
            idle = hand.name == SPARE and hand.up and hand.age_s(now) > LOAD_S_MAX / 6
            if idle or (not hand.up and now - hand.started_at > LOAD_S_MAX):
                log.error("spare worker does not answer, is ended", pid=hand.process.pid, up=hand.up)
                hand.kill()
        taken = {hand.name for hand in self.hands}
        spares = [hand for hand in self.hands if hand.name == SPARE and not hand.is_silent(now)]
        warm = [hand for hand in spares if hand.up]
        vacant = [name for name in self.names if name not in taken]
        for name, hand in zip(vacant, warm, strict=False):
            hand.name = name
            hand.send(Order(Step.LISTEN))
            log.info("worker takes a place", worker=name, pid=hand.process.pid)
        loading = self._starting + sum(1 for hand in self.hands if not hand.up)
        left = len(warm) - len(vacant)  # Negative: places for which nobody is there yet.
        wanted = max(0, -left) + (1 if left <= 0 and self._full() else 0)
        if now >= self.restarts.not_before and not self.restarts.hopeless:
            for _ in range(wanted - loading):
                self._starting += 1
                assert self._group is not None
                self._group.create_task(self._tend())

    async def _tend(self) -> None:
        """Start one worker, and wait for its end."""
        begun_at = self.clock.monotonic()
        self._started += 1
        begin = self._begin(self._started)
        try:
            hand = await start_hand(self.command, self.listener, begin, self.clock, self._hear)
        except OSError as error:
            log.error("worker could not be started", cause=str(error))
            self.restarts.died(self.clock.monotonic(), 0.0, False)
            self._news.set()
            return
        finally:
            self._starting -= 1
        hand.told_drains = {drain.cluster: drain.version_ms for drain in begin.drains}
        self.hands.append(hand)
        status = await hand.process.wait()
        self._gone(hand, status, self.clock.monotonic() - begun_at)

    def _begin(self, number: int) -> Begin:
        settings, feed = self.settings, self.door.feed
        if settings.seed is not None:
            settings = replace_seed(settings, number)
        probes = probes_so_far(feed.snapshot, feed.rules.silent_probes, self.clock.monotonic())
        return Begin(settings=settings, probes=probes, drains=drains_held(feed.snapshot, self.clock.wall() * 1000))

    def _gone(self, hand: Hand, status: int, lived_s: float) -> None:
        self.hands.remove(hand)
        if hand.channel is not None:
            hand.channel.close()
        self._gone_tally.add(lasting(hand.families))
        if not self.ending:
            log.error("worker ended", worker=hand.name, pid=hand.process.pid, status=status, was_up=hand.up)
            self.restarts.died(self.clock.monotonic(), lived_s, hand.up)
            self.metrics.restarts.inc()
            self._staff()
        self._news.set()

    # What they say, and what they are told.

    def _hear(self, hand: Hand, message: Message) -> None:
        now = hand.heard_at = self.clock.monotonic()
        match message:
            case Beat():
                if message.phase != hand.phase:
                    self.restarts.came_up()
                    self._news.set()
                hand.take(message)
            case Figures():
                hand.take_figures(message, now)
                self._news.set()
            case Evidence():
                self.metrics.dropped.inc(message.left_out)
                self.door.feed.hear(events_of(message, now))
                self._send_to_all(message, but=hand)
            case _:
                raise AssertionError(f"no word for a parent: {message}")

    def _tell_evidence(self, events: Sequence[Event]) -> None:
        """What our own probes saw."""
        evidence = evidence_of(events, self.clock.monotonic())
        if evidence is not None:
            self._send_to_all(evidence)

    def _tell_all(self) -> None:
        """The calls of the others to each, and drains."""
        total = summed(hand.in_flight for hand in self.hands)
        self.door.in_flight.clear()
        self.door.in_flight.update(total)
        held = drains_held(self.door.feed.snapshot, self.clock.wall() * 1000)
        now = self.clock.monotonic()
        for hand in self.hands:
            if not hand.up or hand.is_silent(now):
                continue
            drains = tuple(drain for drain in held if hand.told_drains.get(drain.cluster, -1) < drain.version_ms)
            if hand.send(Told(elsewhere=less(total, hand.in_flight), drains=drains)):
                hand.told_drains.update({drain.cluster: drain.version_ms for drain in drains})
            else:
                self.metrics.dropped.inc()

    def _send_to_all(self, message: Message, but: Hand | None = None) -> None:
        frame, now = framed(message), self.clock.monotonic()
        for hand in self.hands:
            if hand is but or not hand.up or hand.is_silent(now):
                continue
            if hand.channel is not None and not hand.channel.send_frame(frame):
                self.metrics.dropped.inc()

    # What they count together.

    async def page(self) -> bytes:
        """The metrics of all, with figures as fresh as can be had within FIGURES_S_MAX."""
        self._question += 1
        question, now = self._question, self.clock.monotonic()
        asked = [hand for hand in self.hands if hand.up and not hand.is_silent(now) and hand.send(Ask(question))]

        def answered() -> bool:
            return all(hand.answered >= question or hand not in self.hands for hand in asked)

        await self._until(answered, FIGURES_S_MAX)
        self._set_gauges()
        own = families_of(self.registry.collect())
        return page_of(self._summed(own))

    def _summed(self, own: Sequence[Family] = ()) -> tuple[Family, ...]:
        tally = Tally()
        tally.add(own)
        tally.add(self._gone_tally.families())
        for hand in self.hands:
            tally.add(hand.families)
        return tally.families()

    def _set_gauges(self) -> None:
        now = self.clock.monotonic()
        self.metrics.workers.set(sum(1 for hand in self.hands if hand.takes_connections))
        self.metrics.report_age.clear()
        for hand in self.hands:
            self.metrics.report_age.labels(hand.name).set(hand.age_s(now))
        for name, pool in self.door.pools.items():
            self.door.metrics.upstream_connections.labels(name).set(pool.open)

    def totals(self) -> dict[str, Any]:
        """For the status: as each worker last told it."""
        now = self.clock.monotonic()
        return {
            "calls_in_flight": sum(hand.calls for hand in self.hands),
            "decisions": total_by(self._summed(), "tradewind_calls", "decision"),
            "workers": [
                {
                    "worker": hand.name,
                    "pid": hand.process.pid,
                    "phase": hand.phase,
                    "calls": hand.calls,
                    "connections": hand.connections,
                    "age_s": hand.age_s(now),
                }
                for hand in sorted(self.hands, key=lambda hand: hand.name)
            ],
        }

    def unready(self) -> str | None:
        """Why nothing takes calls; None if somebody does."""
        return None if any(hand.takes_connections for hand in self.hands) else "no worker takes connections"

    # The end.

    async def end(self, at_once: asyncio.Event) -> None:
        """Let them end well; what is left after the grace period, or `at_once`, is cut, and then killed."""
        shutdown = self.settings.shutdown
        self.ending = True
        for hand in self.hands:
            if hand.name == SPARE:
                hand.kill()
            else:
                hand.send(Order(Step.END))
        await self._until(self._closed, shutdown.lame_duck_s + CLOSE_S_MAX, at_once)
        # For all who hold it: a worker that is frozen would go on to collect connections that nobody answers.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if not await self._until(lambda: not self.hands, shutdown.grace_s + CLOSE_S_MAX, at_once):
            for hand in self.hands:
                hand.send(Order(Step.CUT))
            await self._until(lambda: not self.hands, CUT_S_MAX)
        for hand in self.hands:
            log.error("worker does not end, is killed", worker=hand.name, pid=hand.process.pid)
            hand.kill()
        await self._until(lambda: not self.hands, CUT_S_MAX)

    def _closed(self) -> bool:
        now = self.clock.monotonic()
        return all(hand.phase is Phase.CLOSED or hand.is_silent(now) for hand in self.hands)

    # Waiting.

    async def _until(
        self, condition: Callable[[], bool], within_s: float, at_once: asyncio.Event | None = None
    ) -> bool:
        """Wait until the condition holds; False if it did not in time, or `at_once` was set."""
        deadline = self.clock.monotonic() + within_s
        while not condition():
            left_s = deadline - self.clock.monotonic()
            if left_s <= 0 or (at_once is not None and at_once.is_set()):
                return False
            await self._next_news(min(left_s, LOOK_S))
        return True

    async def _next_news(self, within_s: float = LOOK_S) -> None:
        """Wait for news, but not for long: that somebody fell silent is no news to anybody."""
        self._news.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            pass


def replace_seed(settings: RouterSettings, number: int) -> RouterSettings:
    """The settings of the number-th worker that is started: a seed must not make all of them draw the same."""
    assert settings.seed is not None
    return msgspec.structs.replace(settings, seed=settings.seed + SEED_STEP * number)
