"""The answer as the client gets it: held until there is something to send, in whole events, honest about its end.

Until `start` nothing of an attempt has gone out and it can be forgotten: another cluster may
still answer. A slow model's stream may be `opened` early, with a head and comments that bind
us to nothing. A stream that broke is forgotten from its last whole event on, and `joined` by
another whose events are rewritten to go on where it ended.
"""

from typing import Protocol

from router.dialect import Dialect, told, told_headers, told_in_stream
from router.edge.answers import header, is_event_stream
from router.edge.events import EventSplitter
from router.edge.heads import Headers, downstream_headers, lines_of
from router.errors import Failure
from router.resume.delivered import DONE, in_mid_text
from router.resume.kept import Kept
from router.resume.stitch import Stitcher

HELD_BYTES_MAX = 256 * 1024  # A longer answer that is no stream goes out before it is complete.
COMMENT = b": waiting\n\n"
_STREAM_HEADERS = [(b"x-accel-buffering", b"no"), (b"cache-control", b"no-cache, no-transform")]
_OPENING = lines_of([(b"content-type", b"text/event-stream; charset=utf-8"), *_STREAM_HEADERS])


class Downstream(Protocol):
    """The client's side of an exchange: the edge's own protocol, or an ASGI response."""

    def forget_request(self) -> None:
        """The request's body is needed no more."""
        ...

    def send_head(self, status: int, lines: bytes, length: int | None) -> None:
        """Once. `lines`: the headers, as they stand in a head; `length` is the body's, None if it is not known yet."""
        ...

    def send_body(self, chunk: bytes) -> None: ...

    def send_whole(self, status: int, lines: bytes, body: bytes) -> None:
        """Head, body and end in one."""
        ...

    def finish(self) -> None:
        """The answer is complete."""
        ...

    def abort(self) -> None:
        """The answer cannot be completed: the client must see a broken connection."""
        ...


class _Nobody:
    """Stands in the client's place once the answer is over, so that no reference keeps the two of them alive."""

    def forget_request(self) -> None:
        pass

    def send_head(self, status: int, lines: bytes, length: int | None) -> None:
        pass

    def send_whole(self, status: int, lines: bytes, body: bytes) -> None:
        pass

    def send_body(self, chunk: bytes) -> None:
        pass

    def finish(self) -> None:
        pass

    abort = finish


_NOBODY = _Nobody()


class Reply:
    """See the module's docstring."""

    __slots__ = (
        "_dialect",
        "_downstream",
        "_events_before",
        "_flows",
        "_headers",
        "_held",
        "_held_bytes",
        "_request_id",
        "_splitter",
        "_stitcher",
        "_torn",
        "kept",
        "last",
        "started",
        "status",
        "streams",
    )

    def __init__(self, downstream: Downstream, dialect: Dialect, request_id: bytes) -> None:
        self.started = False  # The head is out.
        self.streams = False  # What is out is the head of a stream.
        self.status = 0
        self.kept: Kept | None = None  # What went out, while the stream may be gone on with.
        self.last = b""  # The latest events that went out.
        self._dialect = dialect
        self._downstream: Downstream = downstream
        self._request_id = request_id
        self._flows = False  # What comes goes straight out.
        self._headers: Headers = []
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._splitter: EventSplitter | None = None
        self._stitcher: Stitcher | None = None
        self._events_before = 0
        self._torn = False

    @property
    def events(self) -> int:
        """Complete events passed on so far; 0 for an answer that is no stream."""
        return self._events_before + (0 if self._splitter is None else self._splitter.events)

    @property
    def is_event_stream(self) -> bool:
        """Whether the answer that is coming in is a stream of events."""
        return self._splitter is not None

    @property
    def lacks_end(self) -> bool:
        """Whether the latest event of a stream is in the middle of a text."""
        splitter = self._splitter
        return splitter is not None and DONE not in splitter.tail and in_mid_text(self.last)

    @property
    def held(self) -> bytes:
        """What has come and not gone out yet."""
        return b"".join(self._held)

    # What comes in.

    def hold(self, status: int, headers: Headers) -> None:
        """The head of a cluster's answer: kept until `start`."""
        self.status = status
        self._headers = headers
        if is_event_stream(headers):
            self._splitter = EventSplitter()

    def join(self, stitcher: Stitcher) -> None:
        """The answer that comes goes on with the stream that broke."""
        self._stitcher = stitcher

    def forget(self) -> None:
        """The attempt failed: as if what has not gone out had never come."""
        self._held.clear()
        self._held_bytes = 0
        self._flows = False
        self._stitcher = None
        if self._splitter is not None:
            self._events_before += self._splitter.events
            self._torn = self._torn or (self._splitter.torn and self.started)
            self._splitter = None

    def take(self, chunk: bytes) -> bool:
        """Bytes of the body. True: there is enough to start with or, once started, to pack what is kept."""
        splitter = self._splitter
        if splitter is not None:
            chunk = splitter.feed(chunk)
            if self._stitcher is not None and chunk:
                chunk = self._stitcher.events(chunk)
            if not chunk:
                return False
        if self._flows:
            self._downstream.send_body(chunk)
            self.last = chunk
            kept = self.kept
            return kept is not None and kept.add(chunk)
        self._held.append(chunk)
        self._held_bytes += len(chunk)
        if splitter is not None and b"data" in chunk:
            return True  # A comment that only keeps a connection awake begins nothing.
        return self._held_bytes > HELD_BYTES_MAX

    # What goes out.

    def open(self, ours: bytes) -> None:
        """The head of a stream goes out before any cluster has answered; only whoever waits for it is told."""
        self.started = True
        self.streams = True
        self._downstream.send_head(200, _OPENING + ours, None)
        self._downstream.send_body(COMMENT)

    def comment(self) -> None:
        """Tell the client, and every hop on the way to it, that the stream lives."""
        if self.last.endswith(b"\r"):
            return  # What comes next may be the other half of this line end.
        if self.streams and not (self._torn or (self._splitter is not None and self._splitter.torn)):
            self._downstream.send_body(COMMENT)

    def whole(self, lines: bytes, body: bytes) -> None:
        """A whole answer, with the lines of its head and ours."""
        self.started = True
        downstream, self._downstream = self._downstream, _NOBODY
        downstream.send_whole(200, lines, body)

    def start(self, ours: bytes, *, complete: bool) -> None:
        """What was held goes out, behind the head with our headers. `complete`: that is the whole body."""
        self._flows = True
        self._downstream.forget_request()
        if complete:
            self._take_rest()
        if not self.started:
            self.started = True
            self.streams = self._splitter is not None
            self._send_head(ours, complete=complete)
        self._send_held()

    def _send_head(self, ours: bytes, *, complete: bool) -> None:
        headers = downstream_headers(self._headers)
        length: int | None = None
        if self.streams:
            named = {name for name, _ in headers}
            headers += [line for line in _STREAM_HEADERS if line[0] not in named]
        elif not complete:
            declared = header(self._headers, b"content-length")
            length = int(declared) if declared is not None and declared.isdigit() else None
        if complete:
            length = self._held_bytes
        self._downstream.send_head(self.status, lines_of(headers) + ours, length)

    def say(self, events: bytes) -> None:
        """Events of our own, in the stream that is out."""
        self._downstream.send_body(events)
        if self.kept is not None:
            self.kept.add(events)

    def finish(self) -> None:
        """The cluster's answer is complete."""
        self._take_rest()
        self._send_held()
        self._end()

    def _end(self) -> None:
        downstream, self._downstream = self._downstream, _NOBODY
        downstream.finish()

    def let_go(self) -> None:
        """The client is gone."""
        self._downstream = _NOBODY

    def break_off(self, failure: Failure) -> None:
        """It broke after the head: a stream ends with an error event, anything else with a broken connection."""
        if not self.streams:
            downstream, self._downstream = self._downstream, _NOBODY
            downstream.abort()
            return
        torn = self._torn or (self._splitter is not None and self._splitter.torn)
        event = told_in_stream(failure, self._dialect, self._request_id, self.events)
        self._downstream.send_body(b"\n\n" + event if torn else event)
        self._end()

    def refuse(self, failure: Failure, ours: bytes) -> None:
        """An error of our own instead of an answer."""
        assert not self.started, "the head is out"
        self.started = True
        body = told(failure, self._dialect, self._request_id)
        lines = lines_of(told_headers(failure, self._dialect, self._request_id)) + ours
        downstream, self._downstream = self._downstream, _NOBODY
        downstream.send_whole(failure.row.status, lines, body)

    def _take_rest(self) -> None:
        if self._splitter is None or not (rest := self._splitter.rest()):
            return
        if self._stitcher is not None:
            rest = self._stitcher.events(rest)
        if rest:
            self._held.append(rest)
            self._held_bytes += len(rest)

    def _send_held(self) -> None:
        held, self._held = self._held, []
        for chunk in held:
            self._downstream.send_body(chunk)
            self.last = chunk
            if self.kept is not None:
                self.kept.add(chunk)
