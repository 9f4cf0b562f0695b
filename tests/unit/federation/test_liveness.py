"""The worth of a statement, by its age."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.liveness import DEFAULT_RULES, Liveness, LivenessRules, liveness, next_change_at

RANK = {Liveness.FRESH: 0, Liveness.STALE: 1, Liveness.LOST: 2}


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        pytest.param(0.0, Liveness.FRESH, id="just now"),
        pytest.param(3.0, Liveness.FRESH, id="three intervals are not yet too many"),
        pytest.param(3.01, Liveness.STALE, id="more than three"),
        pytest.param(10.0, Liveness.STALE, id="ten"),
        pytest.param(10.01, Liveness.LOST, id="more than ten"),
    ],
)
def test_statement_ages_from_fresh_over_stale_to_lost(age_s: float, expected: Liveness) -> None:
    assert liveness(100.0, 1.0, True, 100.0 + age_s) is expected


def test_what_never_arrived_is_lost() -> None:
    assert liveness(None, 1.0, True, 100.0) is Liveness.LOST


@given(st.floats(0, 1000), st.floats(0, 100))
def test_first_sight_is_never_fresh(age_s: float, interval_s: float) -> None:
    assert liveness(50.0, interval_s, False, 50.0 + age_s) is not Liveness.FRESH


def test_first_sight_is_lost_in_time_as_any_other() -> None:
    assert liveness(0.0, 1.0, False, 5.0) is Liveness.STALE
    assert liveness(0.0, 1.0, False, 10.5) is Liveness.LOST


@pytest.mark.parametrize("interval_s", [10.0, 60.0, 1e9])
def test_agent_cannot_make_itself_immortal(interval_s: float) -> None:
    assert liveness(0.0, interval_s, True, 30.0) is Liveness.FRESH
    assert liveness(0.0, interval_s, True, 30.1) is Liveness.STALE
    assert liveness(0.0, interval_s, True, 100.1) is Liveness.LOST


@pytest.mark.parametrize("interval_s", [0.1, 0.0, -5.0])
def test_agent_cannot_make_itself_mortal(interval_s: float) -> None:
    assert liveness(0.0, interval_s, True, 0.29) is Liveness.FRESH
    assert liveness(0.0, interval_s, True, 1.01) is Liveness.LOST


def test_rules_count_intervals() -> None:
    rules = LivenessRules(stale_after_intervals=1.0, lost_after_intervals=2.0)
    assert liveness(0.0, 2.0, True, 2.0, rules) is Liveness.FRESH
    assert liveness(0.0, 2.0, True, 3.0, rules) is Liveness.STALE
    assert liveness(0.0, 2.0, True, 4.1, rules) is Liveness.LOST


def test_time_that_goes_back_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="went back"):
        liveness(10.0, 1.0, True, 9.0)


@given(st.floats(0.01, 60), st.booleans(), st.lists(st.floats(0, 2000), min_size=2, max_size=6))
def test_statement_only_ever_loses_worth(interval_s: float, advanced: bool, ages: list[float]) -> None:
    ranks = [RANK[liveness(0.0, interval_s, advanced, age, DEFAULT_RULES)] for age in sorted(ages)]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("interval_s", [0.01, 1.0, 2.5, 60.0])
def test_next_change_is_when_a_statement_begins_to_lose_worth(interval_s: float) -> None:
    now, changes = 1000.0, []
    while (at := next_change_at(1000.0, interval_s, now)) < float("inf"):
        before, now = liveness(1000.0, interval_s, True, at - 0.001), at + 0.001
        assert liveness(1000.0, interval_s, True, now) is not before
        changes.append(at)
    assert len(changes) == 2
