"""What came of an attempt, and what that is evidence of."""

import pytest

from federation.outcome import AGAINST_CLUSTER, ANSWERED, ANSWERED_BADLY, NEVER_CONNECTED, Outcome, OutcomeKind


def test_evidence_weighs_between_nothing_and_one_failure() -> None:
    assert all(0 < weight <= 1 for weight in AGAINST_CLUSTER.values())


def test_what_never_connected_weighs_full_and_answered_nothing() -> None:
    assert all(AGAINST_CLUSTER[kind] == 1.0 for kind in NEVER_CONNECTED)
    assert not NEVER_CONNECTED & (ANSWERED | ANSWERED_BADLY)


def test_bad_answers_are_held_against_the_cluster() -> None:
    assert AGAINST_CLUSTER.keys() >= ANSWERED_BADLY


def test_outcome_is_immutable() -> None:
    with pytest.raises(AttributeError):
        Outcome("a", "m", OutcomeKind.SERVED).kind = OutcomeKind.RESET  # type: ignore[misc]
