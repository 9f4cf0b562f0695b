"""The parent of several workers: binds the ports, watches over them, probes for all, answers on the admin port."""

import asyncio
import sys
from collections.abc import Callable
from importlib.metadata import version

import structlog
from prometheus_client import CollectorRegistry, disable_created_metrics

from federation.clock import SystemClock
from federation.limits import raise_descriptor_limit
from federation.log import configure_logging
from federation.loops import Loops
from router.api.admin import build_admin
from router.app import (
    beside_the_calls,
    build_admin_server,
    build_door,
    build_prober,
    close_stores,
    listen_for_signals,
    say_what_is_open,
    settle_memory,
)
from router.configuration import Loaded
from router.edge.resolver import Resolver
from router.listener import open_ports, say_ready
from router.reload import RESOLVED_WITHIN_S, Reloader, offered_on
from router.workers.books import Books
from router.workers.crew import Crew
from router.workers.hand import WorkerCommand

log = structlog.get_logger()


async def serve_with_workers(loaded: Loaded, reload: Callable[[], Loaded], command: WorkerCommand) -> int:
    """Run a front door of several processes until SIGTERM or SIGINT; the exit status."""
    settings = loaded.settings
    configure_logging("front-door")
    descriptors = raise_descriptor_limit()
    log.info("starts", region=settings.region, descriptors=descriptors, workers=settings.workers)
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry, clock = CollectorRegistry(), SystemClock()
    sockets = open_ports(settings)
    if sockets is None:
        return 1
    main_socket, admin_socket = sockets
    loops = Loops(registry, clock)
    # A door that takes no calls: what it sees of the fleet is what the admin API shows, and its pools carry the probes
    # alone, so that nothing is kept warm in them.
    door = build_door(loaded, registry, clock, loops)
    crew = Crew(
        settings=settings,
        command=command,
        listener=main_socket,
        door=door,
        registry=registry,
        loops=loops,
        clock=clock,
    )
    offered = offered_on(loaded, "admin_tls")  # The workers show theirs on the main port.
    app = build_admin(door, Books(crew, registry), loaded.admin_token, version("tradewind"))
    admin = build_admin_server(app, settings, offered.get("admin_tls"))
    resolver = Resolver()
    await resolver.settle(door.pools, RESOLVED_WITHIN_S)
    say_what_is_open(settings, loaded)
    stop, at_once = listen_for_signals()
    async with asyncio.TaskGroup() as group:
        background = [
            group.create_task(step)
            for step in (
                *beside_the_calls(door, None, Reloader(door, loaded, reload, resolver, offered), loops),
                build_prober(door, clock, loops).run(),
                crew.run(),
            )
        ]
        admin_task = group.create_task(admin.serve([admin_socket]), name="admin")
        await admin.listening.wait()
        began = await crew.all_listening(stop)
        if began:
            settle_memory()
            say_ready(main_socket, admin_socket, settings)
            await stop.wait()
        elif not stop.is_set():
            print("no worker came up; the lines above say why", file=sys.stderr)
        door.lame_duck = True
        await crew.end(at_once)
        admin.should_exit = True
        await admin_task
        for task in background:
            task.cancel()
    for pool in door.pools.values():
        pool.close()
    await close_stores(door)
    return 0 if began or stop.is_set() else 1
