"""The waiting room."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.call import RANK, Priority
from router.policy.waiting_room import (
    RETRY_AFTER_S_MAX,
    RETRY_AFTER_S_MIN,
    Turned,
    TurnedAway,
    Waiting,
    WaitingRoom,
)

NOW = 1000.0
CRITICAL, STANDARD, SHEDDABLE = Priority.CRITICAL, Priority.STANDARD, Priority.SHEDDABLE


def entered(
    room: WaitingRoom[str],
    name: str,
    priority: Priority = STANDARD,
    *,
    tenant: str = "t",
    tokens: int = 100,
    due_s: float = 30.0,
    now: float = NOW,
) -> Waiting[str]:
    found = room.enter(name, tenant, priority, tokens, now + due_s, now)
    assert isinstance(found, Waiting), found
    return found


def refused(room: WaitingRoom[str], priority: Priority = STANDARD, *, now: float = NOW, **fields: float) -> TurnedAway:
    found = room.enter("refused", "t", priority, int(fields.get("tokens", 100)), now + fields.get("due_s", 30.0), now)
    assert isinstance(found, TurnedAway), found
    return found


def order(room: WaitingRoom[str], now: float = NOW) -> list[str]:
    return [one.call for one in iter(lambda: room.take(now), None)]


def draining(tokens_per_s: float, calls_max: int = 1000, seconds: int = 20) -> tuple[WaitingRoom[str], float]:
    """A room that has been draining at this rate, with nobody left in it; and the time."""
    room: WaitingRoom[str] = WaitingRoom(NOW, calls_max)
    now = NOW
    entered(room, "waits", CRITICAL, tokens=1, due_s=1e6)
    for step in range(1, 10 * seconds + 1):
        now = NOW + step / 10
        entered(room, "next", CRITICAL, tokens=int(tokens_per_s / 10), due_s=1e3, now=now)
        room.take(now)
    while room.take(now):
        pass
    return room, now


def test_priorities_are_strict_and_urgency_orders_within() -> None:
    room: WaitingRoom[str] = WaitingRoom(NOW)
    entered(room, "sheddable", SHEDDABLE, due_s=1.0)
    entered(room, "late", due_s=20.0)
    entered(room, "soon", due_s=10.0)
    entered(room, "critical", CRITICAL, due_s=60.0)
    assert room.next(NOW) is not None
    assert order(room) == ["critical", "soon", "late", "sheddable"]
    assert room.tokens == len(room) == 0


def test_a_full_room_sheds_from_the_bottom() -> None:
    room: WaitingRoom[str] = WaitingRoom(NOW, calls_max=3)
    entered(room, "standard")
    entered(room, "soon", SHEDDABLE, due_s=5.0)
    entered(room, "late", SHEDDABLE, due_s=9.0)
    entered(room, "critical", CRITICAL)
    assert [(one.waiting.call, one.reason) for one in room.turned_out(NOW)] == [("late", Turned.SHED)]
    entered(room, "standard2")
    assert [one.waiting.call for one in room.turned_out(NOW)] == ["soon"]
    assert refused(room).reason is Turned.FULL
    assert refused(room, SHEDDABLE).reason is Turned.FULL
    entered(room, "critical2", CRITICAL)
    assert [one.waiting.priority for one in room.turned_out(NOW)] == [STANDARD]
    assert len(room) == 3


def test_within_a_priority_the_tenant_with_most_makes_room() -> None:
    room: WaitingRoom[str] = WaitingRoom(NOW, calls_max=4)
    for number in range(4):
        entered(room, f"flood{number}", tenant="flood", due_s=10.0 + number)
    entered(room, "quiet", tenant="quiet")
    assert [one.waiting.call for one in room.turned_out(NOW)] == ["flood3"]
    full = room.enter("flood4", "flood", STANDARD, 100, NOW + 1.0, NOW)
    assert isinstance(full, TurnedAway)
    assert full.reason is Turned.FULL


def test_what_cannot_leave_in_time_is_refused_when_it_comes() -> None:
    room, now = draining(1000.0)
    entered(room, "ahead", tokens=20_000, due_s=50.0, now=now)
    hopeless = room.enter("later", "t", STANDARD, 100, now + 55.0, now)
    assert isinstance(hopeless, Waiting), "20 s of waiting fit in 55"
    assert room.wait_s("t", STANDARD, 100, now + 60.0, now) == pytest.approx(20.1, rel=0.05)
    sheddable = room.enter("no", "t", SHEDDABLE, 100, now + 5.0, now)
    assert isinstance(sheddable, TurnedAway)
    assert sheddable.reason is Turned.TOO_LATE
    assert sheddable.retry_after_s == pytest.approx(15.1, rel=0.05), "by then it would wait no longer than it may"
    assert isinstance(room.enter("urgent", "u", CRITICAL, 100, now + 1.0, now), Waiting), "it waits for nobody"


def test_what_is_late_already_is_refused_even_before_anything_was_measured() -> None:
    assert refused(WaitingRoom(NOW), due_s=0.0).reason is Turned.TOO_LATE


def test_retry_after_is_how_long_the_room_takes_to_drain() -> None:
    room, now = draining(1000.0, calls_max=2)
    entered(room, "one", tokens=5000, due_s=500.0, now=now)
    entered(room, "two", tokens=5000, due_s=500.0, now=now)
    assert refused(room, now=now, tokens=1e4, due_s=500.0).retry_after_s == pytest.approx(10.0, rel=0.05)


def test_a_room_that_stands_still_refuses_and_recovers_when_it_is_empty() -> None:
    room, now = draining(1000.0)
    entered(room, "stuck", due_s=300.0, now=now)
    now += 290.0
    away = room.enter("next", "t", STANDARD, 100_000, now + 20.0, now)
    assert isinstance(away, TurnedAway)
    assert RETRY_AFTER_S_MIN <= away.retry_after_s <= RETRY_AFTER_S_MAX
    now += 11.0
    assert isinstance(room.enter("again", "t", STANDARD, 100, now + 20.0, now), Waiting)
    assert [one.reason for one in room.turned_out(now)] == [Turned.EXPIRED]


def test_client_who_left_is_not_served() -> None:
    room: WaitingRoom[str] = WaitingRoom(NOW)
    gone = entered(room, "gone")
    entered(room, "stays")
    assert room.leave(gone, NOW)
    assert not room.leave(gone, NOW)
    assert order(room) == ["stays"]


def test_abusive_tenant_gets_its_share_and_the_others_theirs() -> None:
    """Twice overloaded: one tenant sends ten times as much as each of four others, who want a fifth each."""
    room: WaitingRoom[str] = WaitingRoom(NOW, calls_max=200, slack_tokens=2000)
    served = dict.fromkeys("abcdx", 0)
    for tick in range(2000):
        now = NOW + tick / 100
        for tenant in "abcd":
            if tick % 5 == 0:
                room.enter(tenant, tenant, STANDARD, 1000, now + 5.0, now)
        if tick % 5 < 3:
            room.enter("x", "x", STANDARD, 1000, now + 1.0, now)
            room.enter("x", "x", STANDARD, 1000, now + 1.0, now)
        room.turned_out(now)
        if (one := room.take(now)) is not None:
            served[one.tenant] += one.tokens
    shares = list(served.values())
    assert sum(shares) ** 2 / (5 * sum(share * share for share in shares)) > 0.98, "Jain's index"


class AnyUse(RuleBasedStateMachine):
    """Nothing lost, nothing served twice, bounds kept, whatever is done in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.calls_max = 6
        self.room: WaitingRoom[int] = WaitingRoom(NOW, self.calls_max, slack_tokens=500)
        self.waiting: dict[int, Waiting[int]] = {}
        self.count = 0
        self.gone: set[int] = set()

    def collect(self, newcomer: Priority | None = None) -> None:
        for out in self.room.turned_out(self.now):
            one = self.waiting.pop(out.waiting.call)
            assert one is out.waiting
            self.gone.add(one.call)
            assert RETRY_AFTER_S_MIN <= out.retry_after_s <= RETRY_AFTER_S_MAX
            if out.reason is Turned.EXPIRED:
                assert one.leave_by <= self.now
            else:
                assert out.reason is Turned.SHED
                assert newcomer is not None
                assert RANK[one.priority] <= RANK[newcomer]
                lowest = min(RANK[other.priority] for other in (one, *self.waiting.values()))
                assert RANK[one.priority] == lowest

    @rule(
        tenant=st.sampled_from("abc"),
        priority=st.sampled_from(Priority),
        tokens=st.integers(1, 5000),
        due_s=st.floats(-1.0, 90.0),
    )
    def enter(self, tenant: str, priority: Priority, tokens: int, due_s: float) -> None:
        self.collect()
        full = len(self.waiting) == self.calls_max
        self.count += 1
        found = self.room.enter(self.count, tenant, priority, tokens, self.now + due_s, self.now)
        self.collect(priority)
        if isinstance(found, TurnedAway):
            assert RETRY_AFTER_S_MIN <= found.retry_after_s <= RETRY_AFTER_S_MAX
            if found.reason is Turned.FULL:
                assert full
                assert all(RANK[one.priority] >= RANK[priority] for one in self.waiting.values())
            else:
                assert found.reason is Turned.TOO_LATE
        else:
            assert due_s > 0.0
            self.waiting[found.call] = found

    @rule()
    def take(self) -> None:
        expected = self.room.next(self.now)
        one = self.room.take(self.now)
        assert one is expected
        self.collect()
        if one is None:
            assert not self.waiting
            return
        assert self.waiting.pop(one.call) is one
        assert one.call not in self.gone
        self.gone.add(one.call)
        assert one.leave_by > self.now
        assert all(RANK[other.priority] <= RANK[one.priority] for other in self.waiting.values())
        alike = [two for two in self.waiting.values() if (two.tenant, two.priority) == (one.tenant, one.priority)]
        assert all(one.leave_by <= other.leave_by for other in alike)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(sorted(self.waiting)))
        one = self.waiting[call]
        overdue = one.leave_by <= self.now
        assert self.room.leave(one, self.now) != overdue
        if not overdue:
            del self.waiting[call]
            self.gone.add(call)

    @rule(later_s=st.floats(0.0, 40.0))
    def time_goes_on(self, later_s: float) -> None:
        self.now += later_s

    @invariant()
    def everyone_is_accounted_for(self) -> None:
        self.collect()
        assert len(self.room) == len(self.waiting) <= self.calls_max
        assert self.room.tokens == sum(one.tokens for one in self.waiting.values())


AnyUse.TestCase.settings = settings(max_examples=150, stateful_step_count=60)
TestAnyUse = AnyUse.TestCase
