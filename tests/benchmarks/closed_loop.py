"""Calls in a closed loop: each connection asks again as soon as it was answered."""

import asyncio
import time

from tests.benchmarks.connection import Connection
from tests.benchmarks.cpu import Meter
from tests.benchmarks.request import Requests

ERRORS_MAX = 50
ANSWERS_MIN = 60  # Of a proxy that is slow the window is longer, until so many came
LONGER_S_MAX = 10.0  # or this went by.


class ClosedLoop:
    """So many connections, for so long."""

    def __init__(self, port: int, requests: Requests, connections: int) -> None:
        self.port = port
        self.requests = requests
        self.connections = connections
        self.answers = self.errors = 0
        self.first_error: str | None = None
        self.over = False
        self.alive: set[Connection] = set()
        self.dialing: set[asyncio.Task[None]] = set()
        self.gave_up = asyncio.Event()

    async def run(self, meter: Meter, warm_s: float, window_s: float) -> dict[str, object]:
        for _ in range(self.connections):
            await self._dial()
        await self._for(warm_s, self.connections)
        before = self.answers
        meter.start()
        await self._for(window_s, before + ANSWERS_MIN)
        told: dict[str, object] = dict(meter.stop())
        told |= {"answers": self.answers - before, "errors": self.errors, "first_error": self.first_error}
        self.over = True
        for connection in list(self.alive):
            connection.transport.abort()  # type: ignore[attr-defined]
        return told

    async def _for(self, seconds: float, answers: int) -> None:
        """So long, and longer while fewer than so many answers came in all."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until or (self.answers < answers and now < until + LONGER_S_MAX):
            try:
                async with asyncio.timeout(max(0.02, until - now)):
                    await self.gave_up.wait()
                    return
            except TimeoutError:
                continue

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._answered, self._closed), "127.0.0.1", self.port
        )
        self.alive.add(connection)
        connection.ask(*self.requests.next())

    def _answered(self, connection: Connection, ok: bool) -> None:
        if ok:
            self.answers += 1
        else:
            self._failed(f"status {connection.status}, body {connection.body[:200]!r}")
        if not self.over and not connection.transport.is_closing():
            connection.ask(*self.requests.next())

    def _closed(self, connection: Connection) -> None:
        self.alive.discard(connection)
        if self.over:
            return
        if connection.busy:
            self._failed("the connection ended before the answer did")
        if not self.gave_up.is_set():
            task = asyncio.get_running_loop().create_task(self._dial())
            self.dialing.add(task)
            task.add_done_callback(self._dialed)

    def _dialed(self, task: "asyncio.Task[None]") -> None:
        self.dialing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failed(f"could not connect: {task.exception()}")

    def _failed(self, why: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or why
        if self.errors >= ERRORS_MAX:
            self.gave_up.set()
