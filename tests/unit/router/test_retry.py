"""Whether another candidate is tried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.outcome import OutcomeKind
from router.retry import ATTEMPTS_MAX, Attempts, Next, RetryBudget, after_attempt

LOSS = [OutcomeKind.REFUSED, OutcomeKind.CONNECT_TIMEOUT, OutcomeKind.RESET, OutcomeKind.ABANDONED]
PAID = [
    OutcomeKind.UNAVAILABLE,
    OutcomeKind.MODEL_UNAVAILABLE,
    OutcomeKind.SERVER_ERROR,
    OutcomeKind.FIRST_BYTE_TIMEOUT,
    OutcomeKind.BAD_ANSWER,
    OutcomeKind.NO_ROOM,
    OutcomeKind.MODEL_MISSING,
    OutcomeKind.CREDENTIALS,
    OutcomeKind.POOL_FULL,
]
FINAL = [
    OutcomeKind.SERVED,
    OutcomeKind.PASSED_THROUGH,
    OutcomeKind.BROKEN,
    OutcomeKind.CANCELLED,
    OutcomeKind.LOCAL_SHORTAGE,
]


def after(*kinds: OutcomeKind, budget: RetryBudget | None = None) -> Next:
    """What follows the last of these attempts."""
    attempts = Attempts()
    budget = budget or RetryBudget()
    step = Next.STOP
    for kind in kinds:
        attempts.made += 1
        step = after_attempt(attempts, kind, budget)
    return step


def empty() -> RetryBudget:
    return RetryBudget(tokens=0.9)


def test_every_outcome_stands_in_this_tests_table() -> None:
    assert sorted([*LOSS, *PAID, *FINAL]) == sorted(OutcomeKind)


@pytest.mark.parametrize("kind", LOSS)
def test_loss_of_a_cluster_needs_no_budget(kind: OutcomeKind) -> None:
    budget = empty()
    assert after(kind, budget=budget) is Next.TRY_NEXT
    assert budget.tokens == 0.9


@pytest.mark.parametrize("kind", PAID)
def test_everything_else_is_paid_for(kind: OutcomeKind) -> None:
    budget = RetryBudget(tokens=1.0)
    assert after(kind, budget=budget) is Next.TRY_NEXT
    assert budget.tokens == 0.0
    assert after(kind, budget=budget) is Next.STOP


@pytest.mark.parametrize("kind", FINAL)
def test_answer_that_is_one_is_not_tried_again(kind: OutcomeKind) -> None:
    budget = RetryBudget()
    assert after(kind, budget=budget) is Next.STOP
    assert budget.tokens == 20.0


@pytest.mark.parametrize("kind", [*LOSS, *PAID])
def test_three_attempts_are_all(kind: OutcomeKind) -> None:
    assert after(OutcomeKind.REFUSED, OutcomeKind.NO_ROOM, kind) is Next.STOP


def test_500_is_tried_once_more() -> None:
    assert after(OutcomeKind.SERVER_ERROR) is Next.TRY_NEXT
    assert after(OutcomeKind.SERVER_ERROR, OutcomeKind.SERVER_ERROR) is Next.STOP
    assert after(OutcomeKind.SERVER_ERROR, OutcomeKind.NO_ROOM) is Next.TRY_NEXT


def test_call_that_broke_two_clusters_is_not_shown_a_third() -> None:
    assert after(OutcomeKind.RESET) is Next.TRY_NEXT
    assert after(OutcomeKind.RESET, OutcomeKind.RESET) is Next.STOP


@pytest.mark.parametrize("kind", [OutcomeKind.ABANDONED, OutcomeKind.REFUSED, OutcomeKind.CONNECT_TIMEOUT])
def test_what_was_no_break_by_the_call_raises_no_suspicion(kind: OutcomeKind) -> None:
    assert after(kind, kind) is Next.TRY_NEXT
    assert after(OutcomeKind.RESET, kind) is Next.TRY_NEXT


def test_attempt_that_is_the_last_takes_nothing_from_the_budget() -> None:
    budget = RetryBudget()
    after(OutcomeKind.NO_ROOM, OutcomeKind.NO_ROOM, OutcomeKind.NO_ROOM, budget=budget)
    assert budget.tokens == 18.0


def test_refused_credentials_are_remembered_while_nothing_else_happened() -> None:
    attempts = Attempts(made=1)
    after_attempt(attempts, OutcomeKind.CREDENTIALS, RetryBudget())
    assert attempts.credentials_only
    assert attempts.last is OutcomeKind.CREDENTIALS
    after_attempt(attempts, OutcomeKind.REFUSED, RetryBudget())
    after_attempt(attempts, OutcomeKind.CREDENTIALS, RetryBudget())
    assert not attempts.credentials_only


def test_five_calls_pay_for_one_retry() -> None:
    budget = RetryBudget(tokens=0.0)
    for _ in range(5):
        assert not budget.take()
        budget.deposit()
    assert budget.take()
    assert not budget.take()


def test_budget_is_bounded() -> None:
    budget = RetryBudget(tokens_max=3.0, tokens=2.9)
    budget.deposit()
    budget.deposit()
    assert budget.tokens == 3.0


@given(st.lists(st.booleans(), max_size=300))
def test_retries_stay_a_fixed_share_of_calls(wants: list[bool]) -> None:
    budget = RetryBudget()
    retries = 0
    for calls, wants_retry in enumerate(wants, start=1):
        budget.deposit()
        retries += wants_retry and budget.take()
        assert retries <= 20 + 0.2 * calls + 1e-9
        assert 0.0 <= budget.tokens <= 100.0


@given(st.lists(st.sampled_from([*LOSS, *PAID, *FINAL]), min_size=1, max_size=6), st.floats(0, 5))
def test_no_call_is_attempted_more_often_than_allowed(kinds: list[OutcomeKind], tokens: float) -> None:
    attempts, budget = Attempts(), RetryBudget(tokens=tokens)
    for kind in kinds:
        attempts.made += 1
        if after_attempt(attempts, kind, budget) is Next.STOP:
            break
    assert attempts.made <= ATTEMPTS_MAX
    assert attempts.broken_clusters <= 2
    assert attempts.server_errors <= 2
