"""Server-sent events in a stream of bytes: where the last complete one ends. Pure."""

_BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")  # In the three line endings that SSE allows.
EVENT_BYTES_MAX = 1024 * 1024  # An event that never ends is passed on as it is beyond this.


class EventSplitter:
    """Cuts a stream at event boundaries, so that a client never holds half an event of a stream that broke."""

    __slots__ = ("events", "tail")

    def __init__(self) -> None:
        self.tail = b""
        self.events = 0  # Complete events passed on so far.

    def feed(self, chunk: bytes) -> bytes:
        """The complete events up to and including this chunk; the rest is kept for the next one."""
        if not self.tail and chunk.endswith(b"\n\n"):
            self.events += chunk.count(b"\n\n")
            return chunk
        buffered = self.tail + chunk if self.tail else chunk
        end = last_boundary(buffered)
        if end == 0:
            if len(buffered) > EVENT_BYTES_MAX:
                self.tail = b""
                return buffered
            self.tail = buffered
            return b""
        self.tail = buffered[end:]
        complete = buffered[:end]
        self.events += sum(complete.count(blank) for blank in _BLANK_LINES)
        return complete

    def rest(self) -> bytes:
        """What is left at a proper end of the stream."""
        tail, self.tail = self.tail, b""
        return tail


def last_boundary(buffered: bytes) -> int:
    """The index behind the last blank line, in any of the three line endings SSE allows; 0 if there is none."""
    end = 0
    for blank in _BLANK_LINES:
        at = buffered.rfind(blank)
        if at >= 0:
            end = max(end, at + len(blank))
    return end
