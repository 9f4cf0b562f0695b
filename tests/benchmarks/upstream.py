"""The upstream in its own process: prepared bytes, one timer for all streams, nothing that it need not do.

Prints its port. Each line on stdin is a command: {"interval_s": S} sets the pace of streams opened from then on (only
while none is), {} asks; each is answered by a line {"streams": N}. Ends with its stdin.
"""

import asyncio
import gc
import json
import os
import re
import sys

import uvloop

from tests.benchmarks import answer

TICK_S = 0.005
_STREAM = b'"stream":'
_END = 400  # Bytes at the end of a body where a client's own spelling has it.
_MAX_TOKENS = re.compile(rb'"max_(?:completion_)?tokens":\s*(\d+)')
_LENGTH = re.compile(rb"content-length:\s*(\d+)")


def is_stream(body: bytes) -> bool:
    """What a body says of it, wherever a proxy put it."""
    at = body.rfind(_STREAM, -min(_END, len(body)))
    if at < 0:
        at = body.find(_STREAM)
    return at >= 0 and body[at + len(_STREAM) : at + len(_STREAM) + 8].lstrip().startswith(b"true")


class Pacer:
    """Streams in as many groups as an interval has ticks; every tick, the next group gets an event each."""

    def __init__(self, interval_s: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.streams = 0
        self.opened = 0
        self.set(interval_s)

    def set(self, interval_s: float) -> None:
        self.groups: list[set[Upstream]] = [set() for _ in range(max(1, round(interval_s / TICK_S)))]

    def run(self) -> None:
        self.began = self.loop.time()
        self.ticks = 0
        self.tick()

    def tick(self) -> None:
        """On an absolute schedule: what a late tick missed is made up for at once."""
        due = int((self.loop.time() - self.began) / TICK_S)
        while self.ticks <= due:
            for stream in list(self.groups[self.ticks % len(self.groups)]):
                stream.one_more()
            self.ticks += 1
        self.loop.call_at(self.began + self.ticks * TICK_S, self.tick)

    def add(self, stream: "Upstream") -> None:
        stream.group = self.groups[self.opened % len(self.groups)]
        stream.group.add(stream)
        self.opened += 1
        self.streams += 1

    def drop(self, stream: "Upstream") -> None:
        if stream.group is not None:
            stream.group.discard(stream)
            stream.group = None
            self.streams -= 1


class Upstream(asyncio.Protocol):
    """One connection from a proxy."""

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer
        self.group: set[Upstream] | None = None
        self.head = b""
        self.parts: list[bytes] = []
        self.missing = 0  # Bytes of the body still to come.
        self.chunked = self.upload = False
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.write = transport.write  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        self.pacer.drop(self)

    def data_received(self, data: bytes) -> None:
        if not self.missing and not self.chunked:
            data = self.head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.head = data
                return
            self.head = data[:end].lower()
            length = _LENGTH.search(self.head)
            self.chunked = length is None and b"transfer-encoding: chunked" in self.head
            self.missing = int(length[1]) if length else 0
            self.upload = self.missing > 4_000_000 or (self.chunked and b"multipart/" in self.head)
            if b"100-continue" in self.head:
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            data = data[end + 4 :]
            self.parts, self.tail = [], b""
        if self.chunked:
            self.tail = (self.tail + data[-8:])[-8:]
            if not self.upload:
                self.parts.append(data)
            if not self.tail.endswith(b"\r\n0\r\n\r\n"):
                return
            self.chunked = False
        else:
            self.missing -= len(data)
            if not self.upload:
                self.parts.append(data)
            if self.missing > 0:
                return
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        head, self.head, self.parts, self.missing = self.head, b"", [], 0
        self.reply(head, body)

    def reply(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if self.upload:
            self.write(answer.EMPTY_ANSWER)
        elif path.endswith(b"/chat/completions"):
            if is_stream(body):
                tokens = _MAX_TOKENS.search(body)
                self.left = int(tokens[1]) if tokens else 100
                self.write(answer.STREAM_BEGIN)
                self.pacer.add(self)
            else:
                self.write(answer.PLAIN_ANSWER)
        elif path.endswith(b"/models"):
            self.write(answer.MODELS_ANSWER)
        elif b"info" in path:
            self.write(answer.INFO_ANSWER)
        else:  # Health.
            self.write(answer.EMPTY_ANSWER)

    def one_more(self) -> None:
        if self.left:
            self.left -= 1
            self.write(answer.EVENT_CHUNK)
        else:
            self.pacer.drop(self)
            self.write(answer.STREAM_END)


async def main() -> None:
    loop = asyncio.get_running_loop()
    pacer = Pacer(0.05)
    pacer.run()
    ended = asyncio.Event()

    def told() -> None:
        lines = os.read(0, 65_536)
        if not lines:
            ended.set()
            return
        for line in lines.splitlines():
            command = json.loads(line)
            if "interval_s" in command:
                pacer.set(command["interval_s"])
            print(json.dumps({"streams": pacer.streams}), flush=True)

    loop.add_reader(0, told)
    server = await loop.create_server(lambda: Upstream(pacer), "127.0.0.1", 0, backlog=8192)
    gc.freeze()
    gc.disable()  # Nothing here makes cycles that matter within a run.
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await ended.wait()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
