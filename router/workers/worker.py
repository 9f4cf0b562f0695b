"""A worker: takes calls on the listener that it inherited, and goes on from what it knows when the parent falls silent.

While the parent says nothing, a worker probes the clusters itself and counts the calls of the
others as theirs (heartbeats tell of them). When the parent has died it takes no more
connections, so that the port is free for the next parent, finishes its calls, and ends: killing
it with its parent would cut calls that nothing is wrong with.
"""

import asyncio
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import structlog
import uvloop
from prometheus_client import CollectorRegistry, disable_created_metrics

from federation.clock import Clock, SystemClock
from federation.fold import DrainSeen, Event
from federation.limits import raise_descriptor_limit
from federation.log import configure_logging
from federation.loops import Loops
from federation.metrics import FeedMetrics
from router.api.figures import OneProcess
from router.app import (
    Server,
    beside_the_calls,
    build_door,
    build_main,
    build_prober,
    close_stores,
    end_well,
    settle_memory,
)
from router.configuration import BadConfiguration, Loaded, load_router
from router.edge.door import FrontDoor
from router.reload import Reloader, resolve_all
from router.settings import RouterSettings
from router.workers.channel import Channel, receive_begin
from router.workers.evidence import Evidence, events_of, evidence_of
from router.workers.exposition import families_of
from router.workers.in_flight import Elsewhere
from router.workers.messages import Ask, BadFrame, Beat, Begin, Figures, Message, Order, Phase, Step, Told
from router.workers.tally import from_worker

BEAT_S = 0.1
FIGURES_S = 1.0
SILENT_S_MIN = 1.0
SILENT_PROBES = 4  # So many intervals without a word, and the parent counts as silent.
WARM_S_MAX = 1.0  # For the stores and DNS to answer, before a worker begins without them.
WARM_LOOK_S = 0.02
HELD_UP_S = 0.5  # Our own lateness beyond which the parent's silence may be ours.

log = structlog.get_logger()


def run_worker(config: Path, environ: Mapping[str, str], listener: socket.socket, channel: socket.socket) -> int:
    """From the first word to the end; the exit status."""
    configure_logging("front-door")
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        begin = receive_begin(channel)
        loaded = load_router(config, environ)
        check_keys(loaded.settings, begin.settings)
    except (OSError, BadFrame, BadConfiguration) as error:
        log.error("worker cannot begin", cause=" ".join(str(error).split()))
        return 1
    # What a process is stays as it was when the parent was started, and is the same for all its workers.
    loaded = replace(loaded, settings=begin.settings)
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_work(loaded, lambda: load_router(config, environ), begin, listener, channel))


def check_keys(now: RouterSettings, then: RouterSettings) -> None:
    """Whether keys are asked for is settled when the parent starts. Raises BadConfiguration."""
    if (now.keys_file is None) != (then.keys_file is None):
        raise BadConfiguration(["keys_file came or went since the parent was started; start the front door again"])


class Work:
    """A worker's end of the channel, and what it is told to do."""

    def __init__(self, door: FrontDoor, main: Server, registry: CollectorRegistry, clock: Clock) -> None:
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
            case Order(step=Step.LISTEN):
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

    async def warm_up(self) -> None:
        """Until the stores and DNS have been asked, or have had their time."""
        try:
            async with asyncio.timeout(WARM_S_MAX):
                await resolve_all(self.door.pools)
                while not all(status.reachable is not None for status in self.door.feed.stores):  # noqa: ASYNC110
                    await asyncio.sleep(WARM_LOOK_S)  # The feed has no event for it.
        except TimeoutError:
            log.warning("stores or DNS did not answer, begins without them")
        self.door.feed.tick()


async def _work(
    loaded: Loaded, reload: Callable[[], Loaded], begin: Begin, listener: socket.socket, end: socket.socket
) -> int:
    clock, registry = SystemClock(), CollectorRegistry()
    loops = Loops(registry, clock)
    # How the fleet is seen is told by the parent alone: see tally.
    door = build_door(loaded, registry, clock, loops, FeedMetrics(CollectorRegistry()))
    main = build_main(door)
    work = Work(door, main, registry, clock)
    work.channel = await Channel.over(end, work.hear, work.parent_gone)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.stop.set)
    door.feed.hear(events_of(begin.probes, begin.probes.at))
    for drain in begin.drains:
        door.feed.put(DrainSeen(drain))
    door.feed.pass_on(work.tell_evidence)
    async with asyncio.TaskGroup() as group:
        own_loops = Loops(CollectorRegistry(), clock)  # Probes that come and go have no age worth telling.
        background = [
            group.create_task(step) for step in beside_the_calls(door, main, Reloader(door, loaded, reload), loops)
        ]
        await work.warm_up()
        settle_memory()

        def probe() -> "asyncio.Task[None]":
            task = group.create_task(build_prober(door, clock, own_loops).run())
            background.append(task)
            return task

        def beat() -> None:
            work.watch_parent(probe)
            work.beat()

        background += [
            group.create_task(loops.every("beat", BEAT_S, beat)),
            group.create_task(loops.every("figures", FIGURES_S, work.tell_figures)),
        ]
        if await _either(work.listen, work.stop):
            main_task = group.create_task(main.serve([listener]), name="main")
            await main.listening.wait()
            work.beat()
            await work.stop.wait()
            await end_well(door, main, main_task, work.at_once, _manner(loaded.settings, work.orphaned))
        work.tell_figures()
        for task in background:
            task.cancel()
    await close_stores(door)
    work.channel.close()
    return 0


async def _either(wanted: asyncio.Event, stop: asyncio.Event) -> bool:
    """Wait for one of them; True if `wanted` came and `stop` did not."""
    waits = [asyncio.ensure_future(event.wait()) for event in (wanted, stop)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return not stop.is_set()


def _manner(settings: RouterSettings, orphaned: bool) -> RouterSettings:
    """How to end: without a parent nobody waits for the lame duck, and the port is wanted by the next parent."""
    if not orphaned:
        return settings
    shutdown = msgspec.structs.replace(settings.shutdown, lame_duck_s=0.0)
    return msgspec.structs.replace(settings, shutdown=shutdown)
