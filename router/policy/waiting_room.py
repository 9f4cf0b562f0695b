"""The waiting room: calls for which no cluster has room, while that lasts. Pure: the time is an argument.

It stands in the front door so that the queues of model servers stay short: what waits there can neither be overtaken by
something urgent, nor go elsewhere, nor be told that it is hopeless. The rules:

- Priorities are strict: a critical call leaves before any other, a sheddable one after all others.
- Within a priority the most urgent leaves first, as long as tenants get equal shares (`fair_line`).
- The room is bounded. When it is full it sheds from the bottom: the least priority that waits, of that the tenant with
  the most tokens, of that the call that is due last. Nobody is shed for a call of less priority, nor for one of the
  same priority unless its tenant stays the smaller of the two.
- A call that cannot leave in time, as the room drains now, is refused when it comes and not when its time is over.
- What is refused is told when to come back, from the same rate (`drain_rate`).

Every call that enters leaves exactly once: by `take`, by `leave`, or with `turned_out`.

Refused: the controlled delay of queue management (CoDel), which knows no deadlines; a queue per cluster, which commits
a call before anybody knows where room will be; last in, first out under overload, which is fair to nobody.
"""

from enum import StrEnum
from typing import Final, Generic, TypeVar

import msgspec

from router.call import Priority
from router.policy.drain_rate import DrainRate
from router.policy.fair_line import SLACK_TOKENS, FairLine, Waiting
from router.policy.indexed_heap import IndexedHeap

CALLS_MAX: Final = 1_000
RETRY_AFTER_S_MIN: Final = 1.0
RETRY_AFTER_S_MAX: Final = 60.0

FROM_THE_TOP: Final = (Priority.CRITICAL, Priority.STANDARD, Priority.SHEDDABLE)

C = TypeVar("C")


class Turned(StrEnum):
    """Why a call does not wait (any more). The strings stand in metrics."""

    FULL = "full"  # No room, and nobody to be shed for it.
    TOO_LATE = "too_late"  # It could not leave in time.
    SHED = "shed"  # Made room for another.
    EXPIRED = "expired"  # Waited until its time was over.


class TurnedAway(msgspec.Struct, frozen=True, gc=False):
    """A call that was refused on entering."""

    reason: Turned
    retry_after_s: float


class TurnedOut(msgspec.Struct, Generic[C], frozen=True):
    """A call that waited and was told to go."""

    waiting: Waiting[C]
    reason: Turned
    retry_after_s: float


class WaitingRoom(Generic[C]):
    """One for each model: calls for different ones do not wait for the same room. `now`: monotonic seconds."""

    __slots__ = ("_by_deadline", "_calls_max", "_entered", "_lines", "_rate", "_turned_out")

    def __init__(self, now: float, calls_max: int = CALLS_MAX, slack_tokens: int = SLACK_TOKENS) -> None:
        self._calls_max = calls_max
        self._lines: tuple[FairLine[C], ...] = tuple([FairLine(slack_tokens) for _ in FROM_THE_TOP])
        self._by_deadline: IndexedHeap[Waiting[C]] = IndexedHeap()
        self._rate = DrainRate(now)
        self._entered = 0
        self._turned_out: list[TurnedOut[C]] = []

    def __len__(self) -> int:
        return len(self._by_deadline)

    @property
    def tokens(self) -> int:
        """Of all calls that wait."""
        return sum([line.tokens for line in self._lines])

    @property
    def drain_tokens_per_s(self) -> float | None:
        """How fast it drains; None: not measured yet."""
        return self._rate.tokens_per_s

    def wait_s(self, tenant: str, priority: Priority, tokens: int, leave_by: float, now: float) -> float | None:
        """About how long such a call would wait; None: not known yet."""
        self._pass(now)
        return self._wait_s(tenant, priority, tokens, leave_by, now)

    def enter(
        self, call: C, tenant: str, priority: Priority, tokens: int, leave_by: float, now: float
    ) -> Waiting[C] | TurnedAway:
        """Lets a call wait, or says why not. See `turned_out` for whoever made room for it.

        `tokens`: its prompt and what its answer is expected to be, at least 1. `leave_by`: the last moment at which
        sending it on still makes sense: its deadline less what the nearest cluster needs for a first token.
        """
        assert tokens >= 1, "what costs nothing need not wait"
        self._pass(now)
        wait_s = self._wait_s(tenant, priority, tokens, leave_by, now)
        if leave_by <= now or (wait_s is not None and now + wait_s > leave_by):
            late_s = 0.0 if wait_s is None else wait_s - max(0.0, leave_by - now)
            return TurnedAway(Turned.TOO_LATE, _bounded(late_s))
        if len(self._by_deadline) >= self._calls_max:
            victim = self._victim(tenant, priority, tokens)
            if victim is None:
                return TurnedAway(Turned.FULL, self._retry_after_s(priority))
            self._turn_out(victim, Turned.SHED)
        self._entered += 1
        waiting = Waiting(call, tenant, priority, tokens, leave_by, now, self._entered)
        self._by_deadline.put(waiting, (leave_by, waiting.number))
        self._line(priority).add(waiting, now)
        return waiting

    def next(self, now: float) -> Waiting[C] | None:
        """The call that `take` would give. For looking whether a cluster has room for it."""
        self._pass(now)
        for line in self._lines:
            waiting = line.next()
            if waiting is not None:
                return waiting
        return None

    def take(self, now: float) -> Waiting[C] | None:
        """The next call, which is sent on its way; None: nobody waits."""
        waiting = self.next(now)
        if waiting is not None:
            self._by_deadline.drop(waiting)
            self._line(waiting.priority).serve(waiting)
            self._rate.left(waiting.tokens)
        return waiting

    def leave(self, waiting: Waiting[C], now: float) -> bool:
        """Its client went away; False if it waits no more."""
        self._pass(now)
        if not self._by_deadline.drop(waiting):
            return False
        self._line(waiting.priority).remove(waiting)
        return True

    def turned_out(self, now: float) -> list[TurnedOut[C]]:
        """Who was shed or expired since this was last asked. Ask after each `enter`, and on each tick."""
        self._pass(now)
        out, self._turned_out = self._turned_out, []
        return out

    def _pass(self, now: float) -> None:
        """The time goes on: whoever is overdue goes."""
        self._rate.passed(now, waiting=bool(self._by_deadline))
        while self._by_deadline and self._by_deadline.first_rank()[0] <= now:
            overdue = self._by_deadline.first()
            assert overdue is not None
            self._turn_out(overdue, Turned.EXPIRED)

    def _turn_out(self, waiting: Waiting[C], reason: Turned) -> None:
        self._by_deadline.drop(waiting)
        self._line(waiting.priority).remove(waiting)
        self._turned_out.append(TurnedOut(waiting, reason, self._retry_after_s(waiting.priority)))

    def _victim(self, tenant: str, priority: Priority, tokens: int) -> Waiting[C] | None:
        """Who makes room for such a call; None: it must not have it."""
        for other in reversed(FROM_THE_TOP):
            line = self._line(other)
            victim = line.least_missed()
            if other is not priority:
                if victim is not None:
                    return victim
                continue
            if victim is None or line.tenant_tokens(victim.tenant) <= line.tenant_tokens(tenant) + tokens:
                return None
            return victim
        raise AssertionError("every priority has a line")

    def _wait_s(self, tenant: str, priority: Priority, tokens: int, leave_by: float, now: float) -> float | None:
        ahead = 0
        for other, line in zip(FROM_THE_TOP, self._lines, strict=True):
            if other is priority:
                ahead += line.ahead_tokens(tenant, tokens, leave_by, now)
                break
            ahead += line.tokens
        if not ahead:
            return 0.0
        rate = self._rate.tokens_per_s
        if rate is None:
            return None
        return ahead / rate if rate > 0.0 else float("inf")

    def _retry_after_s(self, priority: Priority) -> float:
        """Until all that waits now and goes before such a call has left."""
        ahead = 0
        for other, line in zip(FROM_THE_TOP, self._lines, strict=True):
            ahead += line.tokens
            if other is priority:
                break
        rate = self._rate.tokens_per_s
        return _bounded(0.0 if not ahead or rate is None else ahead / rate if rate > 0.0 else RETRY_AFTER_S_MAX)

    def _line(self, priority: Priority) -> FairLine[C]:
        return self._lines[FROM_THE_TOP.index(priority)]


def _bounded(seconds: float) -> float:
    return min(RETRY_AFTER_S_MAX, max(RETRY_AFTER_S_MIN, seconds))
