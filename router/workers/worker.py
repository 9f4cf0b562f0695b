"""A worker: takes calls on the listener that it inherited, and goes on from what it knows when the parent falls silent.

While the parent says nothing, a worker probes the clusters itself and counts the calls of the
others as theirs (heartbeats tell of them). When the parent has died it takes no more
connections, so that the port is free for the next parent, finishes its calls, and ends: killing
it with its parent would cut calls that nothing is wrong with.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import structlog
import uvloop
from prometheus_client import CollectorRegistry, disable_created_metrics

from federation.clock import SystemClock
from federation.fold import DrainSeen
from federation.limits import raise_descriptor_limit
from federation.log import configure_logging
from federation.loops import Loops
from federation.metrics import FeedMetrics
from router.app import (
    beside_the_calls,
    build_door,
    build_main,
    build_prober,
    close_stores,
    end_well,
    settle_memory,
)
from router.configuration import BadConfiguration, Loaded, load_router
from router.edge.resolver import Resolver
from router.reload import Reloader, offered_on
from router.settings import RouterSettings
from router.workers.balance import Balance
from router.workers.channel import Channel, receive_begin
from router.workers.evidence import events_of
from router.workers.messages import BadFrame, Begin
from router.workers.shared_server import SharedServer
from router.workers.work import BEAT_S, Work

FIGURES_S = 1.0

log = structlog.get_logger()


def run_worker(
    config: Path, environ: Mapping[str, str], listener: socket.socket, channel: socket.socket, table: int
) -> int:
    """From the first word to the end; the exit status."""
    configure_logging("front-door")
    structlog.contextvars.bind_contextvars(pid=os.getpid())
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        begin = receive_begin(channel)
        loaded = load_router(config, environ)
        check_settled(loaded.settings, begin.settings)
    except (OSError, BadFrame, BadConfiguration) as error:
        log.error("worker cannot begin", cause=" ".join(str(error).split()))
        return 1
    # What a process is stays as it was when the parent was started, and is the same for all its workers.
    loaded = replace(loaded, settings=begin.settings)
    raise_descriptor_limit()
    balance = Balance(table, begin.settings.workers)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_work(loaded, lambda: load_router(config, environ), begin, listener, channel, balance))


def check_settled(now: RouterSettings, then: RouterSettings) -> None:
    """Whether keys are asked for, and TLS is spoken, is settled when the parent starts. Raises BadConfiguration."""
    for name in ("keys_file", "tls"):
        if (getattr(now, name) is None) != (getattr(then, name) is None):
            raise BadConfiguration([f"{name} came or went since the parent was started; start the front door again"])


async def _work(
    loaded: Loaded,
    reload: Callable[[], Loaded],
    begin: Begin,
    listener: socket.socket,
    end: socket.socket,
    balance: Balance,
) -> int:
    clock, registry = SystemClock(), CollectorRegistry()
    loops = Loops(registry, clock)
    # How the fleet is seen is told by the parent alone: see tally.
    door = build_door(loaded, registry, clock, loops, FeedMetrics(CollectorRegistry()))
    offered = offered_on(loaded, "tls")
    main = SharedServer(build_main(door, None).config, balance, offered.get("tls"))
    reloader = Reloader(door, loaded, reload, Resolver(), offered)
    work = Work(door, main, registry, clock)
    work.channel = await Channel.over(end, work.hear, work.parent_gone)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.stop.set)
    door.feed.hear(events_of(begin.probes, begin.probes.at))
    for drain in begin.drains:
        door.feed.put(DrainSeen(drain))
    door.feed.pass_on(work.tell_evidence)
    async with asyncio.TaskGroup() as group:
        own_loops = Loops(CollectorRegistry(), clock)  # Probes that come and go have no age worth telling.
        background = [group.create_task(step) for step in beside_the_calls(door, main, reloader, loops)]
        await work.warm_up(reloader.resolver)
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
