"""The breaker of one store, by hand and as a property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.store.breaker import Breaker


def test_two_failures_are_no_reason_to_pause() -> None:
    breaker = Breaker().after_failure(10.0).after_failure(10.0)
    assert not breaker.open
    assert breaker.may_try(10.0)


@pytest.mark.parametrize(("failures", "pause_s"), [(3, 0.25), (4, 0.5), (5, 1.0), (6, 1.0), (5000, 1.0)])
def test_the_pause_grows_to_one_second(failures: int, pause_s: float) -> None:
    breaker = Breaker()
    for _ in range(failures):
        breaker = breaker.after_failure(10.0)
    assert breaker.open
    assert not breaker.may_try(10.0 + pause_s - 0.01)
    assert breaker.may_try(10.0 + pause_s)


def test_one_success_closes_it() -> None:
    breaker = Breaker()
    for _ in range(10):
        breaker = breaker.after_failure(10.0)
    breaker = breaker.after_success(11.0)
    assert breaker.may_try(11.0)
    assert not breaker.after_failure(11.0).open


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100))))
def test_a_try_is_never_more_than_a_second_away(history: list[tuple[bool, float]]) -> None:
    breaker, now = Breaker(), 0.0
    for well, elapsed_s in history:
        now += elapsed_s
        breaker = breaker.after_success(now) if well else breaker.after_failure(now)
    assert breaker.may_try(now + 1.0)
