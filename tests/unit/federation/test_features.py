"""The words for what a pool's servers can do, and what follows from them."""

import pytest

from federation.features import (
    ASSISTANT_PREFILL,
    CONTINUE_FINAL_MESSAGE,
    DECLARABLE,
    NO_METRICS,
    RESUMES,
    STOP_WITHHELD,
    with_derived,
)


@pytest.mark.parametrize(
    ("declared", "resumes"),
    [
        pytest.param((), False, id="nothing said"),
        pytest.param((CONTINUE_FINAL_MESSAGE,), True, id="goes on with a message"),
        pytest.param((ASSISTANT_PREFILL,), True, id="takes a prefill"),
        pytest.param((STOP_WITHHELD,), False, id="withholding alone is not enough"),
        pytest.param((NO_METRICS,), False, id="no metrics"),
        pytest.param(("something_new",), False, id="a word that is not known"),
    ],
)
def test_a_pool_resumes_if_its_servers_go_on_with_what_another_began(declared: tuple[str, ...], resumes: bool) -> None:
    features = with_derived(declared)
    assert features >= set(declared)
    assert (RESUMES in features) is resumes


def test_what_is_derived_cannot_be_declared() -> None:
    assert RESUMES not in DECLARABLE
    assert NO_METRICS not in DECLARABLE
