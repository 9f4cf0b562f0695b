"""Many streams at once, each on a connection of its own; what comes is counted, and nothing else."""

import asyncio

from tests.benchmarks.answer import MARK
from tests.benchmarks.cpu import Meter, rss_kb
from tests.benchmarks.request import Requests

DIALS_AT_ONCE = 50
SETTLE_S = 0.3
_CARRY = len(MARK) - 1


class Stream(asyncio.Protocol):
    """One of them. Counts events by a word that each holds once, also where a read cuts it."""

    def __init__(self, streams: "OpenStreams") -> None:
        self.streams = streams
        self.head = b""
        self.begun = False
        self.events = 0
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        head, body = self.streams.requests.next()
        transport.write(head + body)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self.begun:
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return
            if self.head[9:12] != b"200":
                self.streams.failed(f"answered {self.head[:300]!r}")
                return
            self.begun = True
            self.streams.begun += 1
            data = self.head.partition(b"\r\n\r\n")[2]
        if self.tail:
            data = self.tail + data
        found = data.count(MARK)
        self.tail = b"" if data.endswith(b"\n") else data[-_CARRY:]
        if found:
            if not self.events:
                self.streams.one_open()
            self.events += found
            self.streams.events += found

    def connection_lost(self, exc: Exception | None) -> None:
        self.streams.closed(self)


class OpenStreams:
    """Opens them, measures over a window, and closes them."""

    def __init__(self, port: int, requests: Requests, count: int) -> None:
        self.port = port
        self.requests = requests
        self.count = count
        self.events = self.begun = self.open = self.errors = 0
        self.first_error: str | None = None
        self.all: list[Stream] = []
        self.over = False
        self.ready = asyncio.Event()

    def one_open(self) -> None:
        self.open += 1
        if self.open == self.count:
            self.ready.set()

    def failed(self, why: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or why
        self.ready.set()

    def closed(self, stream: Stream) -> None:
        if not self.over:
            self.failed(f"a stream ended after {stream.events} events")

    async def run(self, meter: Meter, open_s: float, window_s: float) -> dict[str, object]:
        before_kb = rss_kb(meter.proxy)
        try:
            async with asyncio.timeout(open_s):
                await self._dial()
                await self.ready.wait()
        except TimeoutError:
            self._close()
            half = self.open >= self.count / 2  # Then a slower pace may do.
            return {"failure": f"{self.open} of {self.count} streams were open after {open_s:g} s", "again": half}
        told: dict[str, object] = {}
        if not self.errors:
            await asyncio.sleep(SETTLE_S)
            events = self.events
            each = [stream.events for stream in self.all]
            meter.start()
            await asyncio.sleep(window_s)
            told |= meter.stop()
            told |= {"events": self.events - events, "kb": (rss_kb(meter.proxy) - before_kb) / self.count}
            told["fewest"] = min(stream.events - had for stream, had in zip(self.all, each, strict=True))
            told["held"] = self.events / self.count
        self._close()
        return {**told, "errors": self.errors, "first_error": self.first_error}

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        while len(self.all) < self.count and not self.errors:
            if len(self.all) - self.begun >= DIALS_AT_ONCE:
                await asyncio.sleep(0.001)
                continue
            _, stream = await loop.create_connection(lambda: Stream(self), "127.0.0.1", self.port)
            self.all.append(stream)

    def _close(self) -> None:
        self.over = True
        for stream in self.all:
            stream.transport.abort()  # type: ignore[attr-defined]
