"""The composition root of a front door: construct, connect, run, end well.

How it ends: SIGTERM makes it a lame duck first (`/readyz` says 503, calls are still taken, so
that load balancers notice before anyone is turned away), then the listeners close, then the
calls under way get their grace period, and what is left is cut with an honest error.
"""

import asyncio
import gc
import ipaddress
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from random import Random
from typing import Any

import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from federation.clock import Clock, SystemClock
from federation.ejection import EjectionRules
from federation.feed import Feed
from federation.inventory import Inventory
from federation.log import configure_logging
from federation.loops import Loops
from federation.metrics import FeedMetrics
from federation.model import ClusterSpec
from federation.probe import ProbeAnswer, Prober
from federation.store.redis import RedisStore
from router.api.admin import build_admin
from router.api.public import build_public
from router.configuration import BadConfiguration, Loaded, WatchedFiles
from router.edge.door import FrontDoor
from router.edge.protocol import EdgeProtocol
from router.edge.upstream import ClusterPool, PoolDirectory, ProbeTaker
from router.metrics import RouterMetrics
from router.settings import RouterSettings

SWEEP_S = 0.1
CONNECTIONS_S = 1.0
WATCH_S = 1.0
RESOLVE_S = 30.0
BACKLOG = 4096

log = structlog.get_logger()


class PoolDialer:
    """Sends probes over the calls' own connections."""

    def __init__(self, pools: PoolDirectory, own_region: str, clock: Clock) -> None:
        self.pools = pools
        self.origin = own_region.encode()
        self.clock = clock

    async def probe(self, cluster: str, path: str, timeout_s: float) -> ProbeAnswer | None:
        """One GET; None if there was no answer in time."""
        pool = self.pools.get(cluster)
        if pool is None:
            return None
        settled: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        taker = ProbeTaker(pool, path, self.origin, settled)
        started = self.clock.monotonic()
        pool.acquire(taker)
        try:
            async with asyncio.timeout(timeout_s):
                status = await settled
        except TimeoutError:
            return None
        finally:
            settled.cancel()
            taker.give_up()
        return None if status is None else ProbeAnswer(status, self.clock.monotonic() - started)


class Server(uvicorn.Server):
    """uvicorn's server, less its signal handlers: the app decides when and how it ends."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def build_door(loaded: Loaded, registry: CollectorRegistry, clock: Clock, loops: Loops) -> FrontDoor:
    """A front door with everything connected, and nothing running yet."""
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
        metrics=FeedMetrics(registry),
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
        trusted_proxies=[ipaddress.ip_network(network) for network in settings.trusted_proxies],
        metrics=RouterMetrics(registry),
        rng=rng,
        now=clock.monotonic,
        wall=clock.wall,
    )
    feed.watch_calls(door.own_in_flight, door.cluster_unreachable)
    match_pools(pools, specs, settings)
    return door


def residency_of(inventory: Inventory) -> Mapping[str, frozenset[str]]:
    """Residency classes as sets of regions."""
    return {name: frozenset(regions) for name, regions in inventory.residency.items()}


def match_pools(pools: PoolDirectory, specs: Mapping[str, ClusterSpec], settings: RouterSettings) -> None:
    """One pool for each declared cluster: new ones added, changed ones replaced, others let go."""
    for name in list(pools):
        spec = specs.get(name)
        if spec is None or spec.endpoint != pools[name].endpoint:
            pools.pop(name).close()
    for name, spec in specs.items():
        if name not in pools:
            pools[name] = ClusterPool(
                name,
                spec.endpoint,
                connect_s=settings.timeouts.connect_s,
                idle_max=settings.edge.idle_connections_max,
            )


async def serve(loaded: Loaded, reload: Callable[[], Loaded]) -> int:
    """Run a front door until SIGTERM or SIGINT; the exit status. `reload` reads the configuration again."""
    settings = loaded.settings
    configure_logging("front-door")
    registry = CollectorRegistry()
    clock = SystemClock()
    try:
        main_socket = _listen(settings.host, settings.port, "--port")
        admin_socket = _listen(settings.admin_host, settings.admin_port, "--admin-port")
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    loops = Loops(registry, clock)
    door = build_door(loaded, registry, clock, loops)
    number = version("tradewind")
    main = _server(build_public(door, number), settings, http=partial(EdgeProtocol, door=door))
    admin = _server(build_admin(door, registry, loaded.admin_token, number), settings, http="httptools")
    _say_what_is_open(settings, loaded)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number_of_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number_of_signal, stop.set)
    prober = Prober(
        PoolDialer(door.pools, settings.region, clock),
        lambda: {name: belief.spec for name, belief in door.feed.snapshot.beliefs.items()},
        door.feed.put,
        clock,
        door.feed.metrics,
        loops,
        settings.federation.probe_s,
        settings.federation.probe_timeout_s,
    )
    async with asyncio.TaskGroup() as group:
        background = [
            group.create_task(door.feed.run()),
            group.create_task(prober.run()),
            group.create_task(loops.every("resolver", RESOLVE_S, lambda: _resolve(door))),
            group.create_task(loops.every("sweep", SWEEP_S, door.sweep)),
            group.create_task(loops.every("connections", CONNECTIONS_S, lambda: _check_connections(door, main))),
            group.create_task(loops.every("files", WATCH_S, Reloader(door, loaded, reload).look)),
        ]
        admin_task = group.create_task(admin.serve([admin_socket]), name="admin")
        main_task = group.create_task(main.serve([main_socket]), name="main")
        await main.listening.wait()
        await admin.listening.wait()
        _settle_memory()
        print(f"ready {json.dumps({'url': _url(main_socket), 'admin': _url(admin_socket)})}", flush=True)
        await stop.wait()
        await _end(door, main, main_task, settings)
        admin.should_exit = True
        await admin_task
        for task in background:
            task.cancel()
    for status in door.feed.stores:
        await status.store.aclose()
    return 0


async def _end(door: FrontDoor, main: Server, main_task: "asyncio.Task[None]", settings: RouterSettings) -> None:
    """Lame duck, then no new connections, then the grace period, then the cut."""
    shutdown = settings.shutdown
    log.info("lame duck", lame_duck_s=shutdown.lame_duck_s, calls=len(door.active))
    door.lame_duck = True
    await asyncio.sleep(shutdown.lame_duck_s)
    log.info("closing", grace_s=shutdown.grace_s, calls=len(door.active))
    main.should_exit = True
    _, pending = await asyncio.wait({main_task}, timeout=shutdown.grace_s)
    if pending:
        log.warning("grace period over", calls=len(door.active))
        door.cut_all()
        main.force_exit = True
        await main_task
    for pool in door.pools.values():
        pool.close()


def _settle_memory() -> None:
    """What was built so far stays for good: the collector need not look at it again, nor look often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _check_connections(door: FrontDoor, main: Server) -> None:
    """Clients that send too slowly."""
    now = door.now()
    for connection in list(main.server_state.connections):
        if isinstance(connection, EdgeProtocol):
            connection.check_time(now)


async def _resolve(door: FrontDoor) -> None:
    """Ask DNS for the endpoints that have names."""
    await asyncio.gather(*(pool.resolve() for pool in list(door.pools.values())))


class Reloader:
    """Reads keys, inventory and matrix again when their files change; a mistake keeps the old and says so."""

    def __init__(self, door: FrontDoor, loaded: Loaded, reload: Callable[[], Loaded]) -> None:
        self.door = door
        self.reload = reload
        self.files = WatchedFiles(loaded.files)

    async def look(self) -> None:
        """One look at the files."""
        changed = self.files.changed()
        if not changed:
            return
        door = self.door
        names = sorted(str(path) for path in changed)
        try:
            renewed = await asyncio.to_thread(self.reload)
        except BadConfiguration as error:
            door.metrics.reloads.labels("kept_old").inc()
            log.error("configuration not taken, the old one stays", files=names, mistakes=list(error.lines))
            return
        self.files = WatchedFiles(renewed.files)
        specs = renewed.inventory.specs()
        match_pools(door.pools, specs, door.settings)
        await _resolve(door)
        door.feed.declare(specs, renewed.heartbeat_keys, renewed.distances)
        door.residency = residency_of(renewed.inventory)
        if (renewed.api_keys is None) == (door.keys is None):
            door.keys = renewed.api_keys  # Whether keys are asked for at all is settled at the start.
        door.metrics.reloads.labels("taken").inc()
        log.info("configuration read again", files=names, clusters=len(specs))


def _server(app: Any, settings: RouterSettings, http: Any) -> Server:
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
    return Server(config)


def _listen(host: str, port: int, flag: str) -> socket.socket:
    """A listening socket; an OSError whose text says which port is taken and what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port} ({error.strerror}); choose another with {flag}") from error
    listener.setblocking(False)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _say_what_is_open(settings: RouterSettings, loaded: Loaded) -> None:
    if loaded.api_keys is None:
        log.warning("no API keys configured: loopback only, and anyone there may call", host=settings.host)
    if loaded.admin_token is None:
        log.warning("no admin token configured: loopback only, and anyone there may act", host=settings.admin_host)
    if not settings.stores:
        log.warning("no stores configured: the inventory, probes and outcomes are all there is")
