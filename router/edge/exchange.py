"""One call, from its body to its last byte: the state machine in the middle of the edge.

                     ┌────────────┐
    body complete ──►│  DECIDING  │──refused──────────────────────────────► DONE
                     └─────┬──────┘
                (WAITING, in the waiting room, will stand here)
                           │ candidates, best first
                     ┌─────▼──────┐   failed, and another may be tried
                     │ ATTEMPTING │◄─────────────────────────┐
                     └─────┬──────┘                          │
                           │ head of a good answer           │
                     ┌─────▼──────┐                          │
                     │  HOLDING   │──broke, nothing was sent─┘
                     └─────┬──────┘   (HEDGING will race a second attempt up to here)
                           │ first event, or the whole of a short answer: head goes out
                     ┌─────▼──────┐
                     │  RELAYING  │──upstream broke──► error event ───────► DONE
                     └─────┬──────┘   (RESUMING will continue elsewhere from here)
                           │ upstream complete
                           ▼
                          DONE

Until HOLDING ends the choice is free; from the first byte on nothing can be taken back. From
every state: the client leaves, a time runs out, and the upstream attempt is ended at once.

Nothing here waits: every method is called by a protocol or by the door's sweep and returns.
"""

from enum import IntEnum

import msgspec

from federation.outcome import OutcomeKind
from federation.view import Placed
from router.admission import admit
from router.body import Fields
from router.call import Call
from router.decision import Place, Reason, Refuse
from router.dialect import RESPONSES
from router.edge.answers import meaning, names_the_model, retry_after_s
from router.edge.attempt import Attempt
from router.edge.door import FrontDoor
from router.edge.heads import Headers, RequestHead, upstream_head
from router.edge.refusals import no_candidate, nobody_answered, not_in_time
from router.edge.reply import Downstream, Reply
from router.errors import Failure, Kind
from router.paths import Route
from router.pieces import Pieces
from router.policy import decide
from router.retry import ATTEMPTS_MAX, Attempts, Next, after_attempt


class State(IntEnum):
    DECIDING = 0
    ATTEMPTING = 1
    HOLDING = 2
    RELAYING = 3
    DONE = 4


# Looking a member of an enumeration up costs more than comparing it; these are met by every call.
DECIDING, ATTEMPTING, HOLDING, RELAYING, DONE = State
_SERVED, _PASSED_THROUGH = OutcomeKind.SERVED, OutcomeKind.PASSED_THROUGH
_KEPT = frozenset({_SERVED, _PASSED_THROUGH, OutcomeKind.MODEL_MISSING})  # Answers whose body is worth seeing.
_NEAREST = Reason.NEAREST


class Exchange:
    """See the module's docstring."""

    __slots__ = (
        "_attempt",
        "_attempts",
        "_body",
        "_candidates",
        "_first_byte_at",
        "_head",
        "_paused",
        "_placed",
        "_reason",
        "_reply",
        "_request_head",
        "_resumed_at",
        "_retry_after_s",
        "_route",
        "_tried",
        "arrived_at",
        "call",
        "complete_at",
        "door",
        "heard_at",
        "request_id",
        "state",
    )

    def __init__(
        self, door: FrontDoor, downstream: Downstream, head: RequestHead, request_id: str, route: Route
    ) -> None:
        self.door = door
        self.state = DECIDING
        self.request_id = request_id
        self.call: Call | None = None
        self.arrived_at = self.heard_at = self.complete_at = door.now()
        self._route = route
        self._reply = Reply(downstream, route.dialect, request_id)
        self._request_head = head
        self._body: bytes | Pieces = b""
        self._candidates: tuple[Placed, ...] = ()
        self._reason = _NEAREST
        self._attempt: Attempt | None = None
        self._attempts = Attempts()
        self._tried: list[str] = []
        self._retry_after_s: float | None = None
        self._first_byte_at: float | None = None
        self._paused = False
        self._resumed_at = self.arrived_at
        self._placed: Placed | None = None

    # What the client's side tells us.

    def begin(self, target: bytes, body: bytes | Pieces, peer_is_trusted: bool, fields: Fields | None = None) -> None:
        """The request is complete. `target`: path and query as the client wrote them; `fields`: if already read."""
        door = self.door
        self.complete_at = door.now()
        head = self._request_head
        tenant = door.tenant_of(head)
        if tenant is None:
            self.refuse(door.unauthenticated(head))
            return
        admitted = admit(
            route=self._route,
            target=target,
            head=head,
            body=body,
            fields=fields,
            tenant=tenant,
            request_id=self.request_id,
            origin=door.origin_of(head, peer_is_trusted),
            residency=door.residency,
            known_regions=door.known_regions,
        )
        if isinstance(admitted, Failure):
            self.refuse(admitted)
            return
        self.call = admitted
        self._body = body
        door.enter(self)
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
            self.refuse(holder)
        else:
            self.call = msgspec.structs.replace(self.call, clusters=frozenset({holder}))
            self._place(self.call)

    def _place(self, admitted: Call) -> None:
        """Decide, and begin with the first candidate."""
        door = self.door
        began_at = door.now() if door.measures() else None
        decision = decide(admitted, door.feed.view, door.in_flight, door.rng)
        decided_at = door.now() if began_at is not None else 0.0
        if isinstance(decision, Refuse):
            self.refuse(no_candidate(admitted, decision, door.feed.view))
            return
        self._candidates = decision.order
        self._reason = decision.reason
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

    def refuse(self, failure: Failure) -> None:
        """Answer with an error; only before the head went out."""
        ours = [(b"x-request-id", self.request_id.encode("latin-1"))]
        if self._attempts.made:
            ours.append((b"x-tradewind-attempts", b"%d" % self._attempts.made))
        self.door.metrics.refused(failure.kind)
        self._done(failure.kind)
        self._reply.refuse(failure, ours)

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

    def abandon(self) -> None:
        """The cluster it waits at was ejected as unreachable: go elsewhere."""
        self._end_attempt(OutcomeKind.ABANDONED)
        self._after_failure(OutcomeKind.ABANDONED)

    def check_time(self, now: float) -> None:
        """End what has taken too long. `now` is loop time."""
        timeouts = self.door.settings.timeouts
        call = self.call
        if self.state is DONE or call is None:
            return
        if now - self.arrived_at > timeouts.total_s:
            kind = OutcomeKind.CANCELLED if self._paused else OutcomeKind.BROKEN  # Whoever was slow.
            self._too_late(kind, Failure(Kind.DEADLINE_EXCEEDED, "The answer took too long altogether."))
        elif self.state is RELAYING:
            if not self._paused and now - max(self.heard_at, self._resumed_at) > timeouts.idle_s:
                self._too_late(OutcomeKind.BROKEN, Failure(Kind.STREAM_BROKEN, "The cluster fell silent."))
        elif call.deadline_s is not None and now - self.arrived_at > call.deadline_s:
            self._too_late(OutcomeKind.CANCELLED, not_in_time(call))
        elif self._attempt is not None and now - self._attempt.began_at > timeouts.first_byte_s:
            self._end_attempt(OutcomeKind.FIRST_BYTE_TIMEOUT)
            self._after_failure(OutcomeKind.FIRST_BYTE_TIMEOUT)

    def cut(self) -> None:
        """The process ends and the grace period is over."""
        self._too_late(OutcomeKind.CANCELLED, Failure(Kind.TOO_BUSY, "The front door is shutting down."))

    def _too_late(self, kind: OutcomeKind, failure: Failure) -> None:
        if self.state is RELAYING:
            self._end_attempt(kind)
            self._break_off(failure)
        elif self.state is not DONE:
            self._end_attempt(kind)
            self.refuse(failure)

    # Attempts.

    def _try_next(self) -> None:
        """Send the call to the next candidate that still stands."""
        placed = self._next_candidate()
        if placed is None:
            self._give_up()
        else:
            self._try(placed)

    def _try(self, placed: Placed) -> None:
        """Send the call to a candidate."""
        call = self.call
        assert call is not None
        door = self.door
        pool = door.pools.get(placed.pool.cluster)
        if pool is None:  # No longer declared; the view has not caught up.
            self._tried.append(placed.pool.cluster)
            self._try_next()
            return
        self._attempts.made += 1
        self._tried.append(pool.cluster)
        head = upstream_head(
            call.path.encode("latin-1"),
            pool.authority,
            self._request_head,
            self.request_id.encode("latin-1"),
            call.origin.encode("latin-1", "replace"),
            len(self._body),
        )
        self.state = ATTEMPTING
        self._placed = placed
        self._attempt = Attempt(self, placed, pool, head, self._body, door.now())
        door.attempt_began(placed)
        self._attempt.begin()

    def _next_candidate(self) -> Placed | None:
        """The next in order that has not been dropped since; when none is left, decide once more."""
        door = self.door
        for placed in self._candidates:
            if placed.pool.cluster not in self._tried and door.still_stands(placed):
                return placed
        if not self._tried or len(self._tried) >= ATTEMPTS_MAX or self.call is None:
            return None
        decision = decide(self.call, door.feed.view, door.in_flight, door.rng)
        if isinstance(decision, Place):
            for placed in decision.order:
                if placed.pool.cluster not in self._tried and placed.pool.cluster in door.pools:
                    return placed
        return None

    def _end_attempt(self, kind: OutcomeKind) -> None:
        """End the present attempt, if any, and report what came of it."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        attempt.end()
        self._report(attempt, kind)

    def _report(self, attempt: Attempt, kind: OutcomeKind, retry_after: float | None = None) -> None:
        assert self.call is not None
        ttft_s = None if self._first_byte_at is None else self._first_byte_at - attempt.began_at
        self.door.attempt_ended(attempt.placed, self.call, kind, retry_after, ttft_s)

    def attempt_head(self, status: int, headers: Headers) -> None:
        """The head of an answer."""
        attempt = self._attempt
        if attempt is None:
            return
        self._attempts.connected = True
        self.heard_at = self.door.now()
        kind = meaning(status, headers)
        if kind in _KEPT:
            self.state = HOLDING
            self._reply.hold(status, headers)
            return
        retry_after = retry_after_s(headers)
        if retry_after is not None:
            self._retry_after_s = min(retry_after, self._retry_after_s or retry_after)
        self._attempt = None
        attempt.end()
        self._report(attempt, kind, retry_after)
        self._after_failure(kind)

    def attempt_data(self, chunk: bytes) -> None:
        """Bytes of the body."""
        self.heard_at = self.door.now()
        if self._reply.take(chunk):
            self._commit(complete=False)

    def attempt_end(self) -> None:
        """The answer is complete."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        reply = self._reply
        if not reply.started:
            if reply.status == 404 and self._names_the_model():
                self._report(attempt, OutcomeKind.MODEL_MISSING)
                self._after_failure(OutcomeKind.MODEL_MISSING)
                return
            self._commit(complete=True)
        passed = reply.status >= 400
        self._report(attempt, _PASSED_THROUGH if passed else _SERVED)
        self._done("passed_through" if passed else "served")
        reply.finish()

    def _names_the_model(self) -> bool:
        """Whether a 404 is about the model, and not about what the call refers to."""
        return self.call is not None and self.call.continues is None and names_the_model(self._reply.held)

    def attempt_failed(self, kind: OutcomeKind) -> None:
        """The attempt broke, or never got a connection."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        if self.state is RELAYING:
            self._report(attempt, OutcomeKind.BROKEN)
            self._break_off(Failure(Kind.STREAM_BROKEN, "The cluster broke off in the middle of its answer."))
            return
        self._report(attempt, kind)
        self._after_failure(kind)

    def _after_failure(self, kind: OutcomeKind) -> None:
        """An attempt failed before the first byte: another candidate, or the end."""
        if kind not in (OutcomeKind.REFUSED, OutcomeKind.CONNECT_TIMEOUT):
            self._attempts.connected = True
        self._reply.forget()
        budget = self.door.budget
        tokens = budget.tokens
        if after_attempt(self._attempts, kind, budget) is not Next.TRY_NEXT:
            self._give_up()
        elif (placed := self._next_candidate()) is not None:
            self._reason = Reason.FAILOVER
            self._try(placed)
        else:
            budget.tokens = tokens  # Nobody to try: nothing to pay for.
            self._give_up()

    def _give_up(self) -> None:
        assert self.call is not None
        self.refuse(nobody_answered(self.call, self._attempts, self._retry_after_s))

    # The client's answer.

    def _commit(self, *, complete: bool) -> None:
        """The head goes out, and with it what was held. From here on nothing can be taken back."""
        placed = self._placed
        assert placed is not None, "only an attempt commits"
        self.state = RELAYING
        if self._attempt is not None:
            self._attempt.forget_request()
        self._body = b""  # Not needed any more: no other attempt will be made.
        self._first_byte_at = self.door.now()
        ours = [
            (b"x-request-id", self.request_id.encode("latin-1")),
            (b"x-tradewind-cluster", placed.pool.cluster.encode()),
            (b"x-tradewind-region", placed.pool.region.encode()),
            (b"x-tradewind-decision", self._reason.encode()),
            (b"x-tradewind-attempts", b"%d" % self._attempts.made),
        ]
        if self._route.dialect is RESPONSES and self._reply.status < 300 and self.call is not None:
            self.door.responses.learn(self._reply.held, placed.pool.cluster, self.call.tenant)
        self._reply.start(ours, complete=complete)
        if self._paused:
            self._pause_attempt()

    def _break_off(self, failure: Failure) -> None:
        """It broke after the first byte."""
        self.door.metrics.broken_streams.inc()
        self._done(failure.kind)
        self._reply.break_off(failure)

    def _done(self, outcome: str) -> None:
        self.state = DONE
        self._body = b""
        self.door.leave(self)
        if self.call is not None:
            self.door.metrics.call_ended(
                region=self._placed.pool.region if self._placed is not None else "",
                reason=self._reason if self._placed is not None else "",
                outcome=outcome,
                ttft_s=None if self._first_byte_at is None else self._first_byte_at - self.arrived_at,
                event_interval_s=self._event_interval_s(),
            )

    def _event_interval_s(self) -> float | None:
        """Mean time between the events of a stream, a stand-in for the time per output token."""
        events = self._reply.events
        if self._first_byte_at is None or events < 3:
            return None
        return (self.heard_at - self._first_byte_at) / (events - 1)
