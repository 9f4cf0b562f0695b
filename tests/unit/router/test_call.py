"""What is known of a call."""

import pytest

from router.call import ANONYMOUS, Priority, Tenant
from tests.build import call


def test_call_is_allowed_anywhere_and_standard_unless_said_otherwise() -> None:
    made = call()
    assert made.regions is None
    assert made.priority is Priority.STANDARD
    assert made.deadline_s is None
    assert made.tenant == ANONYMOUS.name


def test_call_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        call().model = "other"  # type: ignore[misc]


def test_key_claims_no_more_than_standard_by_default() -> None:
    assert Tenant(name="t").priority_max is Priority.STANDARD
    assert ANONYMOUS.priority_max is Priority.CRITICAL
