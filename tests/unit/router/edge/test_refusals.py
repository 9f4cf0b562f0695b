"""The sentences in which a call is refused."""

import pytest

from federation.outcome import OutcomeKind
from federation.view import Drop
from router.decision import Refuse
from router.edge.refusals import (
    MODELS_NAMED_MAX,
    broken_off,
    no_candidate,
    nobody_answered,
    not_in_time,
    refused_by_cluster,
)
from router.errors import Failure, Kind
from router.retry import Attempts, RetryBudget, after_attempt
from tests.build import MODEL, belief, call, candidate, fleet, fleet_of, heartbeat, pool


def after(*kinds: OutcomeKind, retry_after_s: float | None = None) -> Failure:
    """What the client is told once these attempts have failed."""
    attempts = Attempts()
    for kind in kinds:
        attempts.made += 1
        attempts.connected = attempts.connected or kind not in (OutcomeKind.REFUSED, OutcomeKind.CONNECT_TIMEOUT)
        after_attempt(attempts, kind, RetryBudget())
    return nobody_answered(call(), attempts, retry_after_s)


def test_unknown_model_is_told_with_the_known_ones() -> None:
    view = fleet(belief(heartbeat=heartbeat(pools=(pool("m2"), pool("m1")))))
    failure = no_candidate(call(model="x"), Refuse(known=False, generation=1), view)
    assert (failure.kind, failure.row.status, failure.param) == (Kind.MODEL_NOT_FOUND, 404, "model")
    assert "Known models: m1, m2." in failure.message


def test_known_models_are_named_up_to_a_bound() -> None:
    view = fleet(belief(heartbeat=heartbeat(pools=tuple(pool(f"m{number:03}") for number in range(50)))))
    message = no_candidate(call(model="x"), Refuse(known=False, generation=1), view).message
    assert message.count("m0") == MODELS_NAMED_MAX
    assert message.endswith(", ....")


def test_fleet_without_models_knows_none() -> None:
    assert "Known models: none." in no_candidate(call(), Refuse(known=False, generation=1), fleet_of()).message


def test_model_may_yet_turn_up_while_some_cluster_was_not_heard() -> None:
    view = fleet_of(candidate(), all_models_known=False)
    failure = no_candidate(call(model="x"), Refuse(known=False, generation=1), view)
    assert (failure.kind, failure.row.status, failure.row.retry) == (Kind.NO_CLUSTER, 503, True)


def test_known_model_without_a_candidate_is_told_with_the_reasons() -> None:
    drops = {"a": Drop.DRAINED, "b": Drop.EJECTED, "c": Drop.DRAINED}
    failure = no_candidate(call(), Refuse(known=True, generation=1, drops=drops), fleet_of(candidate()))
    assert failure.kind is Kind.NO_CLUSTER
    assert "(2 drained, 1 ejected)" in failure.message
    assert "none left" in no_candidate(call(), Refuse(known=True, generation=1), fleet_of(candidate())).message


REFUSED, TIMEOUT = OutcomeKind.REFUSED, OutcomeKind.CONNECT_TIMEOUT


@pytest.mark.parametrize(
    ("kinds", "kind", "status"),
    [
        pytest.param([], Kind.NO_CLUSTER, 503, id="nobody was left to try"),
        pytest.param([REFUSED], Kind.NOBODY_CONNECTED, 503, id="nobody listens"),
        pytest.param([REFUSED, TIMEOUT, REFUSED], Kind.NOBODY_CONNECTED, 503, id="nobody listens anywhere"),
        pytest.param([OutcomeKind.UNAVAILABLE, REFUSED], Kind.UPSTREAM_FAILED, 502, id="one took it and failed"),
        pytest.param([OutcomeKind.ABANDONED, REFUSED], Kind.UPSTREAM_FAILED, 502, id="one took it and was lost"),
        pytest.param([OutcomeKind.UNAVAILABLE] * 3, Kind.UPSTREAM_FAILED, 502, id="all failed"),
        pytest.param([OutcomeKind.SERVER_ERROR] * 2, Kind.UPSTREAM_FAILED, 502, id="two 500s"),
        pytest.param([OutcomeKind.BAD_ANSWER], Kind.UPSTREAM_FAILED, 502, id="not HTTP"),
        pytest.param([OutcomeKind.RESET] * 2, Kind.CLUSTERS_BROKEN, 502, id="suspected of killing servers"),
        pytest.param([OutcomeKind.CREDENTIALS] * 3, Kind.UPSTREAM_CREDENTIALS, 502, id="our credentials everywhere"),
        pytest.param([REFUSED, OutcomeKind.CREDENTIALS], Kind.UPSTREAM_FAILED, 502, id="our credentials somewhere"),
        pytest.param([OutcomeKind.NO_ROOM] * 3, Kind.NO_ROOM, 429, id="all full"),
        pytest.param([OutcomeKind.FIRST_BYTE_TIMEOUT], Kind.FIRST_BYTE_TIMEOUT, 504, id="too late"),
        pytest.param([OutcomeKind.MODEL_MISSING] * 3, Kind.NO_CLUSTER, 503, id="model nowhere"),
        pytest.param([OutcomeKind.MODEL_UNAVAILABLE], Kind.NO_CLUSTER, 503, id="model not there now"),
    ],
)
def test_failed_attempts_are_told_as_what_they_were(kinds: list[OutcomeKind], kind: Kind, status: int) -> None:
    failure = after(*kinds)
    assert (failure.kind, failure.row.status) == (kind, status)
    assert failure.message.endswith((".", "!"))


def test_credentials_of_ours_are_no_business_of_the_client() -> None:
    failure = after(OutcomeKind.CREDENTIALS)
    assert not failure.row.retry
    assert failure.row.status not in (401, 403)


@pytest.mark.parametrize(("retry_after_s", "told"), [(None, None), (0.0, 1), (0.4, 1), (7.0, 7)])
def test_full_clusters_retry_after_is_told(retry_after_s: float | None, told: int | None) -> None:
    assert after(OutcomeKind.NO_ROOM, retry_after_s=retry_after_s).retry_after_s == told


def test_attempts_are_counted_in_words() -> None:
    assert "(1 attempt)" in after(OutcomeKind.NO_ROOM).message
    assert "(2 attempts)" in after(OutcomeKind.NO_ROOM, OutcomeKind.NO_ROOM).message


def test_missed_deadline_is_told_in_ms() -> None:
    failure = not_in_time(call(deadline_s=1.5))
    assert (failure.kind, failure.row.status) == (Kind.DEADLINE_EXCEEDED, 504)
    assert "1500 ms" in failure.message


def test_model_stands_in_the_sentence_as_it_was_asked_for() -> None:
    assert f"'{MODEL}'" in after(OutcomeKind.MODEL_MISSING).message


def test_path_that_no_cluster_of_the_model_declares_is_not_found() -> None:
    drops = {"a": Drop.ELSEWHERE, "b": Drop.ELSEWHERE}
    refusal = Refuse(known=True, generation=1, drops=drops)
    failure = no_candidate(call(path="/v1/foo?x=1", clusters=frozenset({"c"})), refusal, fleet_of(candidate()))
    assert (failure.kind, failure.row.status, failure.row.retry) == (Kind.NOT_FOUND, 404, False)
    assert failure.message.endswith("serves /v1/foo.")


def test_declarer_that_is_drained_may_come_back() -> None:
    drops = {"a": Drop.ELSEWHERE, "b": Drop.DRAINED}
    failure = no_candidate(call(), Refuse(known=True, generation=1, drops=drops), fleet_of(candidate()))
    assert (failure.kind, failure.row.retry) == (Kind.NO_CLUSTER, True)


def test_call_whose_response_is_elsewhere_is_told_where() -> None:
    refusal = Refuse(known=True, generation=1, drops={"a": Drop.ELSEWHERE})
    continuing = call(continues="resp_1", clusters=frozenset({"c"}))
    failure = no_candidate(continuing, refusal, fleet_of(candidate()))
    assert (failure.kind, failure.param) == (Kind.NO_CLUSTER, "previous_response_id")
    assert "kept by c" in failure.message


def test_a_broken_stream_says_how() -> None:
    assert broken_off("fell silent") == Failure(
        Kind.STREAM_BROKEN, "The cluster fell silent in the middle of its answer."
    )


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        pytest.param(b'{"error":{"message":"too large","param":"max_tokens"}}', "too large", "max_tokens", id="OpenAI"),
        pytest.param(b'{"error":{"message":"no"}}', "no", None, id="without a field"),
        pytest.param(b'{"error":"no"}', "no", None, id="in words"),
        pytest.param(b"Bad \xff request", "Bad \ufffd request", None, id="no JSON"),
        pytest.param(b'{"detail":1}', '{"detail":1}', None, id="another form"),
        pytest.param(b"", "The cluster refused the request.", None, id="nothing"),
        pytest.param(b"x" * 9999, "x" * 4096, None, id="bounded"),
    ],
)
def test_what_a_cluster_says_against_a_request_is_told(body: bytes, message: str, param: str | None) -> None:
    failure = refused_by_cluster(body)
    assert (failure.kind, failure.message, failure.param) == (Kind.REFUSED_BY_CLUSTER, message, param)
    assert not failure.row.retry
