"""The composition root of a front door: construct, connect, run, end well.

How it ends: SIGTERM makes it a lame duck first (`/readyz` says 503, calls are still taken, so
that load balancers notice before anyone is turned away), then the listeners close, then the
calls under way get their grace period, and what is left is cut with an honest error.
"""

import asyncio
import gc
import ipaddress
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from random import Random
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, disable_created_metrics

from federation.clock import Clock, SystemClock
from federation.ejection import EjectionRules
from federation.feed import Feed
from federation.limits import raise_descriptor_limit
from federation.log import configure_logging
from federation.loops import Loops
from federation.metrics import FeedMetrics
from federation.probe import Prober
from federation.store.redis import RedisStore
from router.api.admin import build_admin
from router.api.figures import OneProcess
from router.api.public import build_public
from router.configuration import Loaded
from router.edge.accepting import accept_on
from router.edge.dialer import PoolDialer
from router.edge.door import FrontDoor
from router.edge.holders import ResponseHolders
from router.edge.plain_protocol import PlainProtocol
from router.edge.pool import PoolDirectory
from router.edge.protocol import EdgeProtocol
from router.edge.resolver import Resolver
from router.edge.warming import keep_warm
from router.listener import BACKLOG, open_ports, say_ready
from router.metrics import RouterMetrics
from router.reload import RESOLVED_WITHIN_S, Reloader, known_regions, new_pools, offered_on, residency_of, routes_of
from router.settings import RouterSettings
from router.tls import OfferedCertificate

SWEEP_S = 0.1
CONNECTIONS_S = 1.0
WATCH_S = 1.0
RESOLVE_S = 0.25
WARM_S = 1.0

log = structlog.get_logger()


class Server(uvicorn.Server):
    """uvicorn's server, less its signal handlers: the app decides when and how it ends."""

    def __init__(self, config: uvicorn.Config, offered: OfferedCertificate | None = None) -> None:
        super().__init__(config)
        self.offered = offered
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await accept_on(self, sockets or [], self.offered)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def build_door(
    loaded: Loaded, registry: CollectorRegistry, clock: Clock, loops: Loops, feed_metrics: FeedMetrics | None = None
) -> FrontDoor:
    """A front door with everything connected, and nothing running yet. `feed_metrics`: else on `registry` too."""
    settings = loaded.settings
    rng = Random(settings.seed)
    pools: PoolDirectory = {}
    in_flight: dict[tuple[str, str], int] = {}
    specs = loaded.inventory.specs()
    watch = settings.federation
    feed = Feed(
        specs=specs,
        heartbeat_keys=loaded.heartbeat_keys,
        stores=[RedisStore(url, bound_s=watch.store_timeout_s) for url in settings.stores],
        distances=loaded.distances,
        own_region=settings.region,
        clock=clock,
        rng=rng,
        rules=replace(EjectionRules(), slow_start_s=watch.slow_start_s),
        metrics=feed_metrics or FeedMetrics(registry),
        loops=loops,
        poll_s=watch.poll_s,
        tick_s=watch.tick_s,
    )
    door = FrontDoor(
        settings=settings,
        feed=feed,
        pools=pools,
        in_flight=in_flight,
        keys=loaded.api_keys,
        residency=residency_of(loaded.inventory),
        known_regions=known_regions(loaded),
        routes=routes_of(loaded.inventory),
        responses=ResponseHolders(PoolDialer(pools, settings.region, clock)),
        trusted_proxies=[ipaddress.ip_network(network) for network in settings.trusted_proxies],
        metrics=RouterMetrics(registry),
        rng=rng,
        now=clock.monotonic,
        wall=clock.wall,
    )
    feed.watch_calls(door.own_in_flight, door.cluster_unreachable)
    pools.update(new_pools(pools, specs, settings, loaded.tls))
    return door


async def serve(loaded: Loaded, reload: Callable[[], Loaded]) -> int:
    """Run a front door until SIGTERM or SIGINT; the exit status. `reload` reads the configuration again.

    All of it in this process; router.workers.parent runs several.
    """
    settings = loaded.settings
    configure_logging("front-door")
    log.info("starts", region=settings.region, descriptors=raise_descriptor_limit())
    disable_created_metrics()  # type: ignore[no-untyped-call]  # A second series for each counter, which nobody asks for.
    registry = CollectorRegistry()
    clock = SystemClock()
    sockets = open_ports(settings)
    if sockets is None:
        return 1
    main_socket, admin_socket = sockets
    loops = Loops(registry, clock)
    door = build_door(loaded, registry, clock, loops)
    offered = offered_on(loaded, "tls", "admin_tls")
    main = build_main(door, offered.get("tls"))
    app = build_admin(door, OneProcess(door, registry), loaded.admin_token, version("tradewind"))
    admin = build_admin_server(app, settings, offered.get("admin_tls"))
    resolver = Resolver()
    await resolver.settle(door.pools, RESOLVED_WITHIN_S)
    say_what_is_open(settings, loaded)
    stop, at_once = listen_for_signals()
    reloader = Reloader(door, loaded, reload, resolver, offered)
    async with asyncio.TaskGroup() as group:
        background = [
            group.create_task(step)
            for step in (*beside_the_calls(door, main, reloader, loops), build_prober(door, clock, loops).run())
        ]
        admin_task = group.create_task(admin.serve([admin_socket]), name="admin")
        main_task = group.create_task(main.serve([main_socket]), name="main")
        await main.listening.wait()
        await admin.listening.wait()
        settle_memory()
        say_ready(main_socket, admin_socket, settings)
        await stop.wait()
        await end_well(door, main, main_task, at_once, settings)
        admin.should_exit = True
        await admin_task
        for task in background:
            task.cancel()
    await close_stores(door)
    return 0


# Parts, of which router.workers builds its processes as well.


def build_main(door: FrontDoor, offered: OfferedCertificate | None) -> Server:
    """The server of the main port."""
    app = build_public(door, version("tradewind"))
    return _server(app, door.settings, partial(PlainProtocol, door=door), offered)


def build_admin_server(app: FastAPI, settings: RouterSettings, offered: OfferedCertificate | None) -> Server:
    """The server of the admin port."""
    return _server(app, settings, "httptools", offered)


def build_prober(door: FrontDoor, clock: Clock, loops: Loops) -> Prober:
    """Probes of every declared cluster, over the door's own connections."""
    return Prober(
        PoolDialer(door.pools, door.settings.region, clock),
        lambda: {name: belief.spec for name, belief in door.feed.snapshot.beliefs.items()},
        door.feed.put,
        clock,
        door.feed.metrics,
        loops,
        door.settings.federation.probe_s,
        door.settings.federation.probe_timeout_s,
    )


def beside_the_calls(
    door: FrontDoor, main: Server | None, reloader: Reloader, loops: Loops
) -> tuple[Coroutine[Any, Any, None], ...]:
    """The loops that keep a door fresh, probes aside. `main`: None where no calls are taken, and none prepared for."""
    warming = () if main is None else (loops.every("warming", WARM_S, lambda: keep_warm(door)),)
    return (
        *warming,
        door.feed.run(),
        loops.every("resolver", RESOLVE_S, lambda: reloader.resolver.look(door.pools)),
        loops.every("sweep", SWEEP_S, door.sweep),
        loops.every("connections", CONNECTIONS_S, lambda: _check_connections(door, main)),
        loops.every("files", WATCH_S, reloader.look),
    )


def listen_for_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Set by SIGTERM or SIGINT: the first for the first (end well), the second for any after it (at once)."""
    stop, at_once = asyncio.Event(), asyncio.Event()

    def told_to_end() -> None:
        (at_once if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end)
    return stop, at_once


async def close_stores(door: FrontDoor) -> None:
    for status in door.feed.stores:
        await status.store.aclose()


async def end_well(
    door: FrontDoor, main: Server, main_task: "asyncio.Task[None]", at_once: asyncio.Event, settings: RouterSettings
) -> None:
    """Lame duck, then no new connections, then the grace period, then the cut; `at_once` goes straight to the cut."""
    shutdown = settings.shutdown
    log.info("lame duck", lame_duck_s=shutdown.lame_duck_s, calls=len(door.active))
    door.lame_duck = True
    hurry = asyncio.get_running_loop().create_task(at_once.wait())
    await asyncio.wait({hurry}, timeout=shutdown.lame_duck_s)
    log.info("closing", grace_s=shutdown.grace_s, calls=len(door.active))
    main.should_exit = True
    await asyncio.wait({main_task, hurry}, timeout=shutdown.grace_s, return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if not main_task.done():
        log.warning("grace period over", calls=len(door.active))
        door.cut_all()
        main.force_exit = True
        await main_task
    for pool in door.pools.values():
        pool.close()


def settle_memory() -> None:
    """What was built so far stays for good: the collector need not look at it again, nor look often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _check_connections(door: FrontDoor, main: Server | None) -> None:
    """Clients that send too slowly, and upstream connections that rested too long."""
    now = asyncio.get_running_loop().time()
    for pool in door.pools.values():
        pool.trim(now, door.settings.timeouts.upstream_idle_s)
    if main is None:
        return
    now = door.now()
    for connection in list(main.server_state.connections):
        if isinstance(connection, EdgeProtocol):
            connection.check_time(now)


def _server(app: Any, settings: RouterSettings, http: Any, offered: OfferedCertificate | None = None) -> Server:
    config = uvicorn.Config(
        app,
        http=http,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=int(settings.timeouts.keep_alive_s),
        backlog=BACKLOG,
    )
    return Server(config, offered)


def say_what_is_open(settings: RouterSettings, loaded: Loaded) -> None:
    if loaded.api_keys is None:
        log.warning("no API keys configured: loopback only, and anyone there may call", host=settings.host)
    if loaded.admin_token is None:
        log.warning("no admin token configured: loopback only, and anyone there may act", host=settings.admin_host)
    if not settings.stores:
        log.warning("no stores configured: the inventory, probes and outcomes are all there is")
