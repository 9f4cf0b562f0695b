"""A load generator in its own process: keep-alive connections that ask, read, and ask again.

Arguments: port, connections, calls in all, prompt bytes, stream (0 or 1), API key. Prints one
line of JSON: calls, errors, events, seconds.
"""

import asyncio
import json
import sys

import httptools
import uvloop


def request(port: int, prompt_bytes: int, stream: bool, key: str) -> bytes:
    """One call as an OpenAI client would send it, of about `prompt_bytes` bytes of body."""
    body = json.dumps(
        {
            "model": "m",
            "messages": [{"role": "user", "content": "word " * (prompt_bytes // 5)}],
            "max_tokens": 120,
            "temperature": 0.7,
            "stream": stream,
        },
        separators=(",", ":"),  # As the official client does.
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: application/json\r\n"
        f"content-type: application/json\r\nuser-agent: OpenAI/Python 3.0\r\nauthorization: Bearer {key}\r\n"
        f"x-stainless-lang: python\r\nx-stainless-retry-count: 0\r\naccept-encoding: gzip, deflate\r\n"
        f"connection: keep-alive\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One client connection in a closed loop."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        if self.load.sent >= self.load.calls:
            self.transport.close()
            return
        self.load.sent += 1
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.load.events += body.count(b"\n\n")

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() != 200:
            self.load.errors += 1
        self.load.ended += 1
        if self.load.ended == self.load.calls:
            self.load.done.set_result(None)
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self.load.done.done():
            self.load.done.set_exception(exc)


class Load:
    """The counters of one run."""

    def __init__(self, calls: int, request: bytes) -> None:
        self.calls = calls
        self.request = request
        self.sent = self.ended = self.errors = self.events = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


async def main(port: int, connections: int, calls: int, prompt_bytes: int, stream: bool, key: str) -> None:
    loop = asyncio.get_running_loop()
    load = Load(calls, request(port, prompt_bytes, stream, key))
    began = loop.time()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", port)
    async with asyncio.timeout(120):
        await load.done
    print(
        json.dumps({"calls": load.ended, "errors": load.errors, "events": load.events, "seconds": loop.time() - began})
    )


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:6]]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(numbers[0], numbers[1], numbers[2], numbers[3], bool(numbers[4]), sys.argv[6]))
