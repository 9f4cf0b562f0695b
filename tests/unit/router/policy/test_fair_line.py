"""One priority's line: urgency within fairness."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.call import Priority
from router.policy.fair_line import RESTING_MAX, FairLine, Waiting

NOW = 1000.0


class Line:
    """A FairLine, with calls numbered as they come."""

    def __init__(self, slack_tokens: int = 0) -> None:
        self.line: FairLine[str] = FairLine(slack_tokens)
        self.entered = 0

    def add(self, tenant: str, tokens: int = 100, due_s: float = 30.0) -> Waiting[str]:
        self.entered += 1
        one = Waiting(f"{tenant}{self.entered}", tenant, Priority.STANDARD, tokens, NOW + due_s, NOW, self.entered)
        self.line.add(one, NOW)
        return one

    def served(self) -> Waiting[str] | None:
        one = self.line.next()
        if one is not None:
            self.line.serve(one)
        return one


def test_most_urgent_first_for_one_tenant() -> None:
    line = Line()
    for due_s in (30.0, 10.0, 20.0):
        line.add("a", due_s=due_s)
    assert [line.served().leave_by - NOW for _ in range(3)] == [10.0, 20.0, 30.0]  # type: ignore[union-attr]
    assert line.served() is None


def test_most_urgent_first_among_tenants_in_turn() -> None:
    line = Line(slack_tokens=1000)
    line.add("a", due_s=20.0)
    line.add("b", due_s=10.0)
    line.add("a", due_s=5.0)
    assert [line.served().tenant for _ in range(3)] == ["a", "b", "a"]  # type: ignore[union-attr]


def test_a_flood_of_urgent_calls_takes_no_more_than_its_share() -> None:
    line = Line(slack_tokens=500)
    for _ in range(200):
        line.add("flood", due_s=1.0)
    for _ in range(20):
        line.add("quiet", due_s=60.0)
    first = [line.served().tenant for _ in range(45)]  # type: ignore[union-attr]
    assert first.count("quiet") == 20


def test_shares_are_equal_in_tokens_and_not_in_calls() -> None:
    line = Line()
    for _ in range(100):
        line.add("short", tokens=10)
        line.add("long", tokens=1000)
    tokens = {"short": 0, "long": 0}
    for _ in range(102):
        one = line.served()
        assert one is not None
        tokens[one.tenant] += one.tokens
    assert tokens["short"] == 1000, "all it wanted"
    assert tokens["long"] == 2000


def test_who_rests_saves_nothing_and_owes_what_it_got() -> None:
    line = Line()
    for _ in range(10):
        line.add("steady")
    line.add("greedy", tokens=500, due_s=1.0)
    assert line.served().tenant == "greedy"  # type: ignore[union-attr]
    line.add("greedy", tokens=500, due_s=1.0)
    line.add("new")
    following = [line.served().tenant for _ in range(7)]  # type: ignore[union-attr]
    assert following.count("greedy") == 1, "it was gone for a moment, and is still ahead of the others"
    assert following[:5].count("greedy") == 0
    assert following.count("new") == 1


def test_sheds_the_last_due_call_of_whoever_has_most() -> None:
    line = Line()
    line.add("small", tokens=100, due_s=99.0)
    line.add("large", tokens=100, due_s=10.0)
    last = line.add("large", tokens=50, due_s=20.0)
    assert line.line.least_missed() is last
    line.line.remove(last)
    assert line.line.tenant_tokens("large") == 100
    assert line.line.tokens == 200


def test_ahead_is_what_is_more_urgent_but_no_more_than_fairness_lets_pass() -> None:
    line = Line()
    for _ in range(50):
        line.add("flood", tokens=1000, due_s=5.0)
    assert line.line.ahead_tokens("new", 300, NOW + 30.0, NOW) == 300
    assert line.line.ahead_tokens("flood", 300, NOW + 30.0, NOW) == 50_000
    assert line.line.ahead_tokens("new", 300, NOW + 1.0, NOW) == 0
    assert FairLine[str]().ahead_tokens("new", 300, NOW + 1.0, NOW) == 0


def test_tenants_that_rest_are_forgotten_when_nobody_waits() -> None:
    line = Line()
    for number in range(50):
        line.add(f"t{number}")
        line.served()
    assert len(line.line._resting) == 0


def test_tenants_that_rest_are_bounded() -> None:
    line = Line()
    line.add("waits", due_s=1e6)
    waits = line.line.next()
    assert waits is not None
    for number in range(RESTING_MAX + 50):
        one = line.add(f"t{number}")
        line.line.serve(one)
    assert len(line.line._resting) <= RESTING_MAX


calls = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 500), st.floats(0.1, 60.0)), min_size=1, max_size=80)


@given(calls, st.integers(0, 1000), st.randoms(use_true_random=False))
def test_no_two_waiting_tenants_are_served_more_unequally_than_slack_and_one_call(
    added: list[tuple[str, int, float]], slack: int, rng: Random
) -> None:
    line = Line(slack)
    for tenant, tokens, due_s in added:
        line.add(tenant, tokens, due_s)
    left = {tenant: sum(1 for one in added if one[0] == tenant) for tenant, _, _ in added}
    served = dict.fromkeys(left, 0)
    largest = max(tokens for _, tokens, _ in added)
    while (one := line.served()) is not None:
        served[one.tenant] += one.tokens
        left[one.tenant] -= 1
        waiting = [served[tenant] for tenant, calls_left in left.items() if calls_left]
        for tenant in waiting:
            assert max(waiting) - tenant <= slack + largest
    assert not any(left.values())
    assert sum(served.values()) == sum(tokens for _, tokens, _ in added)


@given(calls, st.data())
def test_whoever_is_removed_leaves_no_trace(added: list[tuple[str, int, float]], data: st.DataObject) -> None:
    line = Line(100)
    waiting = [line.add(*one) for one in added]
    for one in data.draw(st.lists(st.sampled_from(waiting), unique_by=id)):
        line.line.remove(one)
        waiting.remove(one)
        assert line.line.tokens == sum(other.tokens for other in waiting)
    assert {one.number for one in waiting} == {one.number for one in iter(line.served, None)}
    with pytest.raises(KeyError):
        line.line.remove(Waiting("x", "stranger", Priority.STANDARD, 1, NOW, NOW, 0))
