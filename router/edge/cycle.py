"""One request and its answer on a client's connection: what stands in the place of uvicorn's own cycle.

Gathers the body within its bounds, starts the exchange, and frames what the exchange sends.
The head waits for the first bytes of the body, so that both leave in one write.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING

from router.body import BadBody
from router.edge.exchange import Exchange, State
from router.edge.heads import Headers, is_request_id, lines_of
from router.edge.intake import BYTES_PER_S_MIN, TURN_BYTES, bad_form, begin_form
from router.edge.request_head import RequestHead
from router.edge.upload import let_go
from router.errors import Failure, Kind
from router.form import FormBody
from router.paths import Form, Route
from router.pieces import Pieces

if TYPE_CHECKING:
    from router.edge.protocol import EdgeProtocol

STATUS_LINES = {
    status: b"HTTP/1.1 %d %s\r\n"
    % (status, (HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "").encode())
    for status in range(200, 600)
}

_MULTIPART = Form.MULTIPART  # Looking a member up costs more than the comparison.
PIECES_MAX = 512  # Of a body, kept apart: a piece of two bytes takes thirty to keep.


class _Nobody:
    """uvicorn wakes whoever waits for a message; nobody waits for ours."""

    __slots__ = ()

    def set(self) -> None:
        pass


_NOBODY = _Nobody()


class EdgeCycle:
    """See the module's docstring. The public attributes are those that uvicorn's protocol looks at."""

    __slots__ = (
        "_body",
        "_buffered",
        "_chunked",
        "_form",
        "_head",
        "_http10",
        "_pieces",
        "_protocol",
        "_request",
        "_started",
        "_taken",
        "began_at",
        "body",
        "body_failure",
        "disconnected",
        "door",
        "exchange",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
        "response_started",
        "route",
        "target",
    )

    def __init__(
        self,
        protocol: "EdgeProtocol",
        route: Route,
        target: bytes,
        request: RequestHead,
        failure: Failure | None = None,
        *,
        http10: bool = False,
    ) -> None:
        door = protocol.door
        self.door = door
        self.route = route
        self.target = target  # Path and query, as the client wrote them.
        self.response_complete = False
        self.response_started = False
        self.keep_alive = not http10
        self.disconnected = False
        self.more_body = True
        self.message_event = _NOBODY
        self.body = b""
        self.began_at = door.now()
        self._protocol = protocol
        self._body: list[bytes] = []
        self._pieces: list[bytes] = []  # The latest of the body: small ones are joined now and then.
        self._buffered = 0
        self._started = False
        self._chunked = False
        self._head = b""
        self._http10 = http10
        self._form: FormBody | None = None
        self._taken: Pieces | None = None  # Of a form: kept here too, so that it is let go slowly.
        self._request = request
        given = request.request_id
        request_id = given if given is not None and is_request_id(given) else door.request_id()
        self.exchange = Exchange(door, self, request, request_id, route)
        if failure is None:
            failure = door.unreadable(request) if request.content_encoding is not None else None
            failure = failure or door.no_place_for(int(request.content_length or 0), route.form)
        self.body_failure = failure

    @property
    def is_chunked(self) -> bool:
        """Whether the request's body says by itself where it ends."""
        return self._request.chunked

    # The request.

    def expect_form(self, headers: Headers) -> None:
        """The body is a form, which is read as it comes in."""
        if self.body_failure is not None:
            return
        form = begin_form(self.door, self._request, headers)
        if isinstance(form, Failure):
            self.body_failure = form
        else:
            self._form = form
            self._taken = form.pieces

    def start(self) -> None:
        """Its turn on the connection has come."""
        self._started = True
        self.began_at = self.door.now()
        if self.body_failure is not None:
            self._refuse(self.body_failure)
        elif not self.more_body:
            self._begin()
        else:
            self._protocol.continue_if_expected()

    def start_whole(self, body: bytes) -> None:
        """Its turn has come, and all of it is here."""
        self._started = True
        self.more_body = False
        if self.body_failure is not None:
            self._refuse(self.body_failure)
            return
        self._buffered = len(body)
        self.door.buffered_bytes += len(body)
        self.exchange.begin(self.target, body, self._protocol.peer_is_trusted)

    def take(self, chunk: bytes) -> None:
        """Bytes of the body."""
        if self.response_complete or self.body_failure is not None:
            return
        door = self.door
        self._buffered += len(chunk)
        door.buffered_bytes += len(chunk)
        form = self.route.form
        if self._buffered > door.bytes_max(form) or door.buffered_bytes > door.settings.edge.buffered_bytes_max:
            self.fail(door.too_large(self._buffered, form))
            return
        if self._form is not None:
            self._take_form(self._form, chunk)
            return
        self._pieces.append(chunk)
        if len(self._pieces) == PIECES_MAX:
            self._body.append(b"".join(self._pieces))
            self._pieces.clear()

    def _take_form(self, form: FormBody, chunk: bytes) -> None:
        try:
            form.take(chunk)
        except BadBody as error:
            self.fail(bad_form(error))
            return
        if self._buffered // TURN_BYTES != (self._buffered - len(chunk)) // TURN_BYTES:
            self._protocol.breathe()

    def fail(self, failure: Failure) -> None:
        """The rest of the body is not wanted: say why, at once or when the turn of this request comes."""
        if self.response_complete or self.body_failure is not None:
            return
        self.body_failure = failure
        self.forget_request()
        if self._started:
            self._refuse(failure)

    def body_complete(self) -> None:
        """The whole request is here."""
        self.more_body = False
        if self._started and not self.response_complete and self.body_failure is None:
            self._begin()

    def _begin(self) -> None:
        if self._form is not None:
            self._begin_with(self._form)
            return
        chunks = [*self._body, *self._pieces] if self._body else self._pieces
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._body = []
        self._pieces = []
        self.exchange.begin(self.target, body, self._protocol.peer_is_trusted)

    def _begin_with(self, form: FormBody) -> None:
        self._form = None
        try:
            fields = form.finish()
        except BadBody as error:
            self.exchange.fail(bad_form(error))
            return
        self.exchange.begin(self.target, form.pieces, self._protocol.peer_is_trusted, fields)

    def _refuse(self, failure: Failure) -> None:
        """Answer before the body is complete; the rest of it is read and thrown away, and nothing after it taken."""
        self.keep_alive = False
        self.exchange.fail(failure)

    def forget_request(self) -> None:
        """Its body is needed no more."""
        if self._buffered:
            self._body = []
            self._pieces = []
            self._form = None
            if self._taken is not None:
                let_go(self._taken)
                self._taken = None
            self.door.buffered_bytes -= self._buffered
            self._buffered = 0

    def check_time(self, now: float) -> None:
        """A client that sends its body too slowly."""
        limit_s = self.door.settings.timeouts.body_s
        if self._form is not None:
            limit_s += self._buffered / BYTES_PER_S_MIN
        if self._started and self.more_body and now - self.began_at > limit_s:
            self.fail(Failure(Kind.REQUEST_TIMEOUT, "The request body did not arrive in time."))

    def client_gone(self) -> None:
        """The connection is lost."""
        self.disconnected = True
        self.forget_request()
        if self.exchange.state is not State.DONE:
            self.exchange.client_gone()

    # Downstream: what the exchange sends.

    def send_head(self, status: int, lines: bytes, length: int | None) -> None:
        if length is not None:
            framing = b"content-length: %d\r\n" % length
        elif self._http10:
            self.keep_alive = False
            framing = b""
        else:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        self._head = self._head_of(status, lines, framing)

    def _head_of(self, status: int, lines: bytes, framing: bytes) -> bytes:
        door = self.door
        self.response_started = True
        if door.cors is not None:
            lines += lines_of(door.cors.answer(self._request.web_origin))
        if door.lame_duck:
            self.keep_alive = False
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        return b"".join((STATUS_LINES[status], lines, framing, end))

    def send_whole(self, status: int, lines: bytes, body: bytes) -> None:
        self.forget_request()
        head = self._head_of(status, lines, b"content-length: %d\r\n" % len(body))
        self.response_complete = True
        if not self.disconnected:
            self._protocol.transport.write(head + body)
            self._protocol.answered(self)

    def send_body(self, chunk: bytes) -> None:
        if self.disconnected or not chunk:
            return
        if self._chunked:
            chunk = b"%x\r\n%s\r\n" % (len(chunk), chunk)
        if self._head:
            chunk, self._head = self._head + chunk, b""
        self._protocol.transport.write(chunk)

    def finish(self) -> None:
        self.response_complete = True
        self.forget_request()
        if self.disconnected:
            return
        end = self._head + (b"0\r\n\r\n" if self._chunked else b"")
        self._head = b""
        if end:
            self._protocol.transport.write(end)
        self._protocol.answered(self)

    def abort(self) -> None:
        self.response_complete = True
        self.forget_request()
        if not self.disconnected:
            self._protocol.transport.abort()
