"""What a cluster's status line means: for the call, and for the cluster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.outcome import AGAINST_CLUSTER, OutcomeKind
from router.edge.answers import RETRY_AFTER_S_MAX, header, meaning, retry_after_s
from router.retry import Attempts, Next, RetryBudget, after_attempt

REASON = [(b"x-tradewind-model-unavailable", b"llama")]


@pytest.mark.parametrize(
    ("status", "headers", "kind", "tried_on", "against_cluster"),
    [
        pytest.param(200, [], OutcomeKind.SERVED, False, 0.0, id="200"),
        pytest.param(204, [], OutcomeKind.SERVED, False, 0.0, id="204"),
        pytest.param(302, [], OutcomeKind.SERVED, False, 0.0, id="302"),
        pytest.param(502, [], OutcomeKind.UNAVAILABLE, True, 1.0, id="502"),
        pytest.param(503, [], OutcomeKind.UNAVAILABLE, True, 1.0, id="503"),
        pytest.param(504, [], OutcomeKind.UNAVAILABLE, True, 1.0, id="504"),
        pytest.param(503, REASON, OutcomeKind.MODEL_UNAVAILABLE, True, 0.0, id="503 that names the model"),
        pytest.param(
            503,
            [(b"x-llm-d-request-dropped-reason", b"saturated")],
            OutcomeKind.MODEL_UNAVAILABLE,
            True,
            0.0,
            id="503 with a gateway's reason",
        ),
        pytest.param(502, REASON, OutcomeKind.UNAVAILABLE, True, 1.0, id="502 whatever it names"),
        pytest.param(500, [], OutcomeKind.SERVER_ERROR, True, 0.34, id="500: lightly"),
        pytest.param(501, [], OutcomeKind.SERVER_ERROR, True, 0.34, id="other 5xx"),
        pytest.param(599, [], OutcomeKind.SERVER_ERROR, True, 0.34, id="any 5xx"),
        pytest.param(429, [], OutcomeKind.NO_ROOM, True, 0.0, id="429: nobody"),
        pytest.param(404, [], OutcomeKind.MODEL_MISSING, True, 0.0, id="404: the model there"),
        pytest.param(401, [], OutcomeKind.CREDENTIALS, True, 0.0, id="401: our credentials"),
        pytest.param(403, [], OutcomeKind.CREDENTIALS, True, 0.0, id="403: our credentials"),
        pytest.param(400, [], OutcomeKind.PASSED_THROUGH, False, 0.0, id="400: passed through"),
        pytest.param(408, [], OutcomeKind.PASSED_THROUGH, False, 0.0, id="408: passed through"),
        pytest.param(413, [], OutcomeKind.PASSED_THROUGH, False, 0.0, id="413: passed through"),
        pytest.param(422, [], OutcomeKind.PASSED_THROUGH, False, 0.0, id="422: passed through"),
    ],
)
def test_answer_means_what_the_table_says(
    status: int, headers: list[tuple[bytes, bytes]], kind: OutcomeKind, tried_on: bool, against_cluster: float
) -> None:
    assert meaning(status, headers) is kind
    assert AGAINST_CLUSTER.get(kind, 0.0) == against_cluster
    step = after_attempt(Attempts(made=1), kind, RetryBudget())
    assert step is (Next.TRY_NEXT if tried_on else Next.STOP)


@given(st.integers(100, 999))
def test_every_status_means_something(status: int) -> None:
    assert meaning(status, []) in OutcomeKind


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"7", 7.0),
        (b" 7 ", 7.0),
        (b"0", 0.0),
        (b"3600", 3600.0),
        (b"86400", RETRY_AFTER_S_MAX),
        (b"9" * 400, RETRY_AFTER_S_MAX),
        (b"9" * 6000, RETRY_AFTER_S_MAX),
        (b"0" * 6000, 0.0),
        (b"", None),
        (b"-1", None),
        (b"1.5", None),
        (b"1e3", None),
        (b"1_0", None),
        (b"\xb2", None),
        (b"nan", None),
        (b"Fri, 31 Dec 1999 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_read_where_it_gives_seconds(value: bytes, seconds: float | None) -> None:
    assert retry_after_s([(b"date", b"now"), (b"retry-after", value)]) == seconds


def test_answer_without_retry_after_gives_none() -> None:
    assert retry_after_s([(b"x-retry-after", b"7")]) is None


@given(st.binary(max_size=20))
def test_no_retry_after_breaks_the_reading(value: bytes) -> None:
    seconds = retry_after_s([(b"retry-after", value)])
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_S_MAX


def test_first_header_of_a_name_is_found() -> None:
    headers = [(b"a", b"1"), (b"b", b"2"), (b"b", b"3")]
    assert header(headers, b"b") == b"2"
    assert header(headers, b"c") is None
