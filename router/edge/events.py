"""Server-sent events in a stream of bytes: where the last complete one ends. Pure."""

_BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")  # In the three line endings that SSE allows.
LONGEST_BLANK = 4
EVENT_BYTES_MAX = 1024 * 1024  # An event that never ends is passed on as it is beyond this.


class EventSplitter:
    """Cuts a stream at event boundaries, so that a client never holds half an event of a stream that broke."""

    __slots__ = ("events", "tail", "torn")

    def __init__(self) -> None:
        self.tail = bytearray()
        self.torn = False  # An event beyond the bound was passed on in pieces.
        self.events = 0  # Complete events passed on so far.

    def feed(self, chunk: bytes) -> bytes:
        """The complete events up to and including this chunk; the rest is kept for the next one."""
        if not self.tail and chunk.endswith(b"\n\n"):
            self.events += chunk.count(b"\n\n")
            return chunk
        tail = self.tail
        searched = max(0, len(tail) - LONGEST_BLANK + 1)  # A boundary may be cut; what comes before holds none.
        tail += chunk
        end = last_boundary(tail, searched)
        if end == 0:
            if len(tail) <= EVENT_BYTES_MAX:
                return b""
            self.torn = True
            return self.rest()
        complete = bytes(tail[:end])
        del tail[:end]
        self.events += sum(complete.count(blank) for blank in _BLANK_LINES)
        return complete

    def rest(self) -> bytes:
        """What is left at a proper end of the stream."""
        tail, self.tail = bytes(self.tail), bytearray()
        return tail


def last_boundary(buffered: bytes | bytearray, start: int = 0) -> int:
    """The index behind the last blank line from `start` on, in any of the three line endings SSE allows; 0: none."""
    end = 0
    for blank in _BLANK_LINES:
        at = buffered.rfind(blank, start)
        if at >= 0:
            end = max(end, at + len(blank))
    return end
