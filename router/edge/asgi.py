"""The same exchange behind ASGI: for servers other than our own, and for the OpenAPI page.

Slower than the edge (a task and a few wake-ups a call) and equal to it answer by answer; a
test compares the two.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from router.edge.door import FrontDoor
from router.edge.exchange import Exchange, State
from router.edge.heads import BadHead, Headers, RequestHead, is_request_id
from router.errors import Failure, Kind

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = 16 * 1024


class AsgiCall:
    """Takes one request's body from ASGI, runs its exchange, sends the answer."""

    def __init__(self, door: FrontDoor, path: str) -> None:
        self.door = door
        self.path = path
        self._out: deque[Message] = deque()
        self._out_bytes = 0
        self._paused = False
        self._wake = asyncio.Event()
        self._finished = False
        self._aborted = False
        self._exchange: Exchange | None = None
        self._buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application for one request."""
        failure: Failure | None = None
        try:
            head = self.door.reader.read(_framed(scope["headers"]))
        except BadHead as error:
            head, failure = RequestHead(forwarded=b""), Failure(Kind.BAD_HTTP, str(error))
        given = head.request_id
        request_id = given.decode("ascii") if given is not None and is_request_id(given) else self.door.request_id()
        exchange = self._exchange = Exchange(self.door, self, head, request_id)
        try:
            failure = failure or self.door.unreadable(head)
            body = failure or self.door.no_place_for(int(head.content_length or 0)) or await self._body(receive)
            if body is None:
                return
            if isinstance(body, Failure):
                exchange.refuse(body)
            else:
                client = scope.get("client")
                exchange.begin(self.path, body, client is not None and self.door.trusts(client[0]))
            watcher = asyncio.get_running_loop().create_task(self._watch(receive))
            try:
                await self._send_all(send)
            finally:
                watcher.cancel()
        finally:
            self._forget_body()
            if exchange.state is not State.DONE:
                exchange.client_gone()

    async def _body(self, receive: Receive) -> bytes | Failure | None:
        """The whole body; a Failure as soon as it is too large; None if the client left."""
        door = self.door
        bounds = door.settings.edge
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            self._buffered += len(chunk)
            door.buffered_bytes += len(chunk)
            if self._buffered > bounds.body_bytes_max or door.buffered_bytes > bounds.buffered_bytes_max:
                return door.too_large(self._buffered)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _forget_body(self) -> None:
        self.door.buffered_bytes -= self._buffered
        self._buffered = 0

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if self._exchange is not None:
            self._exchange.client_gone()
        self._aborted = True
        self._wake.set()

    async def _send_all(self, send: Send) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._out:
                message = self._out.popleft()
                await send(message)
                self._out_bytes -= len(message.get("body", b""))
                if self._paused and self._out_bytes <= LOW_WATER_BYTES and self._exchange is not None:
                    self._paused = False
                    self._exchange.resume()
            if self._aborted:
                # An ASGI server that sees the application end early breaks the connection, which is what is meant.
                return
            if self._finished:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return

    # Downstream

    def send_head(self, status: int, headers: Headers, length: int | None) -> None:
        self._forget_body()  # The exchange needs it no more either.
        if length is not None:
            headers = [*headers, (b"content-length", b"%d" % length)]
        self._out.append({"type": "http.response.start", "status": status, "headers": headers})
        self._wake.set()

    def send_body(self, chunk: bytes) -> None:
        self._out.append({"type": "http.response.body", "body": chunk, "more_body": True})
        self._out_bytes += len(chunk)
        if self._out_bytes > HIGH_WATER_BYTES and not self._paused and self._exchange is not None:
            self._paused = True
            self._exchange.pause()
        self._wake.set()

    def finish(self) -> None:
        self._finished = True
        self._wake.set()

    def abort(self) -> None:
        self._aborted = True
        self._wake.set()


def _framed(headers: list[tuple[bytes, bytes]]) -> Headers:
    """ASGI's headers; the server in front has already undone the framing."""
    return [(name, value) for name, value in headers if name != b"transfer-encoding"]
