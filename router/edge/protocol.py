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
from router.edge.heads import BadHead, Headers
from router.edge.request_head import RequestHead
from router.errors import Failure, Kind, error_body
from router.paths import Form, Route

LINGER_S = 5.0  # For a client that is still sending what we have refused: closing at once would eat our answer.
PIPELINE_MAX = 16  # Requests waiting their turn; beyond, we read no more, and so cannot see the client leave.

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
        self._answering: RequestResponseCycle | EdgeCycle | None = None  # The request whose turn it is.
        self._read_bytes = 0  # In the latest read.
        self._head_bytes = 0  # Of the head that is still coming, in reads that are wholly its own.
        self._head_began_at: float | None = None
        self._poisoned = False  # Nothing more is read as a request: what is under way is answered, then we close.
        self._lingering = False
        self._rests_since: float | None = None
        self._asgi_heard_at: float | None = None  # While the body of a request for ASGI comes in.
        self._unsent = (0, 0.0)  # Bytes that the client has yet to take, and since when so many; see _check_flush.

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_began_at = self.door.now()
        self.peer_is_trusted = self.client is not None and self.door.trusts(self.client[0])

    def connection_lost(self, exc: Exception | None) -> None:
        cycles = {self._reading, self._answering, *(cycle for cycle, _ in self.pipeline)}
        self._reading = self._answering = None
        self.pipeline.clear()
        super().connection_lost(exc)
        for cycle in cycles:
            if isinstance(cycle, EdgeCycle):
                cycle.client_gone()
            elif cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def eof_received(self) -> None:
        """A client that half-closes counts as gone: its call ends now, not when what was written has been taken."""
        cycle = self._answering
        if isinstance(cycle, EdgeCycle) and not cycle.response_complete:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._poisoned:
            return
        self._read_bytes = len(data)
        if self._head_began_at is not None:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse_and_close(Failure(Kind.BAD_HTTP, "The request is not valid HTTP/1.1."))
        except httptools.HttpParserUpgrade:
            # What follows is another protocol's. Nothing here speaks one: see uvicorn.Config(ws="none").
            self._poisoned = True
            if self.cycle is not None:
                self.cycle.keep_alive = False
        else:
            if self._head_began_at is not None and self._head_bytes > self.door.settings.edge.headers_bytes_max:
                self._refuse_and_close(Failure(Kind.HEADERS_TOO_LARGE, "The request's headers are too large."))

    def pause_writing(self) -> None:
        super().pause_writing()
        if isinstance(self._answering, EdgeCycle):
            self._answering.exchange.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if isinstance(self._answering, EdgeCycle):
            self._answering.exchange.resume()
        elif self._answering is None and self.pipeline and not self.transport.is_closing():
            self._next_turn()

    # httptools callbacks. An exception in one becomes a 400 to the client: ours are caught and told as what they are.

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._head_began_at = self.door.now()
        self._head_bytes = 0
        self._rests_since = None

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_began_at is None:
            return  # A trailer: none is passed on.
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._head_began_at = None
        headers, self.headers = self.headers, []
        if self._poisoned or self._lingering or self.transport.is_closing():
            # We have said that the connection ends: whatever else was in this segment is not taken.
            self._reading = None
            self._poisoned = True
            return
        url = self.url
        known = self.door.routes
        route = known.get(url) or known.get(url.partition(b"?")[0])
        is_call = route is not None and self.parser.get_method() == b"POST"
        failure = self._unfit(headers)
        if route is None or not is_call:
            self._reading = None
            failure = failure or self._ambiguous(headers)
            if failure is not None:
                self._refuse_and_close(failure)
            else:
                self._hand_to_asgi(headers)
            return
        try:
            self._take_call(route, headers, failure)
        except Exception:
            log.exception("call failed in the edge")
            self._reading = None
            self._refuse_and_close(Failure(Kind.INTERNAL, "The front door failed; this is our fault."))

    def _unfit(self, headers: Headers) -> Failure | None:
        """What is wrong with a head whatever it asks for."""
        bounds = self.door.settings.edge
        if len(headers) > bounds.headers_max:
            return Failure(Kind.HEADERS_TOO_LARGE, "The request has too many headers.")
        if self._head_bytes + self._read_bytes > bounds.headers_bytes_max:
            # The reads may have held more than this head; only then is it worth measuring.
            size = len(self.url) + sum(len(name) + len(value) for name, value in headers)
            if size > bounds.headers_bytes_max:
                return Failure(Kind.HEADERS_TOO_LARGE, "The request's headers are too large.")
        return None

    def _ambiguous(self, headers: Headers) -> Failure | None:
        """Why a request for ASGI could be read in two ways. A call's head is read as strictly by its cycle."""
        version = self.parser.get_http_version()
        if version == "1.0" and not any(name == b"host" for name, _ in headers):
            headers = [*headers, (b"host", b"")]  # Which HTTP/1.0 does not demand; some health checks send none.
        try:
            head = self.door.reader.read(headers)
        except BadHead as error:
            return Failure(Kind.BAD_HTTP, str(error))
        if version != "1.1" and (version != "1.0" or head.chunked):
            return Failure(Kind.BAD_HTTP, "The request is not valid HTTP/1.1.")
        if self.parser.should_upgrade() and (head.chunked or (head.content_length or b"0") != b"0"):
            return Failure(Kind.BAD_HTTP, "Upgrade is not offered here.")  # The parser would lose the body.
        return None

    def _take_call(self, route: Route, headers: Headers, failure: Failure | None) -> None:
        version = self.parser.get_http_version()
        try:
            request = self.door.reader.read(headers)
        except BadHead as error:
            request = RequestHead(forwarded=b"")
            failure = failure or Failure(Kind.BAD_HTTP, str(error))
        cycle = EdgeCycle(self, route, self.url, request, failure, http10=version == "1.0")
        if route.form is Form.MULTIPART:
            cycle.expect_form(headers)
        if not self.parser.should_keep_alive():
            cycle.keep_alive = False
        if failure is not None:
            pass
        elif self.parser.should_upgrade():
            cycle.body_failure = Failure(Kind.BAD_HTTP, "Upgrade is not offered here.")
        elif version != "1.1" and (version != "1.0" or cycle.is_chunked):
            cycle.body_failure = Failure(Kind.BAD_HTTP, "The request is not valid HTTP/1.1.")
        before = self.cycle
        self._reading = cycle
        self.cycle = cycle
        if (before is None or before.response_complete) and not self.flow.write_paused:
            self._start(cycle)
        else:
            # Also while the client has yet to take the answers before: what it does not read must not pile up here.
            self.pipeline.appendleft((cycle, self.app))  # type: ignore[arg-type]  # see _start_asgi_task
            if len(self.pipeline) >= PIPELINE_MAX:
                self.flow.pause_reading()

    def _hand_to_asgi(self, headers: Headers) -> None:
        url, expect = self.url, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()
        self._asgi_heard_at = self.door.now()
        if self.door.lame_duck and self.cycle is not None:
            self.cycle.keep_alive = False
        if self.pipeline and len(self.pipeline) < PIPELINE_MAX:
            self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        cycle = self._reading
        if cycle is None:
            if not self._poisoned:
                self._asgi_heard_at = self.door.now()
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
            if not self._poisoned:
                self._asgi_heard_at = None
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
        self._rests_since = None
        if isinstance(cycle, EdgeCycle):
            try:
                self._start(cycle)
            except Exception:
                log.exception("call failed in the edge")
                self.transport.abort()
        else:
            self._answering = cycle
            super()._start_asgi_task(cycle, app)

    def _start(self, cycle: EdgeCycle) -> None:
        self._rests_since = None
        self._answering = cycle
        cycle.start()

    def _next_turn(self) -> None:
        queued, app = self.pipeline.pop()
        cycle = cast("RequestResponseCycle | EdgeCycle", queued)
        self._answering = cycle
        # Not from here: a thousand queued requests that are refused at once would nest as deep.
        self.loop.call_soon(self._start_asgi_task, cycle, app)

    def continue_if_expected(self) -> None:
        """The client waits for a word before it sends its body."""
        if self.expect_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def breathe(self) -> None:
        """Read no more of this client in this turn of the loop."""
        self.flow.pause_reading()
        self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if len(self.pipeline) < PIPELINE_MAX and not self.transport.is_closing():
            self.flow.resume_reading()

    def answered(self, cycle: EdgeCycle) -> None:
        """The answer is out: the connection goes on, or ends."""
        if cycle.keep_alive:
            self.on_response_complete()
        elif cycle.more_body:
            self._linger()
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """An answer is out. The next request in the pipeline has its turn, or the connection rests or ends."""
        self.server_state.total_requests += 1
        self._answering = None
        if self.transport.is_closing():
            return
        if self.pipeline:
            if not self.flow.write_paused:
                self._next_turn()
        elif self._poisoned:
            self.transport.close()
        else:
            self._rests_since = self.door.now()  # Seen by check_time: cheaper than a timer for every answer.
        if len(self.pipeline) < PIPELINE_MAX:
            self.flow.resume_reading()

    def check_time(self, now: float) -> None:
        """A client that sends or takes too slowly, or does nothing for too long. Called by the app's sweep."""
        timeouts = self.door.settings.timeouts
        if self.transport.is_closing() or (self.pipeline and self._answering is None):
            self._check_flush(now)
            return
        if self._rests_since is not None and now - self._rests_since > timeouts.keep_alive_s:
            self.transport.close()
            return
        limit_s = timeouts.body_s
        if self._poisoned:
            return
        if self._head_began_at is not None:
            if now - self._head_began_at > limit_s:
                if self._read_bytes:
                    self._refuse_and_close(Failure(Kind.REQUEST_TIMEOUT, "The request did not arrive in time."))
                else:
                    self.transport.close()  # It has never said a word.
        elif isinstance(self.cycle, EdgeCycle):
            self.cycle.check_time(now)
        elif self._asgi_heard_at is None or now - self._asgi_heard_at <= limit_s:
            return
        elif self.cycle is not None and self.cycle.response_complete:
            self.transport.close()
        else:
            self._refuse_and_close(Failure(Kind.REQUEST_TIMEOUT, "The request body did not arrive in time."))

    def _check_flush(self, now: float) -> None:
        """All that is left is for the client to take its answer, and one that takes nothing would stay for ever."""
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent[0]:
            self._unsent = (unsent, now)
        elif unsent and now - self._unsent[1] > self.door.settings.timeouts.idle_s:
            self.transport.abort()

    def shutdown(self) -> None:
        """The server ends: idle connections close, the others after their answer."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def _linger(self) -> None:
        """The answer is out but the client still sends: say that it was all, and read on for a while."""
        self._lingering = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _refuse_and_close(self, failure: Failure) -> None:
        """What comes in cannot be read on: an error for it, in its turn. Answers under way are not disturbed."""
        self._poisoned = True
        if self._lingering or self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            waits = bool(self.pipeline) and self.pipeline[0][0] is cycle
            if isinstance(cycle, EdgeCycle) and cycle.more_body:
                cycle.fail(failure)
                return
            if waits and cycle.more_body:
                self.pipeline.popleft()  # ASGI would wait for ever for the rest of it.
                return
            if isinstance(cycle, EdgeCycle) or waits or cycle.response_started or not cycle.more_body:
                cycle.keep_alive = False
                return
            cycle.disconnected = True  # ASGI's: what it may still say is not sent.
            cycle.waiting_for_100_continue = False
            cycle.message_event.set()
        # An answer to HEAD has no body; none is right for any other method as well, and which it was may not be sure.
        body = b"" if self.parser.get_method() == b"HEAD" else error_body(failure)
        self.transport.write(
            b"%scontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (STATUS_LINES[failure.row.status], len(body), body)
        )
        self._linger()
