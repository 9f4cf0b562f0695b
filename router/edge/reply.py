"""The answer as the client gets it: held until there is something to send, in whole events, honest about its end.

Until `start` nothing has gone out and everything can be forgotten: another cluster may still
answer. From then on nothing can be taken back.
"""

from typing import Protocol

from router.dialect import Dialect, told, told_headers, told_in_stream
from router.edge.answers import header
from router.edge.events import EventSplitter
from router.edge.heads import Headers, downstream_headers
from router.errors import Failure

HELD_BYTES_MAX = 256 * 1024  # A longer answer that is no stream goes out before it is complete.


class Downstream(Protocol):
    """The client's side of an exchange: the edge's own protocol, or an ASGI response."""

    def send_head(self, status: int, headers: Headers, length: int | None) -> None:
        """Once. `length` is the body's, None if it is not known yet."""
        ...

    def send_body(self, chunk: bytes) -> None: ...

    def finish(self) -> None:
        """The answer is complete."""
        ...

    def abort(self) -> None:
        """The answer cannot be completed: the client must see a broken connection."""
        ...


class Reply:
    """See the module's docstring."""

    __slots__ = (
        "_dialect",
        "_downstream",
        "_headers",
        "_held",
        "_held_bytes",
        "_request_id",
        "_splitter",
        "started",
        "status",
    )

    def __init__(self, downstream: Downstream, dialect: Dialect, request_id: str) -> None:
        self.started = False
        self.status = 0
        self._dialect = dialect
        self._downstream = downstream
        self._request_id = request_id
        self._headers: Headers = []
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._splitter: EventSplitter | None = None

    @property
    def events(self) -> int:
        """Complete events passed on so far; 0 for an answer that is no stream."""
        return 0 if self._splitter is None else self._splitter.events

    @property
    def held(self) -> bytes:
        """What has come and not gone out yet."""
        return b"".join(self._held)

    def hold(self, status: int, headers: Headers) -> None:
        """The head of a cluster's answer: kept until `start`."""
        self.status = status
        self._headers = headers
        content_type = header(headers, b"content-type")
        if content_type is not None and content_type[:17].lower() == b"text/event-stream":
            self._splitter = EventSplitter()

    def forget(self) -> None:
        """The attempt that began this answer failed: as if nothing had come."""
        self._held.clear()
        self._held_bytes = 0
        self._splitter = None

    def take(self, chunk: bytes) -> bool:
        """Bytes of the body. True: there is enough to start with."""
        splitter = self._splitter
        if splitter is not None:
            chunk = splitter.feed(chunk)
            if not chunk:
                return False
        if self.started:
            self._downstream.send_body(chunk)
            return False
        self._held.append(chunk)
        self._held_bytes += len(chunk)
        if splitter is not None and b"data" in chunk:
            return True  # A comment that only keeps a connection awake begins nothing.
        return self._held_bytes > HELD_BYTES_MAX

    def start(self, ours: Headers, *, complete: bool) -> None:
        """The head goes out with our headers, and with it what was held. `complete`: that is the whole body."""
        self.started = True
        headers = downstream_headers(self._headers)
        length: int | None = None
        if self._splitter is not None:
            headers.append((b"x-accel-buffering", b"no"))
            if header(headers, b"cache-control") is None:
                headers.append((b"cache-control", b"no-cache, no-transform"))
        elif not complete:
            declared = header(self._headers, b"content-length")
            length = int(declared) if declared is not None and declared.isdigit() else None
        if complete:
            self._take_rest()
            length = self._held_bytes
        self._downstream.send_head(self.status, headers + ours, length)
        self._send_held()

    def finish(self) -> None:
        """The cluster's answer is complete."""
        self._take_rest()
        self._send_held()
        self._downstream.finish()

    def break_off(self, failure: Failure) -> None:
        """It broke after the start: a stream ends with an error event, anything else with a broken connection."""
        splitter = self._splitter
        if splitter is None:
            self._downstream.abort()
            return
        event = told_in_stream(failure, self._dialect, self._request_id, splitter.events)
        self._downstream.send_body(b"\n\n" + event if splitter.torn else event)
        self._downstream.finish()

    def refuse(self, failure: Failure, ours: Headers) -> None:
        """An error of our own instead of an answer."""
        assert not self.started, "the head is out"
        self.started = True
        body = told(failure, self._dialect, self._request_id)
        headers = told_headers(failure, self._dialect, self._request_id) + ours
        self._downstream.send_head(failure.row.status, headers, len(body))
        self._downstream.send_body(body)
        self._downstream.finish()

    def _take_rest(self) -> None:
        if self._splitter is not None and (rest := self._splitter.rest()):
            self._held.append(rest)
            self._held_bytes += len(rest)

    def _send_held(self) -> None:
        held, self._held = self._held, []
        for chunk in held:
            self._downstream.send_body(chunk)
