"""Tokens by deadline."""

from hypothesis import given
from hypothesis import strategies as st

from router.policy.due_tokens import SPAN_S, SPANS, DueTokens

HORIZON_S = SPAN_S * (SPANS - 1)


def test_counts_what_is_due_by_then() -> None:
    due = DueTokens()
    place = due.add(101.0, 5, 100.0)
    due.add(110.0, 7, 100.0)
    assert [due.by(at, 100.0) for at in (100.5, 101.0, 109.0, 110.0, 9999.0)] == [0, 5, 5, 12, 12]
    due.remove(place, 5)
    assert due.by(105.0, 100.0) == 0
    assert due.total == 7


def test_what_is_due_after_the_horizon_counts_as_due_at_it() -> None:
    due = DueTokens()
    due.add(1e6, 5, 100.0)
    assert due.by(100.0 + HORIZON_S - 1.0, 100.0) == 0
    assert due.by(1e7, 100.0) == 5
    assert due.by(1e7, 1000.0) == 5, "and still waits when the dial has gone round"


@given(
    st.lists(
        st.tuples(st.floats(0.01, HORIZON_S - 1), st.integers(1, 10_000), st.floats(0, 5)), min_size=1, max_size=60
    ),
    st.floats(0, HORIZON_S),
    st.floats(0, 1e7),
)
def test_sums_are_those_of_a_list_to_within_a_span(
    added: list[tuple[float, int, float]], ask_s: float, now: float
) -> None:
    due, waiting = DueTokens(), []
    for laxity_s, tokens, later_s in added:
        for deadline, count, place in [one for one in waiting if one[0] <= now]:
            due.remove(place, count)
            waiting.remove((deadline, count, place))
        waiting.append((now + laxity_s, tokens, due.add(now + laxity_s, tokens, now)))
        assert due.total == sum(count for _, count, _ in waiting)
        found = due.by(now + ask_s, now)
        assert found >= sum(count for deadline, count, _ in waiting if deadline <= now + ask_s)
        assert found <= sum(count for deadline, count, _ in waiting if deadline <= now + ask_s + SPAN_S)
        now += later_s
