"""One call, from its body to its last byte: the state machine in the middle of the edge.

                     ┌────────────┐
    body complete ──►│  DECIDING  │──refused──────────────────────────────► DONE
                     └─────┬──────┘
                (WAITING, in the waiting room, will stand here)
                           │ candidates, best first
                     ┌─────▼──────┐   failed, and another may be tried
                     │ ATTEMPTING │◄─────────────────────────┬─────────────┐
                     └─────┬──────┘                          │             │
                           │ head of a good answer           │             │
                     ┌─────▼──────┐                          │             │
                     │  HOLDING   │──broke, nothing was sent─┘             │ resume: the rest
                     └─────┬──────┘   (HEDGING will race a second          │ from elsewhere
                           │           attempt up to here)                 │
                           │ first event, or the whole of a short answer   │
                     ┌─────▼──────┐                                        │
                     │  RELAYING  │──upstream broke────────────────────────┤
                     └─────┬──────┘                                        └─► error event ─► DONE
                           │ upstream complete
                           ▼
                          DONE

Until HOLDING ends the choice is free; from the first byte on nothing can be taken back, only
gone on with. A stream that waits long for its first event gets its head and comments before
that; the choice stays free, and what goes wrong is then told as an event. From every state:
the client leaves, a time runs out, and the upstream attempt is ended at once.

Nothing here waits: every method is called by a protocol or by the door's sweep and returns.
"""

from enum import IntEnum

import msgspec

from federation.outcome import NEVER_CONNECTED, OutcomeKind
from federation.view import Placed
from router.call import Call
from router.decision import Refuse
from router.dialect import RESPONSES
from router.edge.answers import is_event_stream, meaning, names_the_model, retry_after_s
from router.edge.attempt import Attempt, AttemptOwner
from router.edge.call_log import in_ms, line_of
from router.edge.course import Course
from router.edge.door import FrontDoor
from router.edge.heads import Headers, upstream_head
from router.edge.patience import Due, due_while_relaying, due_while_waiting
from router.edge.recovery import Recovery, give_up, recovery_of
from router.edge.refusals import no_candidate, nobody_answered, not_in_time, refused_by_cluster
from router.edge.reply import Downstream, Reply
from router.edge.request_head import RequestHead
from router.errors import Failure, Kind
from router.fields import Fields
from router.paths import Route
from router.pieces import Body
from router.resume.eligible import PATHS as RESUMABLE_PATHS

_NOT_TAKEN = NEVER_CONNECTED | {OutcomeKind.POOL_FULL}  # No cluster had the request in hand.


class State(IntEnum):
    DECIDING = 0
    ATTEMPTING = 1
    HOLDING = 2
    RELAYING = 3
    DONE = 4


# Looking a member of an enumeration up costs more than comparing it; these are met by every call.
DECIDING, ATTEMPTING, HOLDING, RELAYING, DONE = State
_SERVED, _PASSED_THROUGH, _BAD_ANSWER = OutcomeKind.SERVED, OutcomeKind.PASSED_THROUGH, OutcomeKind.BAD_ANSWER
_KEPT = frozenset({_SERVED, _PASSED_THROUGH, OutcomeKind.MODEL_MISSING})  # Answers whose body is worth seeing.


class Exchange:
    """See the module's docstring."""

    __slots__ = (
        "_attempt", "_body", "_course", "_first_byte_at", "_paused", "_placed", "_recovery", "_reply", "_request_head",
        "_resumed_at", "_route", "_said_at", "arrived_at", "call", "complete_at", "door", "heard_at", "request_id",
        "state",
    )  # fmt: skip

    def __init__(
        self, door: FrontDoor, downstream: Downstream, head: RequestHead, request_id: bytes, route: Route
    ) -> None:
        self.door = door
        self.state = DECIDING
        self.request_id = request_id
        self.call: Call | None = None
        self.arrived_at = self.heard_at = self.complete_at = self._said_at = door.now()
        self._resumed_at = 0.0  # When the client last caught up.
        self._paused = False
        self._route = route
        self._reply = Reply(downstream, route.dialect, request_id)
        self._request_head = head
        self._body: Body = b""
        self._course = Course(door)
        self._attempt: Attempt | None = None
        self._placed: Placed | None = None
        self._first_byte_at: float | None = None
        self._recovery: Recovery | None = None  # Of a stream that can be gone on with.

    # What the client's side tells us.

    def begin(self, target: bytes, body: Body, peer_is_trusted: bool, fields: Fields | None = None) -> None:
        """The request is complete. `target`: path and query as the client wrote them; `fields`: if already read."""
        door = self.door
        self.complete_at = door.now()
        admitted = door.admit(self._request_head, self._route, target, body, fields, self.request_id, peer_is_trusted)
        if isinstance(admitted, Failure):
            self.fail(admitted)
            return
        self.call = admitted
        self._body = body
        door.active.add(self)
        door.budget.deposit()
        if admitted.continues is not None:
            door.responses.find(admitted, door.feed.view, self._holder_found)
        else:
            self._place(admitted)

    def _holder_found(self, holder: str | Failure) -> None:
        """Which cluster keeps the response that the call goes on from: it goes there, or nowhere."""
        if self.state is DONE or self.call is None:
            return
        if isinstance(holder, Failure):
            self.fail(holder)
        else:
            self.call = msgspec.structs.replace(self.call, clusters=frozenset({holder}))
            self._place(self.call)

    def _place(self, admitted: Call) -> None:
        """Decide, and begin with the first candidate."""
        door = self.door
        began_at = door.now() if door.measures() else None
        decision = self._course.decide(admitted)
        decided_at = door.now() if began_at is not None else 0.0
        if isinstance(decision, Refuse):
            self.fail(no_candidate(admitted, decision, door.feed.view))
            return
        self._try(decision.order[0])
        if began_at is not None:
            door.metrics.decision.observe(decided_at - began_at)
            door.metrics.overhead.observe(door.now() - self.complete_at)

    def client_gone(self) -> None:
        """The client left: the upstream stops working for nobody, at once."""
        if self.state is DONE:
            return
        self._end_attempt(OutcomeKind.CANCELLED)
        self._done("cancelled")
        self._reply.let_go()

    def pause(self) -> None:
        """The client reads slowly: stop reading from the cluster."""
        self._paused = True
        if self.state is RELAYING:
            self._pause_attempt()

    def _pause_attempt(self) -> None:
        if self._attempt is not None and self._attempt.connection is not None:
            self._attempt.connection.pause()

    def resume(self) -> None:
        """The client has caught up."""
        self._paused = False
        self._resumed_at = self.door.now()
        if self._attempt is not None and self._attempt.connection is not None:
            self._attempt.connection.resume()

    # What the door's sweep tells us.

    @property
    def waits_at(self) -> str | None:
        """The cluster at which this call waits without having received a byte."""
        if self.state in (ATTEMPTING, HOLDING) and self._attempt is not None:
            return self._attempt.placed.pool.cluster
        return None

    @property
    def relays_from(self) -> str | None:
        """The cluster whose answer is coming in."""
        if self.state in (HOLDING, RELAYING) and self._attempt is not None:
            return self._attempt.placed.pool.cluster
        return None

    @property
    def can_resume(self) -> bool:
        """Whether its stream may be gone on with, should it break now."""
        return self.state is RELAYING and self._reply.kept is not None

    def abandon(self) -> None:
        """The cluster it waits at, or whose stream has fallen silent, is unreachable: go elsewhere."""
        if self.state is RELAYING:
            self._broke(OutcomeKind.ABANDONED)
            return
        self._end_attempt(OutcomeKind.ABANDONED)
        self._after_failure(OutcomeKind.ABANDONED)

    def check_time(self, now: float) -> None:
        """Do what is due. `now` is loop time."""
        what = self._due(now)
        if what is Due.NOTHING or self.call is None:
            return
        if what is Due.COMMENT:
            self._comment(now)
        elif what is Due.SILENT:
            self._broke(OutcomeKind.BROKEN, "fell silent")
        elif what is Due.TOO_LONG:
            self._end_attempt(OutcomeKind.CANCELLED if self._paused else OutcomeKind.BROKEN)  # Whoever was slow.
            self.fail(Failure(Kind.DEADLINE_EXCEEDED, "The answer took too long altogether."))
        elif what is Due.DEADLINE:
            self._end_attempt(OutcomeKind.CANCELLED)
            self.fail(not_in_time(self.call))
        else:
            self._end_attempt(OutcomeKind.FIRST_BYTE_TIMEOUT)
            self._after_failure(OutcomeKind.FIRST_BYTE_TIMEOUT)

    def _due(self, now: float) -> Due:
        call, bounds = self.call, self.door.settings.timeouts
        if self.state is DONE or call is None:
            return Due.NOTHING
        if self.state is RELAYING:
            return due_while_relaying(
                bounds,
                now,
                arrived_at=self.arrived_at,
                heard_at=max(self.heard_at, self._resumed_at),
                said_at=self._said_at,
                paused=self._paused,
            )
        waits_for_first = call.deadline_s is not None and self._first_byte_at is None
        return due_while_waiting(
            bounds,
            now,
            arrived_at=self.arrived_at,
            deadline_at=self.arrived_at + call.deadline_s if waits_for_first and call.deadline_s is not None else None,
            attempt_began_at=None if self._attempt is None else self._attempt.began_at,
            said_at=self._said_at if self._recovery is None else max(self._said_at, self._recovery.broke_at),
        )

    def _comment(self, now: float) -> None:
        """Tell whoever waits for a stream that it lives; with a head of ours if none is out yet."""
        self._said_at = now
        plain = self.state is HOLDING and not self._reply.is_event_stream  # What came so far is no stream.
        if self._reply.started:
            if not self._paused:
                self._reply.comment()
        elif self.call is not None and self.call.stream and not plain:
            self._reply.open(b"x-request-id: %s\r\n" % self.request_id)

    def cut(self) -> None:
        """The process ends and the grace period is over."""
        if self.state is not DONE:
            self._end_attempt(OutcomeKind.CANCELLED)
            self.fail(Failure(Kind.TOO_BUSY, "The front door is shutting down."))

    # Attempts.

    def _try(self, placed: Placed | None) -> None:
        """Send the call to a candidate; with none left, give up."""
        call, course, door = self.call, self._course, self.door
        assert call is not None
        while placed is not None and not course.begins(placed):
            placed = course.next(call)
        if placed is None:
            self._give_up()
            return
        self._placed = placed
        door.attempt_began(placed)
        recovery = self._recovery
        if recovery is None:
            self.send(placed, call.path, self._body)
        else:
            recovery.ask(placed)

    def send(
        self, placed: Placed, path: str, body: Body, owner: AttemptOwner | None = None, wait_s: float = 0.0
    ) -> None:
        """Make a request to a cluster, and send it after `wait_s`. `owner`: who takes the answer; the exchange."""
        door, call = self.door, self.call
        assert call is not None
        pool = door.pools[placed.pool.cluster]
        head = upstream_head(
            path.encode("latin-1"),
            pool.authority,
            self._request_head,
            self.request_id,
            call.origin.encode("latin-1", "replace"),
            len(body),
        )
        self.state = ATTEMPTING
        attempt = self._attempt = Attempt(owner or self, placed, pool, head, body, door.now())
        if wait_s > 0:
            door.later(wait_s, attempt.begin)
        else:
            attempt.begin()

    def _end_attempt(self, kind: OutcomeKind) -> None:
        """End the present attempt, if any, and report what came of it."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        attempt.end()
        self._report(attempt, kind)

    def _report(self, attempt: Attempt, kind: OutcomeKind, retry_after: float | None = None) -> None:
        assert self.call is not None
        self._course.last = kind
        ttft_s = None if self._first_byte_at is None else self._first_byte_at - attempt.began_at
        self.door.attempt_ended(attempt.placed, self.call, kind, retry_after, ttft_s)

    def attempt_head(self, status: int, headers: Headers) -> None:
        """The head of an answer."""
        attempt = self._attempt
        if attempt is None:
            return
        self._course.attempts.connected = True
        self.heard_at = self.door.now()
        kind = blame = meaning(status, headers)
        if kind in _KEPT:
            if not self._reply.started or self._fits_stream(kind, headers):
                self.state = HOLDING
                self._reply.hold(status, headers)
                return
            # To go on may be refused by a server that is well: that is held against nobody.
            kind = _BAD_ANSWER if kind is _SERVED else kind
            blame = kind if kind is _BAD_ANSWER else _PASSED_THROUGH
        retry_after = retry_after_s(headers)
        if retry_after is not None:
            self._course.retry_after_s = min(retry_after, self._course.retry_after_s or retry_after)
        self._attempt = None
        attempt.end()
        self._report(attempt, blame, retry_after)
        self._after_failure(kind)

    def _fits_stream(self, kind: OutcomeKind, headers: Headers) -> bool:
        """Whether an answer can stand behind the head of a stream that is out already."""
        if kind is _SERVED:
            return is_event_stream(headers)
        return self._recovery is None  # It becomes an event; about a request of our own making, nobody wants it.

    def attempt_whole(self, headers: Headers, lines: bytes, body: bytes) -> None:
        """A good answer that came in one piece, as most do."""
        attempt, placed, reply = self._attempt, self._placed, self._reply
        if attempt is None or placed is None:
            return
        if reply.started or self._route.dialect is RESPONSES or b"text/event-stream" in lines:
            self.attempt_head(200, headers)
            if self._attempt is attempt:
                self.attempt_data(body)
            if self._attempt is attempt:
                self.attempt_end()
            return
        self._first_byte_at = self.heard_at = self.door.now()
        self._attempt = None
        self._report(attempt, _SERVED)
        self._done("served")
        reply.whole(lines + self._marks(placed), body)

    def _marks(self, placed: Placed) -> bytes:
        course = self._course
        marks = self.door.marks(placed, course.reason, course.attempts.made)
        return b"x-request-id: %s\r\n%s" % (self.request_id, marks)

    def attempt_data(self, chunk: bytes) -> None:
        """Bytes of the body."""
        if self._attempt is None:
            return
        self.heard_at = self.door.now()
        if not self._reply.take(chunk):
            return
        if self.state is RELAYING:
            if self._recovery is not None:
                self._recovery.pack()
        elif self._reply.is_event_stream or not self._reply.started:
            self._commit(complete=False)
        else:
            self._end_attempt(_PASSED_THROUGH)  # No refusal needs to be that long.
            self.fail(refused_by_cluster(self._reply.held))

    def attempt_end(self) -> None:
        """The answer is complete."""
        attempt, reply = self._attempt, self._reply
        if attempt is None:
            return
        if self.state is RELAYING:
            if self._is_unfinished():
                self._broke(OutcomeKind.BROKEN)
                return
        elif reply.status == 404 and self._names_the_model():
            self._end_attempt(OutcomeKind.MODEL_MISSING)
            self._after_failure(OutcomeKind.MODEL_MISSING)
            return
        elif self._recovery is not None and reply.lacks_end:
            self._end_attempt(_BAD_ANSWER)  # It began to go on, and said nothing.
            self._after_failure(_BAD_ANSWER)
            return
        elif reply.started and not reply.is_event_stream:
            self._end_attempt(_PASSED_THROUGH)
            self.fail(refused_by_cluster(reply.held))
            return
        self._attempt = None
        if self.state is not RELAYING:
            self._commit(complete=True)
        passed = reply.status >= 400
        self._report(attempt, _PASSED_THROUGH if passed else _SERVED)
        self._done("passed_through" if passed else "served")
        reply.finish()

    def _is_unfinished(self) -> bool:
        """A stream that ends properly in the middle of its text: something between the server and us broke."""
        return self._route.path in RESUMABLE_PATHS and self._reply.lacks_end

    def _names_the_model(self) -> bool:
        """Whether a 404 is about the model, and not about what the call refers to."""
        return self.call is not None and self.call.continues is None and names_the_model(self._reply.held)

    def attempt_failed(self, kind: OutcomeKind) -> None:
        """The attempt broke, or never got a connection."""
        if self._attempt is None:
            return
        if self.state is RELAYING:
            self._broke(OutcomeKind.BROKEN)
            return
        self._end_attempt(kind)
        self._after_failure(kind)

    def _after_failure(self, kind: OutcomeKind) -> None:
        """An attempt failed before the first byte: another candidate, or the end."""
        course = self._course
        if kind not in _NOT_TAKEN:
            course.attempts.connected = True
        self._reply.forget()
        assert self.call is not None
        self._try(course.after_failure(self.call, kind))

    def _give_up(self) -> None:
        course = self._course
        assert self.call is not None
        if self._recovery is not None:
            self._recovery.give_up("failed" if course.attempts.made else "no_candidate")
        else:
            self.fail(nobody_answered(self.call, course.attempts, course.retry_after_s))

    # A stream that broke, and goes on elsewhere.

    def _broke(self, kind: OutcomeKind, how: str = "broke off") -> None:
        """The answer broke after its first byte: the rest from another cluster, or an honest end."""
        self._end_attempt(kind)
        self._reply.forget()
        if kind is not OutcomeKind.ABANDONED:
            self._course.attempts.broken_clusters += 1
        if self._recovery is None or self.call is None or self._placed is None:
            give_up(self, "not_kept", how)
        else:
            self._recovery.broke(self.call, self._placed, how)

    def go_on(self, call: Call) -> None:
        """The rest is to come from another cluster. `call`: as it is to be placed now."""
        self.state = ATTEMPTING
        self.call = call
        self._try(self._course.next(call))

    def served_with(self, end: bytes) -> None:
        """Nothing is missing but these events."""
        self._end_attempt(_SERVED)
        self._done("served")
        if end:
            self._reply.say(end)
        self._reply.finish()

    # The client's answer.

    def _commit(self, *, complete: bool) -> None:
        """The head goes out, and with it what was held. From here on nothing can be taken back."""
        placed, call, door, reply = self._placed, self.call, self.door, self._reply
        assert placed is not None, "only an attempt commits"
        assert call is not None
        self.state = RELAYING
        if self._attempt is not None:
            self._attempt.forget_request()
        if self._recovery is not None:
            self._recovery.goes_on()
        else:
            self._first_byte_at = door.now()
            if call.stream and not complete and reply.is_event_stream:
                self._recovery = recovery_of(self, self._course, reply, call, self._route.path, placed, self._body)
            self._body = b""  # Of no more use: no other attempt will be made with it.
        if self._route.dialect is RESPONSES and reply.status < 300:
            door.responses.learn(reply.held, placed.pool.cluster, call.tenant)
        reply.start(self._marks(placed), complete=complete)
        if self._paused:
            self._pause_attempt()

    def fail(self, failure: Failure) -> None:
        """The end, with an error: as an answer of its own or, behind a head that is out, as the stream's last event."""
        reply = self._reply
        if reply.started:
            self._done(failure.kind)
            reply.break_off(failure)
            return
        ours = b"x-request-id: %s\r\n" % self.request_id
        if self._course.attempts.made:
            ours += b"x-tradewind-attempts: %d\r\n" % self._course.attempts.made
        self.door.metrics.refused(failure.kind)
        self._done(failure.kind)
        reply.refuse(failure, ours)

    def _done(self, outcome: str) -> None:
        self.state = DONE
        self._body = b""
        if self._recovery is not None:
            self._recovery.let_go()
        self.door.leave(self)
        if self.call is not None:
            self.door.metrics.call_ended(
                region=self._placed.pool.region if self._placed is not None else "",
                reason=self._course.reason if self._placed is not None else "",
                outcome=outcome,
                ttft_s=None if self._first_byte_at is None else self._first_byte_at - self.arrived_at,
                event_interval_s=self._event_interval_s(),
            )
        if outcome in self.door.call_log.outcomes:
            now, first_at = self.door.now(), self._first_byte_at
            ttft_s = None if first_at is None else first_at - self.arrived_at
            line = line_of(self.request_id, self._route, self.call, self._course, self._placed)
            self.door.call_log.tell(outcome, now, line | in_ms(now - self.arrived_at, ttft_s))

    def _event_interval_s(self) -> float | None:
        """Mean time between the events of a stream, a stand-in for the time per output token."""
        events = self._reply.events
        if self._first_byte_at is None or events < 3:
            return None
        return (self.heard_at - self._first_byte_at) / (events - 1)
