"""A front door in memory: clients before it, clusters behind it, one virtual clock for all."""

import contextlib
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import structlog
import structlog.testing
import uvicorn
from prometheus_client import CollectorRegistry
from uvicorn.server import ServerState

from federation.clock import ManualClock
from federation.geography import Distances
from federation.inventory import ClusterRow, Inventory
from federation.loops import Loops
from federation.model import DeclaredPool
from router.app import build_door
from router.configuration import Loaded
from router.edge.addresses import Address
from router.edge.plain_protocol import PlainProtocol
from router.edge.pool import ClusterPool
from router.edge.upstream import UpstreamConnection
from router.settings import EdgeSettings, RouterSettings, TimeoutSettings
from tests.fuzz.loop import TurnLoop
from tests.fuzz.reference import Incomplete, Message, read_request
from tests.fuzz.transports import MemoryTransport

MODEL = "tiny"
REGIONS = {"near": "us-central1", "middle": "us-east4", "far": "europe-west4"}
BOUNDS = EdgeSettings(body_bytes_max=200_000, headers_bytes_max=8_192, headers_max=40)
TIMES = TimeoutSettings(body_s=5.0, keep_alive_s=20.0, idle_s=30.0, first_byte_s=30.0, total_s=120.0)
SWEEP_S = 2.0


@dataclass
class Taken:
    """A request that the front door acted on: sent to a cluster, or handed to the app."""

    where: str  # The cluster, or "app".
    request: Message
    answered_bytes: int  # Of the client's connection, when it was acted on.


Script = Callable[["ClusterEnd", Message], None]


class ClusterEnd:
    """A cluster's end of one connection: reads requests strictly, one at a time, and plays its script."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.transport: MemoryTransport
        self.busy = False  # An answer is owed.
        self._heard = bytearray()
        self.answered_early = False  # The rest of the request is read, and no more said.

    def heard(self, data: bytes) -> None:
        """Bytes of the front door: never more than one request at a time, framed as declared."""
        self._heard += data
        if self.busy:
            self.world.wrong(f"bytes behind a request whose answer is owed: {bytes(self._heard[:80])!r}")
            return
        if self.world.early is not None:
            self.world.early(self, bytes(self._heard))
        try:
            request = read_request(bytes(self._heard))
        except Incomplete:
            return
        if request.end != len(self._heard):
            self.world.wrong(f"bytes behind a request: {bytes(self._heard[request.end :][:80])!r}")
        self._heard.clear()
        if self.answered_early:
            self.answered_early = False
            return
        self.busy = True
        self.world.taken_by(self.name, request)
        self.world.script(self, request)

    def said(self, *segments: bytes) -> None:
        """Send segments, each in a turn of its own."""
        for segment in segments:
            if segment:
                self.transport.feed(segment)

    def done(self) -> None:
        """The answer is complete: the next request may come."""
        self.busy = False

    def close_under_whoever(self) -> None:
        """End a connection at rest, or in use again by now. A FIN must not look like an answer's proper end."""
        if self.busy:
            self.transport.reset()
        else:
            self.transport.feed_eof()


def memory_pool(world: "World", name: str, endpoint: str) -> ClusterPool:
    """The front door's own pool, which opens connections into memory."""

    async def into_memory(pool: ClusterPool, address: Address) -> UpstreamConnection:
        if world.rng.random() < world.refused_ratio:
            raise ConnectionRefusedError
        connection = UpstreamConnection(pool)
        connection.address = address
        end = ClusterEnd(world, pool.cluster)
        slow = world.rng.random() < world.slow_ratio
        end.transport = MemoryTransport(world.loop, connection, end.heard, takes=not slow)
        world.ends.append(end)
        return connection

    return ClusterPool(name, endpoint, connect_s=1.0, idle_max=64, connections_max=10_000, opener=into_memory)


class ClientEnd:
    """A client's end of one connection."""

    def __init__(self, world: "World", takes: bool = True) -> None:
        self.received = bytearray()
        self.protocol = PlainProtocol(world.config, world.server_state, {}, world.loop, door=world.door)
        self.transport = MemoryTransport(world.loop, self.protocol, self.received.extend, takes=takes)
        world.server_state.connections.add(self.protocol)

    @property
    def gone(self) -> bool:
        return self.transport.lost


class World:
    """See the module's docstring. `script` is what clusters do with a request; `app` takes what is no call."""

    def __init__(self, seed: int, script: Script, loop: TurnLoop) -> None:
        self.seed = seed
        self.script = script
        self.loop = loop
        self.clock = loop.clock
        self.rng = Random(seed)
        self.early: Callable[[ClusterEnd, bytes], None] | None = None  # May answer before a request is complete.
        self.refused_ratio = 0.0  # Of connections to clusters.
        self.slow_ratio = 0.0  # Of clusters' connections take nothing until told.
        self.now_serving: ClientEnd | None = None  # With one client at a time: whose answer is under way.
        self.faults: list[str] = []
        self.taken: list[Taken] = []
        self.ends: list[ClusterEnd] = []
        endpoints = {name: f"http://10.0.0.{number}:80" for number, name in enumerate(REGIONS, 1)}
        rows = tuple(
            ClusterRow(
                name=name, region=REGIONS[name], endpoint=endpoints[name], models={MODEL: DeclaredPool(slots=1_000_000)}
            )
            for name in REGIONS
        )
        settings = RouterSettings(region="us-central1", inventory="", seed=self.seed, edge=BOUNDS, timeouts=TIMES)
        rtt_ms = {("us-central1", region): 1.0 + 40 * number for number, region in enumerate(REGIONS.values())}
        loaded = Loaded(
            settings=settings,
            inventory=Inventory(clusters=rows),
            heartbeat_keys={},
            distances=Distances(rtt_ms),
        )
        registry = CollectorRegistry()
        self.door = build_door(loaded, registry, self.clock, Loops(registry, self.clock))
        self.door.feed.tick()
        self.door.pools.clear()
        self.door.pools.update({name: memory_pool(self, name, endpoint) for name, endpoint in endpoints.items()})
        self.config = uvicorn.Config(
            self._app,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        self.config.load()
        self.server_state = ServerState()

    def wrong(self, what: str) -> None:
        """A fault of the front door's, to be told at the end of the case."""
        self.faults.append(what)

    def taken_by(self, where: str, request: Message) -> None:
        client = self.now_serving
        self.taken.append(Taken(where, request, len(client.received) if client is not None else 0))

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        """Stands for FastAPI: takes the whole request and answers with its mark."""
        body = bytearray()
        before = len(self.now_serving.received) if self.now_serving is not None else 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        raw_path = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        request = Message(
            scope["method"].encode(),
            raw_path,
            minor=int(scope["http_version"][-1]),
            headers=tuple(scope["headers"]),
            body=bytes(body),
        )
        self.taken.append(Taken("app", request, before))
        mark = dict(scope["headers"]).get(b"x-request-id", b"none")
        answer = b"app %s" % mark
        headers = [(b"x-mark", mark), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the door look after what is slow."""
        end = self.clock.now_s + seconds
        while self.clock.now_s < end:
            self.loop.pass_time(min(SWEEP_S, end - self.clock.now_s))
            self.sweep()

    def sweep(self) -> None:
        self.door.sweep()
        for connection in list(self.server_state.connections):
            connection.check_time(self.door.now())  # type: ignore[union-attr]
        self.loop.settle()

    def forget(self) -> None:
        """Between cases: nothing of one may weigh on the next."""
        self.door.feed._inbox.clear()
        self.door.feed._served.clear()
        self.door.budget.tokens = self.door.budget.tokens_max
        self.taken.clear()
        self.faults.clear()
        self.ends = [end for end in self.ends if not end.transport.lost]

    def left_behind(self) -> list[str]:
        """What should not be there once every client is gone."""
        door = self.door
        found = {
            "calls": len(door.active),
            "buffered bytes": door.buffered_bytes,
            "attempts in flight": len(door.in_flight),
            "connections": len(self.server_state.connections),
            "tasks": len(self.server_state.tasks),
        }
        return [f"{count} {what} left behind" for what, count in found.items() if count]


class _Errors(logging.Handler):
    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.found = found

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


@contextlib.contextmanager
def world(seed: int, script: Script) -> Iterator[World]:
    """A world whose loop is the running one. Whatever is logged as an error, or escapes, is a fault."""
    loop = TurnLoop(ManualClock())
    errors = _Errors(loop.escaped)
    logging.getLogger().addHandler(errors)
    try:
        with structlog.testing.capture_logs([_Told(loop.escaped)]), loop.running():
            yield World(seed, script, loop)
    finally:
        logging.getLogger().removeHandler(errors)


ALARMS = ("cluster refuses our credentials",)  # Told as errors, once for each cluster: what an answer may well cause.


class _Told:
    """A processor of structlog's that picks the errors out."""

    def __init__(self, found: list[str]) -> None:
        self.found = found

    def __call__(self, logger: Any, method: str, event: Any) -> Any:
        if method in ("error", "exception", "critical") and event.get("event") not in ALARMS:
            self.found.append(f"{event} {traceback.format_exc()}")
        raise structlog.DropEvent  # Millions of cases: nothing is kept.
