"""The edge's protocol: uvicorn's, with inference calls taken out before ASGI. The outside world: clients.

An inference call becomes an EdgeCycle: no task, no scope, no coroutine per chunk. Everything
else goes the way uvicorn built for it. Pipelined requests of both kinds are answered in order.
"""

import asyncio
from typing import Any, cast

import httptools
import structlog
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from router.edge.cycle import STATUS_LINES, EdgeCycle
from router.edge.door import FrontDoor
from router.edge.exchange import State
from router.errors import Failure, Kind, error_body

INFERENCE_PATHS = {path.encode(): path for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")}
LINGER_S = 5.0  # For a client that is still sending what we have refused: closing at once would eat our answer.

log = structlog.get_logger()


class EdgeProtocol(HttpToolsProtocol):
    """One client connection."""

    cycle: RequestResponseCycle | EdgeCycle | None  # type: ignore[assignment]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: FrontDoor,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.door = door
        self.peer_is_trusted = False
        self._reading: EdgeCycle | None = None  # The call whose request was begun last; None: ASGI's.
        self._answering: EdgeCycle | None = None  # The call whose turn it is.
        self._head_bytes = 0
        self._head_began_at: float | None = None
        self._poisoned = False  # What comes after the present request is not HTTP: answer it, then close.
        self._lingering = False
        self._rests_since: float | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_began_at = self.door.now()
        self.peer_is_trusted = self.client is not None and self.door.trusts(self.client[0])

    def connection_lost(self, exc: Exception | None) -> None:
        cycles = {self._reading, self._answering, *(cycle for cycle, _ in self.pipeline)}
        self._reading = self._answering = None
        super().connection_lost(exc)
        for cycle in cycles:
            if isinstance(cycle, EdgeCycle):
                cycle.client_gone()

    def data_received(self, data: bytes) -> None:
        if self._poisoned:
            return
        self._rests_since = None
        if self._head_began_at is None and (self.cycle is None or not self.cycle.more_body):
            self._head_began_at = self.door.now()
        if self._head_began_at is not None:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._not_http("The request is not valid HTTP/1.1.")
        except httptools.HttpParserUpgrade:
            super_handles = isinstance(self.cycle, RequestResponseCycle) and self._should_upgrade()
            if super_handles:
                self.handle_websocket_upgrade()
            else:
                self._poisoned = True
        if self._head_began_at is not None and self._head_bytes > self.door.settings.edge.headers_bytes_max:
            self._answer_and_close(Failure(Kind.HEADERS_TOO_LARGE, "The request's headers are too large."))

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._answering is not None:
            self._answering.exchange.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._answering is not None:
            self._answering.exchange.resume()

    # httptools callbacks. An exception in one would become a 400 to the client: see _guarded.

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._head_began_at = None
        self._head_bytes = 0
        url = self.url
        path = INFERENCE_PATHS.get(url) or INFERENCE_PATHS.get(url.partition(b"?")[0])
        if path is None or self.parser.get_method() != b"POST":
            self._hand_to_asgi()
            return
        try:
            self._take_call(path)
        except Exception:
            log.exception("call failed in the edge")
            self._answer_and_close(Failure(Kind.INTERNAL, "The front door failed; this is our fault."))

    def _take_call(self, path: str) -> None:
        http10 = self.parser.get_http_version() == "1.0"
        cycle = EdgeCycle(self, self.door, path, self.headers, http10=http10)
        if not self.parser.should_keep_alive():
            cycle.keep_alive = False
        if self.parser.should_upgrade():
            cycle.body_failure = Failure(Kind.BAD_HTTP, "Upgrade is not offered here.")
        elif len(self.headers) > self.door.settings.edge.headers_max:
            cycle.body_failure = Failure(Kind.HEADERS_TOO_LARGE, "The request has too many headers.")
        before = self.cycle
        self._reading = cycle
        self.cycle = cycle
        if before is None or before.response_complete:
            self._start(cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))  # type: ignore[arg-type]  # see _start_asgi_task

    def _hand_to_asgi(self) -> None:
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        self._reading = None
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        cycle = self._reading
        if cycle is None:
            super().on_body(body)
            return
        try:
            cycle.take(body)
        except Exception:
            log.exception("call failed in the edge")
            self.transport.abort()

    def on_message_complete(self) -> None:
        cycle = self._reading
        if cycle is None:
            super().on_message_complete()
            return
        try:
            if self._lingering:
                self.transport.close()
            cycle.body_complete()
        except Exception:
            log.exception("call failed in the edge")
            self.transport.abort()

    # For the cycle.

    def _start_asgi_task(self, cycle: RequestResponseCycle | EdgeCycle, app: ASGI3Application) -> None:
        """The turn of a request has come, of either kind."""
        if self.transport.is_closing():
            return
        if isinstance(cycle, EdgeCycle):
            self._start(cycle)
        else:
            self._answering = None
            super()._start_asgi_task(cycle, app)

    def _start(self, cycle: EdgeCycle) -> None:
        self._answering = cycle
        cycle.start()

    def continue_if_expected(self) -> None:
        """The client waits for a word before it sends its body."""
        if self.expect_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def answered(self, cycle: EdgeCycle) -> None:
        """The answer is out: the connection goes on, or ends."""
        if cycle.keep_alive and not self._poisoned:
            self.on_response_complete()
        elif cycle.more_body and not self._poisoned:
            self._lingering = True
            self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """An answer is out. The next request in the pipeline has its turn, or the connection rests."""
        self.server_state.total_requests += 1
        self._answering = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            queued, app = self.pipeline.pop()
            cycle = cast("RequestResponseCycle | EdgeCycle", queued)
            self._answering = cycle if isinstance(cycle, EdgeCycle) else None
            # Not from here: a thousand queued requests that are refused at once would nest as deep.
            self.loop.call_soon(self._start_asgi_task, cycle, app)
        else:
            self._rests_since = self.door.now()  # Seen by check_time: cheaper than a timer for every answer.

    def check_time(self, now: float) -> None:
        """A client that sends too slowly, or nothing for too long. Called by the app's sweep."""
        timeouts = self.door.settings.timeouts
        if self._rests_since is not None and now - self._rests_since > timeouts.keep_alive_s:
            self.transport.close()
            return
        limit_s = timeouts.body_s
        if self._head_began_at is not None and now - self._head_began_at > limit_s:
            self._answer_and_close(Failure(Kind.REQUEST_TIMEOUT, "The request did not arrive in time."))
        elif isinstance(self.cycle, EdgeCycle):
            self.cycle.check_time(now)

    def shutdown(self) -> None:
        """The server ends: idle connections close, the others after their answer."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def _not_http(self, message: str) -> None:
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            # The answer under way is not to be disturbed; then the connection ends.
            self._poisoned = True
            cycle.keep_alive = False
            return
        self._answer_and_close(Failure(Kind.BAD_HTTP, message))

    def _answer_and_close(self, failure: Failure) -> None:
        """An error for a request that never became a call. Says nothing if an answer has begun."""
        self._poisoned = True
        cycle = self.cycle
        begun = cycle is not None and cycle.response_started and not cycle.response_complete
        if isinstance(cycle, EdgeCycle) and not cycle.response_complete:
            cycle.response_complete = True
            if cycle.exchange.state is not State.DONE:
                cycle.exchange.client_gone()
        if not begun and not self.transport.is_closing():
            body = error_body(failure)
            self.transport.write(
                b"%scontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
                % (STATUS_LINES[failure.row.status], len(body), body)
            )
        self.transport.close()
