"""Where one call may still go: its candidates, which of them were tried, and what came of that."""

from federation.outcome import OutcomeKind
from federation.view import Placed
from router.call import Call
from router.decision import Decision, Place, Reason
from router.edge.door import FrontDoor
from router.policy.decide import decide, last_resort
from router.retry import ATTEMPTS_MAX, Attempts, Next, after_attempt

_NEAREST, _FAILOVER, _RESUME, _PANIC = Reason.NEAREST, Reason.FAILOVER, Reason.RESUME, Reason.PANIC
_SERVER_ERROR = OutcomeKind.SERVER_ERROR


class Course:
    """See the module's docstring."""

    __slots__ = (
        "_asked_again",
        "_candidates",
        "_door",
        "_erred",
        "_lost",
        "_tried",
        "attempts",
        "last",
        "reason",
        "retry_after_s",
    )

    def __init__(self, door: FrontDoor) -> None:
        self.attempts = Attempts()
        self.reason = _NEAREST
        self.retry_after_s: float | None = None  # The shortest that a cluster without room has named.
        self.last: OutcomeKind | None = None  # What came of the latest attempt.
        self._door = door
        self._candidates: tuple[Placed, ...] = ()
        self._lost: tuple[str, ...] = ()  # Where its stream broke, or had to be left.
        self._asked_again = False  # Where the stream broke, for want of others.
        self._erred: tuple[str, ...] = ()  # That answered this very call with an error of their own: never asked again.
        self._tried: list[str] = []  # Both among them.

    def decide(self, call: Call) -> Decision:
        """Decide where the call goes, in which order."""
        door = self._door
        decision = decide(call, door.feed.view, door.in_flight, door.rng)
        if isinstance(decision, Place):
            self._candidates = decision.order
            self.reason = decision.reason
        return decision

    def begins(self, placed: Placed) -> bool:
        """It goes there now. False: nobody knows the way any more; the view has not caught up."""
        cluster = placed.pool.cluster
        self._tried.append(cluster)
        if cluster not in self._door.pools:
            return False
        self.attempts.made += 1
        return True

    def next(self, call: Call) -> Placed | None:
        """The next in order that has not been dropped since; when none is left, decide once more."""
        door, tried = self._door, self._tried
        for placed in self._candidates:
            if placed.pool.cluster not in tried and door.still_stands(placed):
                return placed
        if not tried or self.attempts.made >= ATTEMPTS_MAX:
            return None
        decision = decide(call, door.feed.view, door.in_flight, door.rng)
        order = decision.order if isinstance(decision, Place) else ()
        for placed in order:
            if placed.pool.cluster not in tried and placed.pool.cluster in door.pools:
                return placed
        # Better than an end: where its stream broke, if that is in good standing; else one that is not.
        if self._lost and not self._asked_again:
            self._asked_again = True
            for placed in order:
                if placed.pool.cluster == self._lost[-1]:
                    return placed
        last = last_resort(call, door.feed.view, door.in_flight, tried)
        if last is None or last.pool.cluster not in door.pools:
            return None
        if self.reason is not _RESUME:
            self.reason = _PANIC
        return last

    def after_failure(self, call: Call, kind: OutcomeKind) -> Placed | None:
        """An attempt failed before the first byte: where to go next, or nowhere any more."""
        budget = self._door.budget
        tokens = budget.tokens
        if kind is _SERVER_ERROR:
            self._erred += (self._tried[-1],)
        if after_attempt(self.attempts, kind, budget) is not Next.TRY_NEXT:
            return None
        placed = self.next(call)
        if placed is None:
            budget.tokens = tokens  # Nobody to try: nothing to pay for.
        elif self.reason not in (_RESUME, _PANIC):
            self.reason = _FAILOVER
        return placed

    def go_on(self) -> None:
        """The stream broke: from here on it is gone on with, and where it broke only if there is nobody else."""
        self.reason = _RESUME
        self._candidates = ()
        self._lost += (self._tried[-1],)
        self._tried = [*self._erred, *self._lost]
        self._asked_again = False
        self.attempts.made = 0
