"""How many streams go on at once, and how fast one cluster takes them in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.resume.budget import AT_ONCE, PACE_BURST, PACE_PER_S, REFILL_PER_S, Pace, ResumeBudget


def taken(budget: ResumeBudget, now: float, tries: int) -> int:
    return sum(budget.take(now) for _ in range(tries))


def test_five_hundred_go_on_at_once_and_then_as_many_as_come_back_with_time() -> None:
    budget = ResumeBudget(refilled_at=100.0)
    assert taken(budget, 100.0, 2 * AT_ONCE) == AT_ONCE == 500
    assert not budget.take(100.0)
    assert taken(budget, 101.0, 50) == REFILL_PER_S


def test_calm_weather_does_not_save_up_more_than_one_loss() -> None:
    budget = ResumeBudget(refilled_at=0.0)
    assert taken(budget, 1e6, 2 * AT_ONCE) == AT_ONCE


def test_a_clock_that_stands_or_goes_back_gives_nothing() -> None:
    budget = ResumeBudget(tokens=1.0, refilled_at=10.0)
    assert budget.take(10.0)
    assert not budget.take(5.0)
    assert not budget.take(5.0)


@given(st.lists(st.floats(0.0, 5.0), max_size=200))
def test_never_more_than_the_bucket_and_what_flowed_in(gaps_s: list[float]) -> None:
    budget, now, count = ResumeBudget(at_once=20, tokens=20.0), 0.0, 0
    for gap_s in gaps_s:
        now += gap_s
        count += taken(budget, now, 15)
        assert count <= 20 + REFILL_PER_S * now + 1e-6


def test_a_burst_goes_into_a_cluster_at_once_and_the_others_one_after_the_other() -> None:
    pace = Pace()
    waits_s = [pace.wait_s("a", 7.0) for _ in range(500)]
    assert waits_s[:PACE_BURST] == [0.0] * PACE_BURST
    behind = waits_s[PACE_BURST + 1 :]
    assert behind == sorted(behind)
    assert behind[0] == pytest.approx(1 / PACE_PER_S)
    assert behind[1] - behind[0] == pytest.approx(1 / PACE_PER_S)
    assert behind[-1] < 1.0, "the streams of a lost cluster are all on their way within a second"


def test_each_cluster_has_a_pace_of_its_own() -> None:
    pace = Pace()
    for _ in range(300):
        pace.wait_s("a", 0.0)
    assert pace.wait_s("a", 0.0) > 0.0
    assert pace.wait_s("b", 0.0) == 0.0


def test_after_a_rest_there_is_a_burst_again() -> None:
    pace = Pace()
    for _ in range(300):
        pace.wait_s("a", 0.0)
    assert [pace.wait_s("a", 10.0) for _ in range(PACE_BURST)] == [0.0] * PACE_BURST


@given(st.lists(st.floats(0.0, 0.1), min_size=1, max_size=300))
def test_no_second_takes_in_more_than_the_pace_and_a_burst(gaps_s: list[float]) -> None:
    pace, now, goes_at = Pace(), 0.0, []
    for gap_s in gaps_s:
        now += gap_s
        goes_at.append(now + pace.wait_s("a", now))
    goes_at.sort()
    allowed = PACE_PER_S + PACE_BURST + 1
    for first, last in zip(goes_at, goes_at[int(allowed) :], strict=False):
        assert last - first > 1.0 - 1e-6
