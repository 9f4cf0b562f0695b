"""A mock cluster in its own process: the cheapest HTTP server we can write, so that it never bounds the proxy.

Answers /health, a plain completion of 650 bytes, and streams of events at a fixed pace.
"""

import asyncio
import json
import sys

import httptools
import uvloop

PLAIN = json.dumps(
    {
        "id": "cmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 480}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 500, "completion_tokens": 120, "total_tokens": 620},
    }
).encode()
PLAIN_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(PLAIN),
    PLAIN,
)
EVENT = b'data: {"id":"cmpl-1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'  # noqa: E501
EVENT_CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class MockCluster(asyncio.Protocol):
    """One connection."""

    def __init__(self, events: int, interval_s: float) -> None:
        self.events = events
        self.interval_s = interval_s
        self.parser = httptools.HttpRequestParser(self)
        self.body: list[bytes] = []
        self.path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.path = url
        self.body = []

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        if self.path == b"/health":
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        elif b'"stream":true' in b"".join(self.body)[-200:]:
            self.transport.write(STREAM_HEAD + EVENT_CHUNK)
            loop = asyncio.get_running_loop()
            loop.call_at(loop.time() + self.interval_s, self.tick, 1, loop.time())
        else:
            self.transport.write(PLAIN_ANSWER)

    def tick(self, sent: int, began: float) -> None:
        """One more event, on an absolute schedule."""
        if self.transport.is_closing():
            return
        if sent >= self.events:
            self.transport.write(STREAM_END)
            return
        self.transport.write(EVENT_CHUNK)
        loop = asyncio.get_running_loop()
        loop.call_at(began + (sent + 1) * self.interval_s, self.tick, sent + 1, began)


async def main(events: int, interval_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: MockCluster(events, interval_s), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), float(sys.argv[2])))
