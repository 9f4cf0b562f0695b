"""How fast a room drains."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy.drain_rate import HALF_LIFE_S, MEASURED_S, DrainRate


def drained(rate: DrainRate, seconds: int, tokens_per_s: float, since: float = 0.0) -> float:
    """Ten calls a second leave while others wait; the time afterwards."""
    now = since
    for step in range(1, 10 * seconds + 1):
        now = since + step / 10
        rate.passed(now, waiting=True)
        rate.left(tokens_per_s / 10)
    return now


def test_measures_what_leaves_while_somebody_waits() -> None:
    rate = DrainRate(0.0)
    assert rate.tokens_per_s is None
    drained(rate, 30, 5000.0)
    assert rate.tokens_per_s == pytest.approx(5000.0, rel=0.02)


def test_quiet_hour_is_no_slow_one() -> None:
    rate = DrainRate(0.0)
    now = drained(rate, 30, 5000.0)
    rate.passed(now + 3600.0, waiting=False)
    assert rate.tokens_per_s == pytest.approx(5000.0, rel=0.02)


def test_a_standstill_is_seen_within_seconds() -> None:
    rate = DrainRate(0.0)
    now = drained(rate, 30, 5000.0)
    rate.passed(now + 3 * HALF_LIFE_S, waiting=True)
    assert rate.tokens_per_s == pytest.approx(5000.0 / 8, rel=0.02)


def test_follows_a_change_and_waits_until_it_knows() -> None:
    rate = DrainRate(0.0)
    rate.passed(0.9 * MEASURED_S, waiting=True)
    rate.left(100.0)
    assert rate.tokens_per_s is None
    now = drained(rate, 30, 5000.0, since=1.0)
    drained(rate, 30, 500.0, since=now)
    assert rate.tokens_per_s == pytest.approx(500.0, rel=0.2)


@given(st.lists(st.tuples(st.floats(-10, 1000), st.booleans(), st.floats(0, 1e6))))
def test_rate_is_never_negative(steps: list[tuple[float, bool, float]]) -> None:
    rate, now = DrainRate(0.0), 0.0
    for later_s, waiting, tokens in steps:
        now += later_s
        rate.passed(now, waiting)
        rate.left(tokens)
        assert rate.tokens_per_s is None or rate.tokens_per_s >= 0.0
