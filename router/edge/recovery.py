"""A stream that can be gone on with when it breaks: what is kept for that, and what is done then.

The rest is asked of another cluster, after the tokens that were delivered have been counted
there where their number matters; or the stream gets its honest end, and a word why.
"""

from typing import Protocol

from federation.outcome import OutcomeKind
from federation.view import Placed
from router.call import Call
from router.edge.attempt import AttemptOwner
from router.edge.course import Course
from router.edge.door import FrontDoor
from router.edge.keeping import Keeping, keeping_of
from router.edge.refusals import broken_off
from router.edge.reply import Reply
from router.edge.resumption import Resumption, TokenCount, resumption_after
from router.errors import Failure
from router.pieces import Body


class Carrier(Protocol):
    """The exchange, as its recovery sees it."""

    @property
    def door(self) -> FrontDoor: ...

    def send(
        self, placed: Placed, path: str, body: Body, owner: AttemptOwner | None = None, wait_s: float = 0.0
    ) -> None:
        """Make a request to a cluster, after `wait_s`. `owner` takes the answer; None: the exchange."""
        ...

    def go_on(self, call: Call) -> None:
        """Place the call, as it is now, with another cluster."""
        ...

    def attempt_failed(self, kind: OutcomeKind) -> None: ...

    def served_with(self, end: bytes) -> None:
        """Nothing is missing but these events: the answer is complete."""
        ...

    def fail(self, failure: Failure) -> None: ...


class Recovery:
    """See the module's docstring. One for each stream of which something is kept."""

    __slots__ = ("_carrier", "_course", "_keeping", "_placed", "_reply", "broke_at", "rest")

    def __init__(self, carrier: Carrier, course: Course, reply: Reply, keeping: Keeping) -> None:
        self.rest: Resumption | None = None  # From the first break on.
        self.broke_at = 0.0
        self._carrier = carrier
        self._course = course
        self._reply = reply
        self._keeping = keeping
        self._placed: Placed | None = None

    def pack(self) -> None:
        """So much was sent that it is worth packing."""
        self._keeping.pack()

    def let_go(self) -> None:
        """The stream is over."""
        self._keeping.let_go()

    def broke(self, call: Call, placed: Placed, how: str) -> None:
        """The stream from `placed` broke, or was given up."""
        door = self._carrier.door
        rest = resumption_after(call, self._keeping, self._reply.kept, placed, self._course.attempts)
        if not isinstance(rest, Resumption):
            self.give_up(rest, how)
            return
        self.rest = rest
        self.broke_at = door.now()
        if (end := rest.lacks_only) is not None:
            self._complete(end)
        elif not door.resumes.take(self.broke_at):
            self.give_up("budget", how)
        else:
            self._course.go_on()
            self._carrier.go_on(rest.narrowed(call))

    def ask(self, placed: Placed) -> None:
        """Ask a cluster for the rest when its turn to take one in has come."""
        door = self._carrier.door
        self._placed = placed
        self._ask(placed, door.pace.wait_s(placed.pool.cluster, door.now()))

    def _ask(self, placed: Placed, wait_s: float = 0.0) -> None:
        rest = self.rest
        assert rest is not None, "nothing broke"
        path, body = rest.request(placed.pool.features)
        if rest.wants_count:
            self._carrier.send(placed, path, body, TokenCount(self._counted, self._carrier.attempt_failed), wait_s)
        else:
            self._reply.join(rest.stitcher())
            self._carrier.send(placed, path, body, None, wait_s)

    def _counted(self, tokens: int) -> None:
        """The cluster told how many tokens were delivered: now the rest, from the same one."""
        rest, placed = self.rest, self._placed
        assert rest is not None, "nothing broke"
        assert placed is not None, "nobody was asked"
        rest.tokens = tokens
        if (event := rest.end_by_limit()) is not None:
            self._reply.say(event)
            if (end := rest.lacks_only) is not None:
                self._complete(end)
                return
        self._ask(placed)

    def goes_on(self) -> None:
        """The first of the rest has come."""
        door = self._carrier.door
        door.metrics.resumed("resumed", door.now() - self.broke_at)

    def _complete(self, end: bytes) -> None:
        self._carrier.door.metrics.resumed("complete")
        self._carrier.served_with(end)

    def give_up(self, reason: str, how: str = "broke off") -> None:
        """Nobody goes on with it; `reason` is a metric label."""
        give_up(self._carrier, reason, how)


def give_up(carrier: Carrier, reason: str, how: str) -> None:
    """The honest end of a stream that broke."""
    metrics = carrier.door.metrics
    metrics.resumed(reason)
    metrics.broken_streams.inc()
    carrier.fail(broken_off(how))


def recovery_of(
    carrier: Carrier, course: Course, reply: Reply, call: Call, path: str, placed: Placed, body: Body
) -> Recovery | None:
    """For a stream that begins; None if it could not be gone on with anyway."""
    keeping = keeping_of(carrier.door, reply, call, path, placed, body)
    return None if keeping is None else Recovery(carrier, course, reply, keeping)
