"""The workers as their parent sees them: every place is kept taken, and each hears what the others saw.

A worker begins as a spare, which has loaded everything and waits; when a place is vacant the
spare takes it at once, and another is started for the next time. Nothing waits for a worker
that is silent: it is told nothing but orders until it speaks again.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence

import structlog
from prometheus_client import CollectorRegistry

from federation.clock import Clock
from federation.fold import Event
from federation.loops import Loops
from router.edge.door import FrontDoor
from router.settings import RouterSettings
from router.workers.balance import ABSENT, Balance, new_table
from router.workers.evidence import Evidence, drains_held, events_of, evidence_of, probes_so_far
from router.workers.hand import LEAVING, SILENT_S, SPARE, Hand, WorkerCommand, start_hand
from router.workers.in_flight import less, summed
from router.workers.messages import Beat, Begin, Figures, Message, Order, Phase, Step, Told, framed
from router.workers.metrics import WorkerMetrics
from router.workers.restarts import Restarts
from router.workers.shares import settings_of
from router.workers.tally import Tally, lasting

BEAT_S = 0.1
LOAD_S_MAX = 30.0  # From its start until a worker is warm.
SPARE_SILENT_S_MAX = 5.0  # A spare that is frozen is no spare; one with a place has calls, and may wake up.
CLOSE_S_MAX = 1.0  # Beyond the lame duck's time, for the workers to close their listeners.
CUT_S_MAX = 2.0  # Between the order to cut what is left and SIGKILL.
LOOK_S = 0.25  # How often a wait looks whether somebody has fallen silent.

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
        self.table = new_table(settings.workers)
        self.balance = Balance(self.table, settings.workers)
        self.restarts = Restarts()
        self.hands: list[Hand] = []
        self.names = tuple(str(number) for number in range(1, settings.workers + 1))
        self.ending = False
        self.gone = Tally()  # What workers that are gone have counted.
        self._starting = 0
        self._started = 0
        self._news = asyncio.Event()  # Set when anything changed that somebody may wait for.
        self._went_round_at = clock.monotonic()
        self._group: asyncio.TaskGroup | None = None
        door.feed.pass_on(self._tell_evidence)

    # Keeping the places taken.

    async def run(self) -> None:
        """Until cancelled. Workers that still run then end by themselves, as when the parent dies."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self.loops.every("workers", BEAT_S, self._round)

    async def all_listening(self, stop: asyncio.Event) -> bool:
        """Wait until every place takes connections; False if none ever will, or `stop` is set before."""
        while not self._full():
            if self.restarts.hopeless or stop.is_set():
                return False
            await self._next_news()
        return True

    def _full(self) -> bool:
        return sum(1 for hand in self.hands if hand.name in self.names and hand.takes_connections) == len(self.names)

    def _round(self) -> None:
        now = self.clock.monotonic()
        held_up = now - self._went_round_at > SILENT_S  # Then what looks like their silence is our own.
        self._went_round_at = now
        if not self.ending and not held_up:
            self._staff()
        self._tell_all()

    def _staff(self) -> None:
        """Put spares into vacant places, and start spares."""
        now = self.clock.monotonic()
        for hand in self.hands:
            silent_s, silent_s_max = hand.age_s(now), SPARE_SILENT_S_MAX if hand.up else LOAD_S_MAX
            if hand.name == SPARE and silent_s > silent_s_max:
                log.error("spare worker does not answer, is ended", pid=hand.process.pid, silent_s=round(silent_s, 1))
                hand.kill()
        for hand in self.hands:
            if hand.phase is Phase.CLOSED and hand.name in self.names:
                self._leave_out(hand)
                hand.name = LEAVING  # It finishes its calls; the place is another's.
        taken = {hand.name for hand in self.hands}
        spares = [hand for hand in self.hands if hand.name == SPARE and not hand.is_silent(now)]
        warm = [hand for hand in spares if hand.up]
        vacant = [name for name in self.names if name not in taken]
        for name, hand in zip(vacant, warm, strict=False):
            hand.name = name
            self._tell_rest(hand)  # Before its first call, and not at our next round.
            hand.send(Order(Step.LISTEN, self.names.index(name)))
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
            hand = await start_hand(self.command, self.listener, self.table, begin, self.clock, self._hear)
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
        settings, feed = settings_of(self.settings, number), self.door.feed
        probes = probes_so_far(feed.snapshot, feed.rules.silent_probes, self.clock.monotonic())
        return Begin(settings=settings, probes=probes, drains=drains_held(feed.snapshot, self.clock.wall() * 1000))

    def _gone(self, hand: Hand, status: int, lived_s: float) -> None:
        self.hands.remove(hand)
        if hand.channel is not None:
            hand.channel.close()
        self._leave_out(hand)
        self.gone.add(lasting(hand.families))
        if not self.ending:
            log.error("worker ended", worker=hand.name, pid=hand.process.pid, status=status, was_up=hand.up)
            self.restarts.died(self.clock.monotonic(), lived_s, hand.up)
            self.metrics.restarts.inc()
            self._staff()
        self._news.set()

    def _leave_out(self, hand: Hand) -> None:
        """The others are not to wait for it when they take connections."""
        if hand.name in self.names:
            self.balance.write(self.names.index(hand.name), ABSENT)

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
        """To each what it does not know."""
        total = summed(hand.in_flight for hand in self.hands)
        self.door.in_flight.clear()
        self.door.in_flight.update(total)
        now = self.clock.monotonic()
        for hand in self.hands:
            if hand.up and not hand.is_silent(now):
                self._tell_rest(hand)
            else:
                self._leave_out(hand)

    def _tell_rest(self, hand: Hand) -> None:
        """The calls of the others, as we last summed them up, and drains that it was not told of."""
        held = drains_held(self.door.feed.snapshot, self.clock.wall() * 1000)
        drains = tuple(drain for drain in held if hand.told_drains.get(drain.cluster, -1) < drain.version_ms)
        if hand.send(Told(elsewhere=less(self.door.in_flight, hand.in_flight), drains=drains)):
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
        await self.until(self._closed, shutdown.lame_duck_s + CLOSE_S_MAX, at_once)
        # For all who hold it: a worker that is frozen would go on to collect connections that nobody answers.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if not await self.until(lambda: not self.hands, shutdown.grace_s + CLOSE_S_MAX, at_once):
            for hand in self.hands:
                hand.send(Order(Step.CUT))
            await self.until(lambda: not self.hands, CUT_S_MAX)
        for hand in self.hands:
            log.error("worker does not end, is killed", worker=hand.name, pid=hand.process.pid)
            hand.kill()
        await self.until(lambda: not self.hands, CUT_S_MAX)

    def _closed(self) -> bool:
        now = self.clock.monotonic()
        return all(hand.phase is Phase.CLOSED or hand.is_silent(now) for hand in self.hands)

    # Waiting.

    async def until(self, condition: Callable[[], bool], within_s: float, at_once: asyncio.Event | None = None) -> bool:
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
