"""The same exchange behind ASGI: for servers other than our own, and for the OpenAPI page.

Slower than the edge (a task and a few wake-ups a call) and equal to it answer by answer; a
test compares the two.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from router.body import BadBody
from router.edge.door import FrontDoor
from router.edge.exchange import Exchange, State
from router.edge.heads import BadHead, Headers, is_request_id
from router.edge.intake import bad_form, begin_form
from router.edge.request_head import RequestHead
from router.edge.upload import let_go
from router.errors import Failure, Kind
from router.fields import Fields
from router.form import FormBody
from router.paths import Form, Route
from router.pieces import Pieces

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

Whole = tuple[bytes | Pieces, Fields | None]  # A body, and what it says if that was read as it came.

HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = 16 * 1024


class AsgiCall:
    """Takes one request's body from ASGI, runs its exchange, sends the answer."""

    def __init__(self, door: FrontDoor, route: Route) -> None:
        self.door = door
        self.route = route
        self._out: deque[Message] = deque()
        self._out_bytes = 0
        self._paused = False
        self._wake = asyncio.Event()
        self._finished = False
        self._aborted = False
        self._exchange: Exchange | None = None
        self._buffered = 0
        self._taken: Pieces | None = None  # Of a form: kept here too, so that it is let go slowly.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application for one request."""
        failure: Failure | None = None
        try:
            head = self.door.reader.read(_framed(scope["headers"]))
        except BadHead as error:
            head, failure = RequestHead(forwarded=b""), Failure(Kind.BAD_HTTP, str(error))
        given = head.request_id
        request_id = given if given is not None and is_request_id(given) else self.door.request_id()
        exchange = self._exchange = Exchange(self.door, self, head, request_id, self.route)
        try:
            failure = failure or self.door.unreadable(head)
            failure = failure or self.door.no_place_for(int(head.content_length or 0), self.route.form)
            body = failure or await self._taken_in(head, scope["headers"], receive)
            if body is None:
                return
            if isinstance(body, Failure):
                exchange.fail(body)
            else:
                client = scope.get("client")
                trusted = client is not None and self.door.trusts(client[0])
                exchange.begin(_target(self.route, scope), body[0], trusted, body[1])
            watcher = asyncio.get_running_loop().create_task(self._watch(receive))
            try:
                await self._send_all(send)
            finally:
                watcher.cancel()
        finally:
            self.forget_request()
            if exchange.state is not State.DONE:
                exchange.client_gone()

    async def _taken_in(self, head: RequestHead, headers: Headers, receive: Receive) -> Whole | Failure | None:
        """The whole body, and what it says if that was read as it came; None if the client left."""
        form = begin_form(self.door, head, headers) if self.route.form is Form.MULTIPART else None
        if isinstance(form, Failure):
            return form
        self._taken = None if form is None else form.pieces
        try:
            return await self._body(receive, form)
        except BadBody as error:
            return bad_form(error)

    async def _body(self, receive: Receive, form: FormBody | None) -> Whole | Failure | None:
        """A Failure as soon as it is too large. Raises BadBody for a form that cannot be read."""
        door = self.door
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            self._buffered += len(chunk)
            door.buffered_bytes += len(chunk)
            kind = self.route.form
            if self._buffered > door.bytes_max(kind) or door.buffered_bytes > door.settings.edge.buffered_bytes_max:
                return door.too_large(self._buffered, kind)
            if form is None:
                chunks.append(chunk)
            else:
                form.take(chunk)
            if not message.get("more_body", False):
                return (b"".join(chunks), None) if form is None else (form.pieces, form.finish())

    def forget_request(self) -> None:
        """Its body is needed no more."""
        taken, self._taken = self._taken, None
        if taken is not None:
            let_go(taken)
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

    def send_head(self, status: int, lines: bytes, length: int | None) -> None:
        headers = [tuple(line.split(b": ", 1)) for line in lines.split(b"\r\n") if line]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        self._out.append({"type": "http.response.start", "status": status, "headers": headers})
        self._wake.set()

    def send_body(self, chunk: bytes) -> None:
        self._out.append({"type": "http.response.body", "body": chunk, "more_body": True})
        self._out_bytes += len(chunk)
        if self._out_bytes > HIGH_WATER_BYTES and not self._paused and self._exchange is not None:
            self._paused = True
            self._exchange.pause()
        self._wake.set()

    def send_whole(self, status: int, lines: bytes, body: bytes) -> None:
        self.forget_request()
        self.send_head(status, lines, len(body))
        self.send_body(body)
        self.finish()

    def finish(self) -> None:
        self._finished = True
        self._wake.set()

    def abort(self) -> None:
        self._aborted = True
        self._wake.set()


def _target(route: Route, scope: Scope) -> bytes:
    """Path and query, as the client wrote them."""
    query: bytes = scope.get("query_string", b"")
    return b"%s?%s" % (route.path.encode(), query) if query else route.path.encode()


def _framed(headers: list[tuple[bytes, bytes]]) -> Headers:
    """ASGI's headers; the server in front has already undone the framing."""
    return [(name, value) for name, value in headers if name != b"transfer-encoding"]
