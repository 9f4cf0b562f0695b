"""The calls of one priority that wait: the most urgent first, as long as tenants get equal shares. Pure.

Shares are counted in tokens, since one call can be a thousand times another. Each tenant has a count of what it was
served, as in the virtual token counter (Y. Sheng and others, Fairness in Serving Large Language Models, OSDI 2024): who
comes back after a pause begins no lower than the one who was served least among those that wait, so nobody saves up.
A tenant that wants less than its share gets all it wants, and the others share the rest: max-min fairness.

Deadlines and shares contradict each other, and neither may win outright. So a tenant is *in turn* while its count is
within SLACK_TOKENS of the lowest, and of those in turn the one whose call is due first goes first: the rule of earliest
eligible virtual deadline first (I. Stoica, H. Abdel-Wahab, 1995), with real deadlines. No two tenants that wait are
ever served more unequally than by SLACK_TOKENS and one call.
"""

from typing import Final, Generic, TypeVar

from router.call import Priority
from router.policy.due_tokens import DueTokens
from router.policy.indexed_heap import IndexedHeap

SLACK_TOKENS: Final = 8_192  # A long prompt or ten short ones.
RESTING_MAX: Final = 10_000  # Tenants that do not wait but were served more than those who do.

C = TypeVar("C")


class Waiting(Generic[C]):
    """One call that waits. Times are seconds on the caller's clock."""

    __slots__ = ("call", "entered_at", "leave_by", "number", "place", "priority", "tenant", "tokens")

    def __init__(
        self, call: C, tenant: str, priority: Priority, tokens: int, leave_by: float, entered_at: float, number: int
    ) -> None:
        self.call = call
        self.tenant = tenant
        self.priority = priority
        self.tokens = tokens
        self.leave_by = leave_by
        self.entered_at = entered_at
        self.number = number  # In order of entry: breaks ties.
        self.place = -1  # In DueTokens.


class _Tenant(Generic[C]):
    __slots__ = ("latest", "name", "served_tokens", "soonest", "tokens")

    def __init__(self, name: str, served_tokens: int) -> None:
        self.name = name
        self.served_tokens = served_tokens
        self.tokens = 0  # Of its calls that wait.
        self.soonest: IndexedHeap[Waiting[C]] = IndexedHeap()
        self.latest: IndexedHeap[Waiting[C]] = IndexedHeap()


class FairLine(Generic[C]):
    """All verbs take O(log n). The caller removes what is overdue before the time goes on."""

    __slots__ = (
        "_by_served",
        "_due",
        "_in_turn",
        "_least_served",
        "_most_waiting",
        "_out_of_turn",
        "_resting",
        "_slack",
        "_tenants",
    )

    def __init__(self, slack_tokens: int = SLACK_TOKENS) -> None:
        self._slack = slack_tokens
        self._due = DueTokens()
        self._tenants: dict[str, _Tenant[C]] = {}  # Those that wait; each is in turn or out of it.
        self._in_turn: IndexedHeap[str] = IndexedHeap()  # By the deadline of their first call.
        self._out_of_turn: IndexedHeap[str] = IndexedHeap()  # By what they were served.
        self._by_served: IndexedHeap[str] = IndexedHeap()
        self._most_waiting: IndexedHeap[str] = IndexedHeap()
        self._least_served = 0  # Of those that wait; it never falls.
        self._resting: IndexedHeap[str] = IndexedHeap()  # By what they were served; only if that is above the least.

    @property
    def tokens(self) -> int:
        """Of all calls that wait here."""
        return self._due.total

    def tenant_tokens(self, tenant: str) -> int:
        """Of those of one tenant."""
        found = self._tenants.get(tenant)
        return found.tokens if found is not None else 0

    def ahead_tokens(self, tenant: str, tokens: int, leave_by: float, now: float) -> int:
        """About what is served here before a call that would enter now.

        The less of what is due before it, and of what fairness lets pass: while its tenant's own calls and it are
        served, each other tenant is served as much.
        """
        own = self.tenant_tokens(tenant)
        others = len(self._tenants) - (1 if own else 0)
        return min(self._due.by(leave_by, now), own + others * (own + tokens))

    def add(self, waiting: Waiting[C], now: float) -> None:
        tenant = self._tenants.get(waiting.tenant)
        if tenant is None:
            tenant = self._tenants[waiting.tenant] = _Tenant(waiting.tenant, self._came_back(waiting.tenant))
        tenant.soonest.put(waiting, (waiting.leave_by, waiting.number))
        tenant.latest.put(waiting, (-waiting.leave_by, -waiting.number))
        tenant.tokens += waiting.tokens
        waiting.place = self._due.add(waiting.leave_by, waiting.tokens, now)
        self._settle(tenant)

    def remove(self, waiting: Waiting[C]) -> None:
        """It waits no more, and was not served."""
        tenant = self._tenants[waiting.tenant]
        tenant.soonest.drop(waiting)
        tenant.latest.drop(waiting)
        tenant.tokens -= waiting.tokens
        self._due.remove(waiting.place, waiting.tokens)
        self._settle(tenant)

    def next(self) -> Waiting[C] | None:
        """Whom to serve next."""
        name = self._in_turn.first()
        return None if name is None else self._tenants[name].soonest.first()

    def serve(self, waiting: Waiting[C]) -> None:
        """It is served: removed, and counted."""
        self._tenants[waiting.tenant].served_tokens += waiting.tokens
        self.remove(waiting)

    def least_missed(self) -> Waiting[C] | None:
        """Whom to shed: of the tenant with the most tokens waiting, the call that is due last."""
        name = self._most_waiting.first()
        return None if name is None else self._tenants[name].latest.first()

    def _came_back(self, name: str) -> int:
        """What counts as served of a tenant that did not wait until now."""
        rank = self._resting.rank(name)
        if rank is None:
            return self._least_served
        self._resting.drop(name)
        return int(max(self._least_served, rank[0]))

    def _settle(self, tenant: _Tenant[C]) -> None:
        """Puts a tenant where it belongs after a change, and brings in turn whoever is."""
        name, served = tenant.name, tenant.served_tokens
        if tenant.soonest:
            self._most_waiting.put(name, (-tenant.tokens, name))
            self._by_served.put(name, (served, name))
            self._in_turn.drop(name)
            self._out_of_turn.put(name, (served, name))
        else:
            del self._tenants[name]
            for heap in (self._most_waiting, self._by_served, self._in_turn, self._out_of_turn):
                heap.drop(name)
            self._resting.put(name, (served, name))
        if self._tenants:
            self._least_served = self._by_served.first_rank()[0]
        self._forgive()
        while (first := self._out_of_turn.first()) is not None:
            if self._out_of_turn.first_rank()[0] > self._least_served + self._slack:
                break
            self._out_of_turn.drop(first)
            self._in_turn.put(first, (*self._tenants[first].soonest.first_rank(), first))

    def _forgive(self) -> None:
        """Tenants that rest need not be known once nobody who waits was served less, or nobody waits."""
        while (first := self._resting.first()) is not None:
            owes = self._resting.first_rank()[0] > self._least_served
            if owes and self._tenants and len(self._resting) <= RESTING_MAX:
                break
            self._resting.drop(first)
