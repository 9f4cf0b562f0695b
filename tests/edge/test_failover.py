"""Which answer of a cluster means what, before the first byte to the client: row by row of the table."""

import asyncio
import errno
import time

import pytest

from federation.ejection import Cause, ProbeResult, State
from federation.fold import ProbeSeen
from federation.model import HoldKind
from federation.outcome import Outcome, OutcomeKind
from router.retry import RetryBudget
from router.settings import TimeoutSettings
from tests.edge.harness import (
    MODEL,
    STREAM_HEAD,
    Hangs,
    Request,
    Script,
    Stage,
    answers,
    chunk,
    completion,
    full_backlog,
    head,
    post,
    reset,
    sse,
    stage,
    streams,
    then_closes,
    then_resets,
)

NO_MODEL = b'{"error":{"message":"The model `tiny` does not exist.","type":"NotFoundError","code":404}}'
GARBAGE = b"SSH-2.0-OpenSSH_9.2\r\n"
CHUNKED_JSON = head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})


@pytest.mark.parametrize(
    ("script", "outcome", "failures", "hold"),
    [
        pytest.param(then_resets(), "reset", 1.0, None, id="reset"),
        pytest.param(then_closes(), "reset", 1.0, None, id="closed"),
        pytest.param(then_resets(b"HTTP/1.1 200 OK\r\nConte"), "reset", 1.0, None, id="broke in the head"),
        pytest.param(answers(b"x", 502), "unavailable", 1.0, None, id="502"),
        pytest.param(answers(b"x", 503), "unavailable", 1.0, None, id="503"),
        pytest.param(answers(b"x", 504), "unavailable", 1.0, None, id="504"),
        pytest.param(answers(b"x", 500), "server_error", 0.34, None, id="500"),
        pytest.param(answers(b"x", 501), "server_error", 0.34, None, id="501"),
        pytest.param(then_closes(GARBAGE), "bad_answer", 1.0, None, id="not HTTP"),
        pytest.param(then_closes(head(101, {"upgrade": "x"}) + b"raw"), "bad_answer", 1.0, None, id="101"),
        pytest.param(then_closes(CHUNKED_JSON + b"zz\r\n"), "bad_answer", 1.0, None, id="bad chunk"),
        pytest.param(then_closes(head(200, {"x": "y" * 70_000})), "bad_answer", 1.0, None, id="endless head"),
        pytest.param(
            answers(b"x", 503, {"x-tradewind-model-unavailable": "tiny", "retry-after": "7"}),
            "model_unavailable",
            0.0,
            (HoldKind.MODEL_MISSING, 7),
            id="503 for the model",
        ),
        pytest.param(answers(b"x", 429, {"retry-after": "9"}), "no_room", 0.0, (HoldKind.NO_ROOM, 9), id="429"),
        pytest.param(answers(b"x", 429), "no_room", 0.0, (HoldKind.NO_ROOM, 1), id="429 without a time"),
        pytest.param(answers(NO_MODEL, 404), "model_missing", 0.0, (HoldKind.MODEL_MISSING, 30), id="404"),
        pytest.param(answers(b"secret", 401), "credentials", 0.0, None, id="401"),
        pytest.param(answers(b"secret", 403), "credentials", 0.0, None, id="403"),
    ],
)
async def test_a_failure_before_the_first_byte_goes_to_the_next_cluster_and_is_held_against_whom_it_concerns(
    script: Script, outcome: str, failures: float, hold: tuple[HoldKind, int] | None, no_errors: list[str]
) -> None:
    if outcome == "credentials":
        no_errors.append("expected")  # The alert.
    async with stage() as here:
        here.near.plays(script)
        answer = await here.ask(post())
        assert (answer.status, answer.body) == (200, completion("middle"))
        assert (answer["x-tradewind-cluster"], answer["x-tradewind-region"]) == ("middle", "us-east4")
        assert (answer["x-tradewind-decision"], answer["x-tradewind-attempts"]) == ("failover", "2")
        assert here.attempts() == {("near", outcome): 1, ("middle", "served"): 1}
        belief = here.belief("near")
        assert belief.standing.failures == failures
        assert belief.standing.state is State.ADMITTED
        if hold is None:
            assert not belief.holds
        else:
            kind, seconds = hold
            assert belief.holds["tiny"].kind is kind
            assert belief.holds["tiny"].until - time.monotonic() == pytest.approx(seconds, abs=0.5)
        assert here.standing("middle").failures == 0


async def test_a_cluster_that_refuses_connections_is_passed_over_and_after_three_calls_unreachable() -> None:
    async with stage() as here:
        await here.near.refuse()
        for number in range(3):
            assert here.standing("near").refused == number
            answer = await here.ask(post())
            assert (answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == ("middle", "2")
        assert here.attempts()["near", "refused"] == 3
        standing = here.standing("near")
        assert (standing.state, standing.cause) == (State.EJECTED, Cause.UNREACHABLE)
        answer = await here.ask(post())
        assert answer["x-tradewind-attempts"] == "1"


async def test_a_hold_sends_later_calls_elsewhere_without_asking() -> None:
    async with stage() as here:
        here.near.plays(answers(b"x", 429, {"retry-after": "60"}))
        await here.ask(post())
        here.door.feed.tick()
        answer = await here.ask(post())
        assert (answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == ("middle", "1")
        assert len(here.near.requests) == 1


async def test_other_errors_of_the_client_are_passed_through_and_held_against_nobody() -> None:
    async with stage() as here:
        here.near.plays(answers(b'{"error":"theirs"}', 422))
        answer = await here.ask(post())
        assert (answer.status, answer.body, answer["x-tradewind-cluster"]) == (422, b'{"error":"theirs"}', "near")
        assert here.attempts() == {("near", "passed_through"): 1}
        assert here.calls() == {"passed_through": 1}


# When nobody is left.


async def _all_play(script: Script) -> tuple[int, str, dict[str, str], dict[tuple[str, str], int]]:
    async with stage() as here:
        for cluster in here.clusters.values():
            cluster.plays(script)
        answer = await here.ask(post())
        assert b"secret" not in answer.body
        return answer.status, answer.code, dict(answer.headers), here.attempts()


async def test_full_everywhere_is_429_with_the_shortest_time_to_wait() -> None:
    async with stage() as here:
        for cluster, seconds in zip(here.clusters.values(), ("30", "5", "60"), strict=True):
            cluster.plays(answers(b"secret", 429, {"retry-after": seconds}))
        answer = await here.ask(post())
        assert (answer.status, answer.code, answer["retry-after"]) == (429, "no_room", "5")
        assert answer["x-tradewind-attempts"] == "3"
        assert "x-should-retry" not in answer


async def test_credentials_refused_everywhere_is_502_without_their_words(expects_errors: None) -> None:
    status, code, headers, attempts = await _all_play(answers(b"secret", 401))
    assert (status, code) == (502, "upstream_credentials")
    assert headers["x-should-retry"] == "false"
    assert headers["x-tradewind-attempts"] == "3"
    assert sum(attempts.values()) == 3


async def test_500_is_tried_once_more_and_no_further() -> None:
    status, code, headers, attempts = await _all_play(answers(b"secret", 500))
    assert (status, code, headers["x-tradewind-attempts"]) == (502, "upstream_failed", "2")
    assert attempts == {("near", "server_error"): 1, ("middle", "server_error"): 1}


async def test_unavailable_everywhere_is_502_after_three_attempts() -> None:
    status, code, headers, _ = await _all_play(answers(b"secret", 503))
    assert (status, code, headers["x-tradewind-attempts"]) == (502, "upstream_failed", "3")


async def test_a_model_that_no_cluster_has_after_all_is_503() -> None:
    status, code, headers, _ = await _all_play(answers(NO_MODEL, 404))
    assert (status, code, headers["x-tradewind-attempts"]) == (503, "no_cluster", "3")
    assert headers["retry-after"] == "1"


async def test_a_404_that_does_not_speak_of_the_model_is_the_clients_own_doing() -> None:
    """A path that a cluster lacks must not take the model out of placement for everyone."""
    async with stage() as here:
        here.near.plays(answers(b'{"detail":"Not Found"}', 404))
        answer = await here.ask(post())
        assert (answer.status, answer["x-tradewind-attempts"]) == (404, "1")
        assert answer.body == b'{"detail":"Not Found"}'
        here.door.feed.tick()
        assert not here.door.feed.snapshot.beliefs["near"].holds


def eject(here: Stage, cluster: str) -> None:
    """It answered probes with 5xx, and is out for that."""
    for _ in range(4):
        here.door.feed.put(ProbeSeen(cluster, ProbeResult.UNWELL))
    here.door.feed.tick()


async def test_a_call_that_failed_everywhere_else_is_tried_at_an_ejected_cluster_that_answers() -> None:
    async with stage(names=("near", "middle")) as here:
        eject(here, "middle")
        here.near.plays(then_resets())
        here.middle.plays(answers(completion()))
        answer = await here.ask(post())
        assert answer.status == 200
        assert (answer["x-tradewind-cluster"], answer["x-tradewind-decision"]) == ("middle", "panic")


async def test_an_ejected_cluster_is_not_tried_while_others_are_left() -> None:
    async with stage() as here:
        eject(here, "middle")
        here.near.plays(then_resets())
        here.far.plays(answers(completion()))
        answer = await here.ask(post())
        assert (answer["x-tradewind-cluster"], answer["x-tradewind-decision"]) == ("far", "failover")
        assert here.middle.requests == []


async def test_a_cluster_where_nobody_is_there_is_no_last_resort() -> None:
    async with stage(names=("near", "middle")) as here:
        for _ in range(3):
            here.door.feed.put(ProbeSeen("middle", ProbeResult.SILENT))
        here.door.feed.tick()
        here.near.plays(answers(b"", 503))
        assert (await here.ask(post())).status == 502
        assert here.middle.requests == []


async def test_a_call_that_broke_two_clusters_is_not_given_a_third() -> None:
    status, code, headers, attempts = await _all_play(then_resets())
    assert (status, code, headers["x-tradewind-attempts"]) == (502, "clusters_broken", "2")
    assert headers["x-should-retry"] == "false"
    assert attempts == {("near", "reset"): 1, ("middle", "reset"): 1}


async def test_a_connection_taken_and_dropped_at_once_everywhere_is_502() -> None:
    """Whether the drop is seen before or after the request was written."""

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)
        raise ConnectionResetError

    async with stage() as here:
        for cluster in here.clusters.values():
            cluster.on_connect = drop
        for _ in range(20):
            answer = await here.ask(post())
            assert (answer.status, answer.code) == (502, "clusters_broken")


async def test_a_connection_that_speaks_first_is_not_trusted() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GARBAGE)

    async with stage() as here:
        here.near.on_connect = greet
        for _ in range(3):
            answer = await here.ask(post())
            assert (answer.status, answer["x-tradewind-cluster"]) == (200, "middle")


async def test_nobody_listening_anywhere_is_503() -> None:
    async with stage() as here:
        for cluster in here.clusters.values():
            await cluster.refuse()
        answer = await here.ask(post())
        assert (answer.status, answer.code, answer["retry-after"]) == (503, "nobody_connected", "1")
        assert answer["x-tradewind-attempts"] == "3"
        assert {outcome for _, outcome in here.attempts()} == {"refused"}


async def test_taken_by_one_and_refused_by_the_others_is_502() -> None:
    async with stage() as here:
        here.near.plays(then_resets())
        await here.middle.refuse()
        await here.far.refuse()
        answer = await here.ask(post())
        assert (answer.status, answer["x-tradewind-attempts"]) == (502, "3")


async def test_an_unknown_model_is_404_and_nobody_is_asked() -> None:
    async with stage() as here:
        answer = await here.ask(post(b'{"model":"other"}'))
        assert (answer.status, answer.code, answer["x-should-retry"]) == (404, "model_not_found", "false")
        assert "Known models: tiny" in answer.json["error"]["message"]
        assert "x-tradewind-attempts" not in answer


# The retry budget.


async def test_with_the_budget_spent_an_error_is_final_but_the_loss_of_a_cluster_is_not() -> None:
    async with stage() as here:
        here.door.budget = RetryBudget(per_call=0.0, tokens=0.0)
        here.near.plays(answers(b"secret", 503))
        answer = await here.ask(post())
        assert (answer.status, answer["x-tradewind-attempts"]) == (502, "1")
        await here.near.refuse()
        answer = await here.ask(post())
        assert (answer.status, answer["x-tradewind-attempts"]) == (200, "2")


async def test_a_retry_that_had_nobody_to_go_to_is_not_paid_for() -> None:
    async with stage(names=("near",)) as here:
        here.door.budget = RetryBudget(per_call=0.0, tokens=5.0)
        here.near.plays(answers(b"x", 503))
        for _ in range(10):
            assert (await here.ask(post())).status == 502
        assert here.door.budget.tokens == 5.0


async def test_each_retry_is_paid_for_once() -> None:
    async with stage() as here:
        here.door.budget = RetryBudget(per_call=0.0, tokens=5.0)
        here.near.plays(answers(b"x", 503))
        here.middle.plays(answers(b"x", 429))
        assert (await here.ask(post()))["x-tradewind-cluster"] == "far"
        assert here.door.budget.tokens == 3.0


# The keep-alive race.


async def _rested(request: Request) -> None:
    """Answers, and ends the connection when it is used again, as a server does whose time for it is over."""
    await answers(b"first")(request)
    await request.reader.readexactly(1)
    request.reset()
    raise ConnectionResetError


async def test_a_resting_connection_closed_under_us_is_replaced_and_says_nothing_of_the_cluster() -> None:
    async with stage() as here:
        here.near.plays(_rested, answers(b"second"))
        assert (await here.ask(post())).body == b"first"
        answer = await here.ask(post())
        assert (answer.body, answer["x-tradewind-attempts"], answer["x-tradewind-decision"]) == (
            b"second",
            "1",
            "nearest",
        )
        assert here.near.connections == 2
        assert here.attempts() == {("near", "served"): 2}
        assert here.standing("near").failures == 0


async def test_a_fresh_connection_that_breaks_too_is_the_clusters_failure() -> None:
    async with stage() as here:
        here.near.plays(_rested, then_resets())
        await here.ask(post())
        answer = await here.ask(post())
        assert (answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == ("middle", "2")
        assert here.attempts()["near", "reset"] == 1
        assert here.near.connections == 2


async def test_a_reused_connection_that_breaks_within_its_answer_is_not_tried_again_there() -> None:
    async with stage() as here:
        here.near.plays(answers(b"first"), then_resets(b"HTTP/1.1 200 OK\r\n"))
        await here.ask(post())
        answer = await here.ask(post())
        assert (answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == ("middle", "2")
        assert here.near.connections == 1


async def test_a_connection_closed_while_it_rests_is_not_used() -> None:
    async with stage() as here:
        here.near.plays(then_closes(head(200, {"content-length": "5"}) + b"first"), answers(b"second"))
        await here.ask(post())
        answer = await here.ask(post())
        assert (answer.body, answer["x-tradewind-attempts"]) == (b"second", "1")


async def test_a_connection_whose_error_was_not_read_to_its_end_is_not_used_again() -> None:
    """The rest of it would be taken for the next answer."""
    async with stage() as here:
        half = head(503, {"content-length": "100"}) + b"x" * 10
        hangs = Hangs(half, b"x" * 90)
        here.near.plays(hangs, answers(b"next"))
        assert (await here.ask(post()))["x-tradewind-cluster"] == "middle"
        await hangs.abandoned()
        answer = await here.ask(post())
        assert (answer.body, here.near.connections) == (b"next", 2)


async def test_a_connection_whose_cluster_did_not_take_the_whole_request_is_not_used_again() -> None:
    """The rest of the prompt would stand before the next request."""

    async def answers_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(head(413, {"content-length": "5"}) + b"large")
        await asyncio.sleep(30)

    async with stage() as here:
        here.near.on_connect = answers_early
        for number in (1, 2):
            answer = await here.ask(post(padding="x" * 20_000_000))
            assert (answer.status, answer.body) == (413, b"large")
            assert here.near.connections == number
            assert here.door.pools["near"].idle == []


# Before the first byte, with a good head already there.


async def test_a_stream_that_breaks_before_its_first_event_is_begun_anew_elsewhere() -> None:
    async with stage() as here:
        here.near.plays(then_resets(STREAM_HEAD))
        here.middle.plays(streams(*sse("clean")))
        answer = await here.ask(post(stream=True))
        assert answer.events == [event.strip() for event in sse("clean")]
        assert (answer["x-tradewind-cluster"], answer["x-tradewind-decision"]) == ("middle", "failover")
        assert here.attempts() == {("near", "reset"): 1, ("middle", "served"): 1}


async def test_half_an_event_is_forgotten_when_its_stream_breaks() -> None:
    async with stage() as here:
        here.near.plays(then_resets(STREAM_HEAD + chunk(b'data: {"choices": [{"delta": {"cont')))
        here.middle.plays(streams(*sse("clean")))
        answer = await here.ask(post(stream=True))
        assert answer.events == [event.strip() for event in sse("clean")]


async def test_a_stream_whose_framing_breaks_before_its_first_event_is_begun_anew_elsewhere() -> None:
    async with stage() as here:
        here.near.plays(then_closes(STREAM_HEAD + b"xyz\r\n"))
        assert (await here.ask(post(stream=True)))["x-tradewind-cluster"] == "middle"


@pytest.mark.parametrize("breaks", [then_resets, then_closes], ids=["reset", "closed"])
@pytest.mark.parametrize(
    "half",
    [head(200, {"content-length": "1000"}) + b"x" * 500, CHUNKED_JSON + chunk(b"x" * 500)],
    ids=["content-length", "chunked"],
)
async def test_an_answer_that_breaks_half_way_is_asked_for_elsewhere(half: bytes, breaks: type) -> None:
    async with stage() as here:
        here.near.plays(breaks(half))
        answer = await here.ask(post())
        assert (answer.body, answer["x-tradewind-attempts"]) == (completion("middle"), "2")
        assert here.attempts()["near", "reset"] == 1


async def test_an_error_of_the_clients_that_breaks_half_way_is_asked_for_elsewhere() -> None:
    async with stage() as here:
        here.near.plays(then_resets(head(400, {"content-length": "1000"}) + b"x" * 500))
        assert (await here.ask(post()))["x-tradewind-cluster"] == "middle"


async def test_a_cluster_no_longer_declared_is_not_tried() -> None:
    async with stage() as here:
        here.door.pools.pop("near").close()
        answer = await here.ask(post())
        assert (answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == ("middle", "1")


async def test_an_endpoint_without_an_address_counts_as_refused() -> None:
    async with stage() as here:
        here.door.pools["near"].host = "no-such-host.invalid"
        here.door.pools["near"].book.replace(())
        assert (await here.ask(post()))["x-tradewind-cluster"] == "middle"
        assert here.attempts()["near", "refused"] == 1


async def test_no_connection_in_time_is_the_clusters_failure() -> None:
    listener, fillers = full_backlog()
    try:
        async with stage(timeouts=TimeoutSettings(connect_s=0.15)) as here:
            here.door.pools["near"].port = listener.getsockname()[1]
            answer = await here.ask(post())
            assert (answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == ("middle", "2")
            assert here.attempts()["near", "connect_timeout"] == 1
            assert here.standing("near").refused == 1
    finally:
        for sock in (listener, *fillers):
            sock.close()


async def test_a_comment_that_keeps_the_connection_awake_begins_no_answer() -> None:
    """Until the first data the call can still go elsewhere."""
    async with stage() as here:
        here.near.plays(then_resets(STREAM_HEAD + chunk(b": ping\n\n")))
        here.middle.plays(streams(*sse("one")))
        answer = await here.ask(post(stream=True))
        assert (answer.status, answer["x-tradewind-cluster"]) == (200, "middle")
        assert b"ping" not in answer.body


async def test_a_connection_that_rested_too_long_is_not_used_again() -> None:
    async with stage() as here:
        await here.ask(post())
        pool = here.door.pools["near"]
        assert len(pool.idle) == 1
        pool.trim(asyncio.get_running_loop().time() + 49, 50)
        assert len(pool.idle) == 1
        pool.trim(asyncio.get_running_loop().time() + 51, 50)
        await asyncio.sleep(0)
        assert all(connection.transport.is_closing() for connection in pool.idle)


async def test_a_stream_without_framing_that_is_cut_does_not_look_complete() -> None:
    """A killed server's last packet looks like a proper end; the last event says whether it was."""
    unframed = head(200, {"content-type": "text/event-stream", "connection": "close"})
    async with stage() as here:
        here.near.plays(then_closes(unframed + b"".join(sse("one", done=False))))
        cut = await here.ask(post(stream=True))
        assert b"stream_broken" in cut.body
        assert b"[DONE]" not in cut.body
        here.near.plays(then_closes(unframed + b"".join(sse("one"))))
        whole = await here.ask(post(stream=True))
        assert whole.body.endswith(b"data: [DONE]\n\n")


async def test_a_cluster_that_fails_and_may_not_be_ejected_does_not_use_up_the_budget() -> None:
    """Half of the fleet is out already; calls must find the one that is well, for as long as it takes."""
    async with stage() as here:
        out = Outcome("middle", MODEL, OutcomeKind.UNAVAILABLE)
        for _ in range(5):
            here.door.feed.report(out)
        here.near.plays(answers(b"x", 503))
        for _ in range(200):
            here.door.feed.tick()
            answer = await here.ask(post())
            assert (answer.status, answer["x-tradewind-cluster"]) == (200, "far")
        assert here.belief("middle").standing.state is State.EJECTED
        assert here.belief("near").standing.state is State.ADMITTED
        assert here.attempts()["near", "unavailable"] < 50
        [view] = here.door.feed.view.models.values()
        assert [pool.cluster for pool in view.pools if pool.doubted] == ["near"]


async def test_our_own_shortage_is_held_against_no_cluster(
    monkeypatch: pytest.MonkeyPatch, expects_errors: None
) -> None:
    """With no descriptor left every connection fails: taken for the clusters', it would eject them all."""
    async with stage() as here:

        async def exhausted(*_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        for pool in here.door.pools.values():
            pool.close_idle()
            monkeypatch.setattr(pool, "opener", exhausted)
        for _ in range(5):
            answer = await here.ask(post())
            assert (answer.status, answer.code) == (503, "too_busy")
        monkeypatch.undo()
        here.door.feed.tick()
        assert all(belief.standing.refused == 0 for belief in here.door.feed.snapshot.beliefs.values())
        assert (await here.ask(post())).status == 200
