"""A front door, scripted clusters and exact clients, all in one process and one loop.

A `ScriptedCluster` is a TCP server that reads a request whole, records it and then does what
its script says: answer, trickle, hang, break. A `RawClient` writes and reads bytes and parses
answers strictly. Nothing sleeps where an event can be awaited; every wait is bounded.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import openai
from prometheus_client import CollectorRegistry

from federation.clock import SystemClock
from federation.ejection import Standing
from federation.geography import Distances
from federation.inventory import ClusterRow, Inventory
from federation.loops import Loops
from federation.model import Belief, DeclaredPool
from router.api.public import build_public
from router.app import Server, _check_connections, _server, build_door
from router.auth import ApiKeys
from router.configuration import Loaded
from router.edge.door import FrontDoor
from router.edge.plain_protocol import PlainProtocol
from router.settings import EdgeSettings, RouterSettings, TimeoutSettings
from router.tls import ClusterTls, OfferedCertificate

MODEL = "tiny"
REGIONS = {"near": "us-central1", "middle": "us-east4", "far": "europe-west4"}
RTT_MS = {"us-central1": 1.0, "us-east4": 30.0, "europe-west4": 100.0}
OWN_REGION = "us-central1"
WAIT_S = 10.0  # For anything that should happen at once; a busy machine is forgiven.
CHAT = "/v1/chat/completions"


async def until(condition: Callable[[], object], what: str, within_s: float = WAIT_S) -> None:
    """Look again and again, for what has no event of its own."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.002)


def sse(*texts: str, done: bool = True) -> list[bytes]:
    """A stream's events, one delta each."""
    events = [b"data: %s\n\n" % json.dumps(_delta(text)).encode() for text in texts]
    return [*events, b"data: [DONE]\n\n"] if done else events


def _delta(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": MODEL, "choices": [choice]}


def completion(text: str = "hello") -> bytes:
    """A whole answer, as OpenAI shapes it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    answer = {"id": "c", "object": "chat.completion", "created": 0, "model": MODEL, "choices": [choice]}
    return json.dumps(answer).encode()


# The cluster's side.


@dataclass
class Request:
    """One request as a cluster received it, and the connection it came on."""

    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connection: int  # The how manieth connection to this cluster.

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode()

    @property
    def headers(self) -> dict[str, str]:
        pairs = [line.decode("latin-1").split(": ", 1) for line in self.head.split(b"\r\n")[1:] if line]
        assert len({name for name, _ in pairs}) == len(pairs), "a header stands twice"
        return dict(pairs)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the front door has ended the connection."""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass

    def reset(self) -> None:
        """End the connection with an RST."""
        reset(self.writer)


Script = Callable[[Request], Awaitable[None]]


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class ScriptedCluster:
    """Plays one script a request; the last one given is played for ever."""

    def __init__(self, name: str, tls: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.tls = tls
        self.requests: list[Request] = []
        self.connections = 0
        self.open = 0
        self.on_connect: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None
        self._scripts: deque[Script] = deque([answers(completion(name))])
        self._arrived = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**26, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def endpoint(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    def plays(self, *scripts: Script) -> None:
        self._scripts = deque(scripts)

    async def refuse(self) -> None:
        """Stop listening: who connects is refused."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        self._server = None

    async def received(self, count: int = 1) -> Request:
        """Wait for the `count`-th request; the latest."""
        async with asyncio.timeout(WAIT_S):
            while len(self.requests) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.requests[-1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            if self.on_connect is not None:
                await self.on_connect(reader, writer)
            while True:
                head = (await reader.readuntil(b"\r\n\r\n"))[:-2]
                length = 0
                for line in head.split(b"\r\n"):
                    if line.startswith(b"content-length: "):
                        length = int(line.split(b": ")[1])
                body = await reader.readexactly(length)
                request = Request(head, body, reader, writer, number)
                self.requests.append(request)
                self._arrived.set()
                script = self._scripts.popleft() if len(self._scripts) > 1 else self._scripts[0]
                await script(request)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        except RuntimeError:
            assert writer.transport.is_closing()  # uvloop's way to say that the connection is lost.
        finally:
            self.open -= 1
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# Scripts.


def head(status: int = 200, headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()) -> bytes:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in pairs)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


STREAM_HEAD = head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})


def raw(data: bytes) -> Script:
    """Send exactly this and keep the connection."""

    async def script(request: Request) -> None:
        await request.send(data)

    return script


def answers(body: bytes = b"{}", status: int = 200, headers: Mapping[str, str] | None = None) -> Script:
    return raw(
        head(status, {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}) + body
    )


def streams(*events: bytes) -> Script:
    return raw(STREAM_HEAD + b"".join(chunk(event) for event in events) + b"0\r\n\r\n")


def then_resets(data: bytes = b"") -> Script:
    """Send this, make sure it was sent, and break the connection."""

    async def script(request: Request) -> None:
        if data:
            await request.send(data)
            await flushed(request.writer)
        request.reset()
        raise ConnectionResetError

    return script


def then_closes(data: bytes = b"", later: bytes = b"") -> Script:
    """Send this (and, once it was read, something else) and close the connection."""

    async def script(request: Request) -> None:
        if data:
            await request.send(data)
        if later:
            await flushed(request.writer)
            await request.send(later)
        request.writer.close()
        raise ConnectionResetError

    return script


async def flushed(writer: asyncio.StreamWriter) -> None:
    """Wait until the peer has taken everything: an RST would discard what it has not read."""
    sock = writer.get_extra_info("socket")
    siocoutq = 0x5411

    def unsent() -> int:
        import fcntl

        return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), siocoutq, b"\0\0\0\0"))[0])

    await until(lambda: unsent() == 0, "the peer acknowledges")
    await asyncio.sleep(0.02)  # Acknowledged is not read: let the other side of this loop read it.
    for _ in range(5):
        await asyncio.sleep(0)  # A loop that was held up runs its timers before it reads.


@dataclass
class Hangs:
    """Sends `first`, then nothing until told (`go`); knows when the front door has left (`left`)."""

    first: bytes = b""
    then: bytes = b""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: Request) -> None:
        if self.first:
            await request.send(self.first)
        self.began.set()
        go = asyncio.ensure_future(self.go.wait())
        gone = asyncio.ensure_future(request.gone())
        try:
            await asyncio.wait({go, gone}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
            if gone.done():
                self.left.set()
                raise ConnectionResetError
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone
            await request.send(self.then)
        finally:
            go.cancel()
            gone.cancel()

    async def abandoned(self) -> None:
        """Wait until the front door has ended the connection."""
        async with asyncio.timeout(WAIT_S):
            await self.left.wait()


def full_backlog() -> tuple[socket.socket, list[socket.socket]]:
    """A listener that takes no more connections: the kernel drops the knocking."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    return listener, fillers


# The client's side.


@dataclass
class Answer:
    """One answer, parsed strictly."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool  # Properly ended, as its framing says.

    def __getitem__(self, name: str) -> str:
        values = [value for key, value in self.headers if key == name]
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.headers)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error in OpenAI's shape; asserts the shape."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert self["content-type"] == "application/json"
        assert "x-request-id" in self or self.status in (400, 404, 405, 408, 431)
        return str(error["code"])

    @property
    def anthropic_type(self) -> str:
        """The type of an error in Anthropic's shape; asserts the shape."""
        told = self.json
        assert set(told) == {"type", "error", "request_id"}, told
        assert told["type"] == "error"
        assert set(told["error"]) == {"type", "message"}, told
        assert self["content-type"] == "application/json"
        assert told["request_id"] in (None, self["x-request-id"])
        return str(told["error"]["type"])

    @property
    def events(self) -> list[bytes]:
        return [event for event in self.body.split(b"\n\n") if event]


class RawClient:
    """A connection whose bytes are written and read exactly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, head_only: bool = False) -> Answer:
        """Read one answer; interim ones are skipped."""
        async with asyncio.timeout(WAIT_S):
            while True:
                status, headers = await self.head()
                if status >= 200:
                    break
            return await self._rest(status, headers, head_only)

    async def head(self) -> tuple[int, list[tuple[str, str]]]:
        async with asyncio.timeout(WAIT_S):
            text = (await self.reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1")
        line, *lines = text.split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version == "HTTP/1.1", line
        headers = []
        for entry in lines:
            name, separator, value = entry.partition(": ")
            assert separator, entry
            headers.append((name, value))
        return int(status), headers

    async def chunk(self) -> bytes | None:
        """One chunk of a chunked answer; None for the last."""
        async with asyncio.timeout(WAIT_S):
            size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
            data = await self.reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2] if size else None

    async def _rest(self, status: int, headers: list[tuple[str, str]], head_only: bool) -> Answer:
        fields = dict(headers)
        if head_only or status in (204, 304):
            return Answer(status, headers, b"", True)
        body = b""
        try:
            if fields.get("transfer-encoding") == "chunked":
                assert "content-length" not in fields
                while (part := await self.chunk()) is not None:
                    body += part
            elif "content-length" in fields:
                body = await self.reader.readexactly(int(fields["content-length"]))
            else:
                assert fields.get("connection") == "close"
                while part := await self.reader.read(65536):
                    body += part
        except asyncio.IncompleteReadError as error:
            return Answer(status, headers, body + error.partial, False)
        except ConnectionError:
            return Answer(status, headers, body, False)
        return Answer(status, headers, body, True)

    async def ended(self) -> bytes:
        """Wait for the end of the connection; what came before it."""
        rest = b""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionError):
                while part := await self.reader.read(65536):
                    rest += part
        return rest

    def close(self) -> None:
        self.writer.transport.abort()


def post(
    body: bytes | Mapping[str, Any] | None = None,
    path: str = CHAT,
    headers: Sequence[tuple[str, str]] = (),
    version: str = "1.1",
    **fields: Any,
) -> bytes:
    """An inference request, as bytes. Keywords go into the body."""
    if body is None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}], **fields}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/{version}", "Host: door", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + content


def get(path: str, headers: Sequence[tuple[str, str]] = (), method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: door", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Stage:
    """A front door before its clusters, and everything a test looks at."""

    def __init__(self, clusters: Mapping[str, ScriptedCluster], door: FrontDoor, registry: CollectorRegistry) -> None:
        self.clusters = clusters
        self.door = door
        self.registry = registry
        self.url = ""
        self.port = 0
        self.server: Server
        self._clients: list[RawClient] = []
        self._ending: asyncio.Task[None] | None = None

    @property
    def near(self) -> ScriptedCluster:
        return self.clusters["near"]

    @property
    def middle(self) -> ScriptedCluster:
        return self.clusters["middle"]

    @property
    def far(self) -> ScriptedCluster:
        return self.clusters["far"]

    async def client(self, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None) -> RawClient:
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        limit = 2**26 if receive_buffer is None else 2 * receive_buffer
        client = RawClient(
            *await asyncio.open_connection(
                sock=sock, limit=limit, ssl=tls, server_hostname="door.test" if tls else None
            )
        )
        self._clients.append(client)
        return client

    async def ask(self, data: bytes) -> Answer:
        """One request on a connection of its own."""
        client = await self.client()
        await client.send(data)
        answer = await client.answer()
        client.close()
        return answer

    def openai(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=WAIT_S)

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=WAIT_S)

    def belief(self, cluster: str) -> Belief:
        """What the front door holds about a cluster once it has folded what it heard."""
        self.door.feed.tick()
        return self.door.feed.snapshot.beliefs[cluster]

    def standing(self, cluster: str) -> Standing:
        return self.belief(cluster).standing

    def attempts(self) -> dict[tuple[str, str], int]:
        """How many attempts ended how, by cluster and outcome."""
        return self._counted("tradewind_attempts", "cluster", "outcome")

    def calls(self) -> dict[str, int]:
        """How many calls ended how."""
        found: dict[str, int] = {}
        for labels, count in self._counted("tradewind_calls", "outcome").items():
            found[labels[0]] = found.get(labels[0], 0) + count
        return found

    def resumes(self) -> dict[str, int]:
        """What became of how many streams that broke."""
        return {labels[0]: count for labels, count in self._counted("tradewind_resumes", "outcome").items()}

    def _counted(self, metric: str, *labels: str) -> dict[Any, int]:
        found: dict[Any, int] = {}
        for family in self.registry.collect():
            if family.name == metric:
                for sample in family.samples:
                    if sample.name.endswith("_total"):
                        key = tuple(sample.labels[label] for label in labels)
                        found[key] = found.get(key, 0) + int(sample.value)
        return found

    def close_listeners(self) -> None:
        """Begin to end, as uvicorn does it: no new connections, the others after their answer."""
        self._ending = asyncio.get_running_loop().create_task(self.server.shutdown())

    async def ended(self) -> None:
        """End the server. Not by its own loop, which looks ten times a second only."""
        for client in self._clients:
            client.close()
        for server in self.server.servers:
            server.close()
        await until(lambda: not self.server.server_state.connections, "connections end")
        await until(lambda: not self.server.server_state.tasks, "ASGI tasks end")
        if self._ending is not None:
            await self._ending

    async def settled(self) -> None:
        """Wait until nothing is in flight, and check that nothing was left behind."""
        door = self.door
        await until(lambda: not door.active and not door.buffered_bytes, "calls end, and their bodies are let go")
        assert door.in_flight == {}


@contextlib.asynccontextmanager
async def stage(
    *,
    names: Sequence[str] = ("near", "middle", "far"),
    timeouts: TimeoutSettings | None = None,
    edge: EdgeSettings | None = None,
    keys: ApiKeys | None = None,
    slots: int = 64,
    plain: bool = False,
    cors_origins: tuple[str, ...] = (),
    seed: int = 7,
    features: tuple[str, ...] = (),
    paths: Mapping[str, Sequence[str]] | None = None,
    offered: OfferedCertificate | None = None,
    tls: ClusterTls | None = None,
    cluster_tls: Mapping[str, ssl.SSLContext] | None = None,
    server_names: Mapping[str, str] | None = None,
) -> AsyncIterator[Stage]:
    """Start it all; end it all, and check that no call was left behind. `plain`: uvicorn's own protocol."""
    clusters = {name: ScriptedCluster(name, (cluster_tls or {}).get(name)) for name in names}
    for cluster in clusters.values():
        await cluster.start()
    settings = RouterSettings(
        region=OWN_REGION,
        inventory="",
        seed=seed,
        client_region_header="x-client-region",
        trusted_proxies=("127.0.0.0/8",),
        timeouts=timeouts or TimeoutSettings(),
        edge=edge or EdgeSettings(),
        cors_origins=cors_origins,
    )
    rows = tuple(
        ClusterRow(
            name=name,
            region=REGIONS[name],
            endpoint=cluster.endpoint,
            models={MODEL: DeclaredPool(slots, features)},
            paths=tuple((paths or {}).get(name, ())),
            server_name=(server_names or {}).get(name),
        )
        for name, cluster in clusters.items()
    )
    distances = Distances({(OWN_REGION, region): rtt for region, rtt in RTT_MS.items()})
    loaded = Loaded(
        settings=settings,
        inventory=Inventory(clusters=rows),
        heartbeat_keys={},
        distances=distances,
        api_keys=keys,
        tls=tls,
    )
    clock = SystemClock()
    registry = CollectorRegistry()
    loops = Loops(registry, clock)
    door = build_door(loaded, registry, clock, loops)
    door.feed.tick()
    here = Stage(clusters, door, registry)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    listener.setblocking(False)
    here.port = listener.getsockname()[1]
    here.url = f"{'http' if offered is None else 'https'}://127.0.0.1:{here.port}"
    app = build_public(door, "0")
    here.server = server = _server(
        app, settings, http="httptools" if plain else partial(PlainProtocol, door=door), offered=offered
    )
    loop = asyncio.get_running_loop()
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup([listener])
    sweeping = loop.create_task(loops.every("sweep", 0.02, door.sweep))
    checking = loop.create_task(loops.every("connections", 0.02, lambda: _check_connections(door, server)))
    try:
        yield here
        await here.settled()
    finally:
        door.cut_all()
        await here.ended()
        for task in (sweeping, checking):
            task.cancel()
        await asyncio.gather(sweeping, checking, return_exceptions=True)
        for pool in door.pools.values():
            pool.close()
        for cluster in clusters.values():
            await cluster.stop()
        await until(lambda: all(pool.open == 0 for pool in door.pools.values()), "upstream connections close")
